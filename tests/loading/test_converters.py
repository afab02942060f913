"""The converters one by one: the versions they are for, what they refuse, and converters from outside."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

from auditor.loading.onnx_convert import convert
from auditor.loading.onnx_converters import find_converter, since_version
from auditor.loading.onnx_converters.aliases import SAME_MEANING
from auditor.loading.onnx_converters.registration import OURS


def _one_node(
    operation: str, *, opset: int, shape: tuple[int, ...] = (2, 3), domain: str = "", **attributes: object
) -> onnx.ModelProto:
    """A model of one operation from one float input."""
    node = helper.make_node(operation, ["x"], ["y"], domain=domain, **attributes)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(helper.make_graph([node], "one", [x], [y]), opset_imports=opsets)


def _schema(operation: str, version: int) -> onnx.defs.OpSchema:
    schema = onnx.defs.get_schema(operation, version, "")
    assert schema.since_version == version
    return schema


@pytest.mark.parametrize(("operation", "known", "newer"), SAME_MEANING, ids=[row[0] for row in SAME_MEANING])
def test_alias_has_the_same_schema(operation: str, known: tuple[int, ...], newer: tuple[int, ...]) -> None:
    def interface(version: int) -> tuple[object, ...]:
        schema = _schema(operation, version)
        attributes = {
            name: (attribute.type, attribute.default_value.SerializeToString(), attribute.required)
            for name, attribute in schema.attributes.items()
        }
        inputs = [(value.name, value.option) for value in schema.inputs]
        return attributes, inputs, [(value.name, value.option) for value in schema.outputs]

    for version in newer:
        assert interface(version) == interface(known[-1])


def test_the_registry_of_onnx2torch_is_left_alone() -> None:
    table = dict(_CONVERTER_REGISTRY)
    convert(_one_node("Gelu", opset=20))
    assert table == _CONVERTER_REGISTRY
    assert ("", "Gelu", 20) not in table


def test_every_converter_is_for_a_version_that_exists() -> None:
    for operation, version in OURS:
        _schema(operation, version)


def test_every_operation_converts_at_every_opset_since_9() -> None:
    """An operation that converts at one opset converts at every other that has it, or is listed as a gap."""
    newest = onnx.defs.onnx_opset_version()
    gaps = {
        f"{operation}-{since_version(operation, opset)}"
        for operation in {operation for operation, _ in OURS}
        for opset in range(9, newest + 1)
        if since_version(operation, opset) and find_converter(operation, opset) is None
    }
    assert gaps == set()


def test_same_padding_depends_on_the_image() -> None:
    """auto_pad of pools and convolutions, which torch has no name for, at an odd size."""
    from auditor.loading.onnx_converters.padding import Window

    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    from onnx2torch.onnx_node import OnnxNode

    window = Window.of(OnnxNode(node, "pool"))
    assert window.torch_pads(torch.zeros(1, 1, 6, 7)) == [1, 1, 1, 0]
