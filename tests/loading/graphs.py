"""A hand-written ONNX classifier, small enough to break in every way: 1×2×2 images to two scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

ONES = np.ones((1, 1, 2, 2), np.float32)
EXPECTED = [[12.0, 16.0]]
"""what the linear model answers to an image of ones"""


def constant(name: str, value: Any, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


def linear_model(*extra: NodeProto, constants: tuple[TensorProto, ...] = (), opset: int = 18) -> onnx.ModelProto:
    """Flatten and one matrix product, then ``extra`` nodes, which may read ``flat`` and ``scores``."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [constant("weight", np.arange(8).reshape(4, 2)), *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def answer(model: onnx.ModelProto) -> list[list[float]]:
    """What onnxruntime answers to an image of ones."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    scores: list[list[float]] = session.run(None, {"image": ONES})[0].tolist()
    return scores
