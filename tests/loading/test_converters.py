"""The converters one by one: the versions they are for, what they refuse, and converters from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

from auditor.errors import ConfigError, ModelFileError, UnsupportedOperatorsError
from auditor.loading.onnx_graph.convert import convert
from auditor.loading.onnx_graph.converters import find_converter, registration, since_version
from auditor.loading.onnx_graph.converters.aliases import SAME_MEANING
from auditor.loading.onnx_graph.converters.registration import OURS


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


def test_unsupported_operations_are_all_named_at_once() -> None:
    model = _one_node("Gelu", opset=20)
    model.graph.node.extend(
        [
            helper.make_node("Unique", ["y"], ["a"]),
            helper.make_node("Unique", ["y"], ["b"]),
            helper.make_node("Fancy\x1b[31m", ["y"], ["c"], domain="org.example"),
        ]
    )
    with pytest.raises(UnsupportedOperatorsError) as caught:
        convert(model)
    text = str(caught.value)
    assert "Unique-11 (2×)" in text
    assert r"org.example::Fancy\x1b[31m of opset 0 (1×)" in text
    assert "Gelu" not in text
    assert "auditor.onnx_converters" in text
    assert text.isprintable()


def test_unsupported_forms_are_all_named_at_once() -> None:
    model = _one_node("Cast", opset=20, to=TensorProto.FLOAT8E5M2)
    model.graph.node.append(helper.make_node("GridSample", ["x", "x"], ["z"], mode="fractal"))
    with pytest.raises(ModelFileError, match=r"Cast to element type float8e5m2; GridSample with an unknown mode"):
        convert(model)


PLUGIN = """
from auditor.loading.onnx_graph.converters import converter
from auditor.loading.onnx_graph.converters.registration import result
from torch import nn

@converter("Twice", domain="org.example")
def twice(node, graph):
    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x
    return result(node, Twice())
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package from outside with one entry point, put away again afterwards."""
    (tmp_path / "twice_converter.py").write_text(PLUGIN)
    folder = tmp_path / "twice-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: twice\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[auditor.onnx_converters]\ntwice = twice_converter\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    registration.FOREIGN.pop(("org.example", "Twice"), None)
    registration._loaded_plugins.discard("twice")
    sys.modules.pop("twice_converter", None)


def test_a_converter_from_outside(plugin: Path) -> None:
    """Loaded when a model is converted, not before; it may know a domain that is refused otherwise."""
    assert "twice_converter" not in sys.modules
    module = convert(_one_node("Twice", opset=20, domain="org.example"))
    assert "twice_converter" in sys.modules
    assert module(torch.full((2, 3), 1.5)).tolist() == [[3.0] * 3] * 2


def test_a_plugin_may_be_a_function(plugin: Path) -> None:
    (plugin / "entry_points.txt").write_text("[auditor.onnx_converters]\ntwice = late_converter:declare\n")
    body = "\n".join("    " + line for line in PLUGIN.splitlines())
    (plugin.parent / "late_converter.py").write_text(f"def declare():\n{body}\n")
    assert convert(_one_node("Twice", opset=20, domain="org.example"))(torch.ones(2, 3)).max() == 2


def test_a_plugin_that_fails_is_named(plugin: Path) -> None:
    (plugin.parent / "twice_converter.py").write_text("import no_such_module\n")
    with pytest.raises(ConfigError, match="'twice'"):
        convert(_one_node("Twice", opset=20, domain="org.example"))


def test_without_the_plugin_the_domain_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorsError, match=r"org\.example::Twice of opset 1"):
        convert(_one_node("Twice", opset=20, domain="org.example"))


BOMBS: dict[str, tuple[str, dict[str, object], list[object]]] = {
    "Expand": ("Expand", {}, [np.array([1 << 30, 2, 3])]),
    "Tile": ("Tile", {}, [np.array([1 << 20, 1 << 12])]),
    "Pad": ("Pad", {}, [np.array([0, 0, 1 << 40, 0])]),
    "Resize": ("Resize", {}, [np.float32([]), np.float32([1e6, 1e6])]),
    "OneHot": ("OneHot", {}, [np.array(1 << 40), np.float32([0, 1])]),
    "CenterCropPad": ("CenterCropPad", {}, [np.array([1 << 20, 1 << 20])]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_tensor_of_more_than_the_limit_is_never_made(name: str) -> None:
    operation, attributes, constants = BOMBS[name]
    model = _one_node(operation, opset=18, **attributes)
    for index, value in enumerate(constants):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"c{index}"))
        model.graph.node[0].input.append(f"c{index}")
    module = convert(model)
    with pytest.raises(ModelFileError, match="expected tensors of at most"):
        module(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("operation", "constants"),
    [("Range", [np.float32(0), np.float32(1e30), np.float32(1)]), ("ConstantOfShape", [np.array([1 << 20, 1 << 20])])],
)
def test_constants_of_more_than_the_limit_are_never_made(operation: str, constants: list[np.ndarray]) -> None:
    model = _one_node("Add", opset=18)
    names = [f"c{index}" for index in range(len(constants))]
    stored = [numpy_helper.from_array(np.asarray(value), name) for value, name in zip(constants, names, strict=True)]
    model.graph.initializer.extend(stored)
    model.graph.node[0].input.append("bomb")
    model.graph.node.insert(0, helper.make_node(operation, names, ["bomb"]))
    with pytest.raises(ModelFileError, match="expected tensors of at most"):
        convert(model)(torch.ones(2, 3))


def test_same_padding_depends_on_the_image() -> None:
    """auto_pad of pools and convolutions, which torch has no name for, at an odd size."""
    from auditor.loading.onnx_graph.converters.padding import Window

    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    from onnx2torch.onnx_node import OnnxNode

    window = Window.of(OnnxNode(node, "pool"))
    assert window.torch_pads(torch.zeros(1, 1, 6, 7)) == [1, 1, 1, 0]
