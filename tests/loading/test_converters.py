"""The converters one by one: against the operator tests that ship with onnx, and the alias table against schemas."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.backend.test.loader import load_model_tests
from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

from auditor.loading.onnx_converters.aliases import SAME_MEANING
from auditor.loading.onnx_converters.registration import OURS, registered


def _schema(operation: str, version: int) -> onnx.defs.OpSchema:
    schema = onnx.defs.get_schema(operation, version, "")
    assert schema.since_version == version
    return schema


@pytest.mark.parametrize(("operation", "known", "newer"), SAME_MEANING, ids=[row[0] for row in SAME_MEANING])
def test_alias_has_the_same_schema(operation: str, known: int, newer: tuple[int, ...]) -> None:
    def interface(version: int) -> tuple[object, ...]:
        schema = _schema(operation, version)
        attributes = {
            name: (attribute.type, attribute.default_value.SerializeToString(), attribute.required)
            for name, attribute in schema.attributes.items()
        }
        inputs = [(value.name, value.option) for value in schema.inputs]
        return attributes, inputs, [(value.name, value.option) for value in schema.outputs]

    for version in newer:
        assert interface(version) == interface(known)


def test_registry_is_as_before_afterwards() -> None:
    before = dict(_CONVERTER_REGISTRY)
    with registered():
        assert len(_CONVERTER_REGISTRY) > len(before)
    assert before == _CONVERTER_REGISTRY


def test_every_converter_is_for_a_version_that_exists() -> None:
    for operation, version in OURS:
        _schema(operation, version)


OPERATIONS = (
    "AveragePool", "Clip", "Conv", "Expand", "Gather", "Gelu", "GlobalMaxPool", "GroupNormalization", "HardSwish",
    "MaxPool", "Mish", "Pad", "PRelu", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    "Reshape", "Resize", "RMSNormalization", "ScatterND", "Slice", "Split", "Squeeze", "Swish", "ThresholdedRelu",
    "Tile", "Transpose", "Trilu", "Unsqueeze",
)  # fmt: skip


def _arrays(case: object) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    return [(list(inputs), list(outputs)) for inputs, outputs in case.data_sets]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def cases() -> dict[str, list[object]]:
    found: dict[str, list[object]] = {operation: [] for operation in OPERATIONS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = load_model_tests(kind="node")
    for case in everything:
        nodes = case.model.graph.node if case.model is not None else []
        wanted = len(nodes) == 1 and nodes[0].op_type in found and not nodes[0].domain
        if wanted and "empty_set" not in case.name:  # no classifier reduces nothing
            found[nodes[0].op_type].append(case)
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operator_agrees_with_the_standard(cases: dict[str, list[object]], operation: str) -> None:
    """No case converts and disagrees, and at least one converts."""
    agreed = 0
    for case in cases[operation]:
        model = case.model  # type: ignore[attr-defined]
        module = _converted(model)
        if module is None:
            continue
        for inputs, outputs in _arrays(case):
            tensors = [torch.from_numpy(np.array(value)) for value in inputs]
            results = module(*tensors)
            results = [results] if isinstance(results, torch.Tensor) else list(results)
            for ours, theirs in zip(results, outputs, strict=False):
                assert tuple(ours.shape) == np.shape(theirs), case.name  # type: ignore[attr-defined]
                np.testing.assert_allclose(
                    ours.numpy(),
                    theirs,
                    rtol=1e-3,
                    atol=1e-5,
                    err_msg=case.name,  # type: ignore[attr-defined]
                )
        agreed += 1
    assert agreed


def _converted(model: onnx.ModelProto) -> torch.nn.Module | None:
    """The module of a one-node model; ``None`` when its types or forms are none of a classifier's."""
    from onnx2torch import convert

    floats = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
    if any(value.type.tensor_type.elem_type not in floats for value in [*model.graph.input, *model.graph.output]):
        return None
    try:
        with registered():
            return convert(model).eval()
    except NotImplementedError:
        return None


def test_same_padding_depends_on_the_image() -> None:
    """auto_pad of pools and convolutions, which torch has no name for, at an odd size."""
    from auditor.loading.onnx_converters.padding import Window

    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    from onnx2torch.onnx_node import OnnxNode

    window = Window.of(OnnxNode(node, "pool"))
    assert window.torch_pads(torch.zeros(1, 1, 6, 7)) == [1, 1, 1, 0]
