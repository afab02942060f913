"""Operations as older opsets define them, which the operator tests of onnx no longer cover: against a runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.loading.onnx_graph.convert import convert
from auditor.loading.onnx_graph.prepare import prepare
from auditor.loading.onnx_graph.runtime import runtime_outputs

IMAGE = (2, 4, 6, 5)
INTS = np.array

Case = tuple[str, int, dict[str, Any], list[np.ndarray]]

CASES: list[Case] = [
    ("ArgMax", 9, {"axis": 1, "keepdims": 0}, []),
    ("ArgMin", 12, {"axis": 2, "select_last_index": 1}, []),
    ("AveragePool", 9, {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "strides": [2, 1]}, []),
    ("AveragePool", 10, {"kernel_shape": [3, 2], "ceil_mode": 1, "strides": [2, 2], "count_include_pad": 1}, []),
    ("BatchNormalization", 9, {"epsilon": 0.1}, [np.float32([1, 2, 3, 4]), np.float32([0, 1, 0, 2])] * 2),
    ("Cast", 9, {"to": TensorProto.INT32}, []),
    ("Clip", 9, {"min": -0.3, "max": 0.7}, []),
    ("Clip", 12, {}, [np.float32(-0.3), np.float32(0.7)]),
    ("Concat", 9, {"axis": 3}, [np.ones(IMAGE, dtype=np.float32)]),
    ("Conv", 9, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [np.full((3, 4, 3, 2), 0.1, dtype=np.float32)]),
    ("ConvTranspose", 9, {"strides": [2, 1], "pads": [1, 0, 0, 1]}, [np.full((4, 3, 3, 2), 0.1, dtype=np.float32)]),
    ("DepthToSpace", 9, {"blocksize": 2}, []),
    ("Dropout", 9, {"ratio": 0.5}, []),
    ("Flatten", 9, {"axis": 2}, []),
    ("Gather", 9, {"axis": 1}, [INTS([[3, 0]])]),
    ("GatherElements", 11, {"axis": 3}, [np.zeros((2, 4, 6, 2), dtype=np.int64)]),
    ("GlobalLpPool", 9, {"p": 3}, []),
    ("Hardmax", 9, {"axis": 2}, []),
    ("Hardmax", 13, {"axis": 2}, []),
    ("HardSigmoid", 9, {"alpha": 0.3, "beta": 0.4}, []),
    ("LogSoftmax", 9, {"axis": 1}, []),
    ("LogSoftmax", 13, {"axis": 1}, []),
    ("LpNormalization", 9, {"axis": 1, "p": 1}, []),
    ("LpPool", 9, {"kernel_shape": [2, 3], "p": 2, "strides": [2, 1]}, []),
    ("LRN", 9, {"size": 3, "alpha": 0.5}, []),
    ("MaxPool", 9, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, []),
    ("MaxPool", 12, {"kernel_shape": [2, 2], "dilations": [2, 1], "ceil_mode": 1, "strides": [2, 2]}, []),
    ("MeanVarianceNormalization", 9, {"axes": [2, 3]}, []),
    ("Pad", 9, {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}, []),
    ("Pad", 11, {"mode": "reflect"}, [INTS([0, 0, 1, 2, 0, 0, 0, 1])]),
    ("PRelu", 9, {}, [np.float32([[[0.1]], [[0.2]], [[0.3]], [[0.4]]])]),
    ("ReduceL2", 9, {"axes": [1, 3], "keepdims": 0}, []),
    ("ReduceLogSumExp", 11, {"axes": [-1]}, []),
    ("ReduceMax", 11, {"axes": [2]}, []),
    ("ReduceMean", 9, {"keepdims": 0}, []),
    ("ReduceSum", 9, {"axes": [2, 3]}, []),
    ("ReduceSum", 13, {"keepdims": 0}, [INTS([1])]),
    ("Resize", 10, {"mode": "linear"}, [np.float32([1, 1, 2, 1.6])]),
    ("Resize", 11, {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
     [np.float32([]), np.float32([]), INTS([2, 4, 11, 7])]),
    ("Resize", 13, {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
     [np.float32([]), np.float32([1, 1, 0.5, 1.4])]),
    ("ScatterND", 11, {}, [INTS([[1], [0]]), np.zeros((2, 4, 6, 5), dtype=np.float32)]),
    ("Scatter", 9, {"axis": 1}, [np.ones((1, 1, 6, 5), dtype=np.int64), np.ones((1, 1, 6, 5), dtype=np.float32)]),
    ("Slice", 9, {"starts": [1, -3], "ends": [99, -1], "axes": [1, 2]}, []),
    ("Slice", 10, {}, [INTS([-1]), INTS([-99]), INTS([2]), INTS([-2])]),
    ("Softmax", 9, {"axis": 2}, []),
    ("Softmax", 11, {}, []),
    ("Softmax", 13, {"axis": 2}, []),
    ("SpaceToDepth", 9, {"blocksize": 1}, []),
    ("Split", 9, {"axis": 1, "split": [1, 3]}, []),
    ("Split", 13, {"axis": 1}, [INTS([3, 1])]),
    ("Squeeze", 9, {"axes": [0]}, []),
    ("Sum", 9, {}, [np.ones((5,), dtype=np.float32), np.ones((6, 1), dtype=np.float32)]),
    ("TopK", 9, {"axis": 2, "k": 2}, []),
    ("TopK", 10, {"axis": 1}, [INTS([3])]),
    ("Unsqueeze", 9, {"axes": [0, 3]}, []),
    ("Upsample", 9, {"mode": "nearest"}, [np.float32([1, 1, 2, 3])]),
    ("Upsample", 9, {"mode": "linear"}, [np.float32([1, 1, 2, 2])]),
]  # fmt: skip


def _model(case: Case) -> tuple[onnx.ModelProto, torch.Tensor]:
    operation, opset, attributes, constants = case
    shape = (1, 4, 6, 5) if operation in ("Squeeze", "Scatter") else IMAGE
    shape = (2, 4, 6, 6) if operation == "DepthToSpace" else shape
    names = [f"c{index}" for index in range(len(constants))]
    outputs = ["y", "z"] if operation in ("Split", "TopK") else ["y"]
    node = helper.make_node(operation, ["x", *names], outputs, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    stored = [numpy_helper.from_array(value, name) for value, name in zip(constants, names, strict=True)]
    graph = helper.make_graph([node], "one", [x], results, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model, torch.randn(shape, generator=torch.Generator().manual_seed(opset))


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[1]}-{index}" for index, case in enumerate(CASES)])
def test_as_the_runtime_computes_it(case: Case) -> None:
    pytest.importorskip("onnxruntime")
    model, x = _model(case)
    theirs = runtime_outputs(model, x)
    with torch.no_grad():
        ours = convert(prepare(model)[0])(x)
    for mine, value in zip([ours] if isinstance(ours, torch.Tensor) else ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), value, rtol=1e-4, atol=1e-5)
