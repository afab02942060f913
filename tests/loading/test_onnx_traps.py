"""Files that readers read differently: audited as onnxruntime reads them, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from auditor.errors import ModelFileError
from auditor.inspection import examine
from auditor.loading import load_network
from auditor.loading.limits import DEFAULT_LIMITS
from auditor.loading.onnx_graph.file import read_onnx
from auditor.loading.onnx_graph.labels import labels_of

from .graphs import EXPECTED, ONES, answer, constant, linear_model, saved

Break = Callable[[onnx.ModelProto], None]


def _typed_beside_raw(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data.extend([5.0] * 8)


def _wrong_typed_beside_raw(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].int32_data.extend([5] * 8)


def _external_beside_raw(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="elsewhere.bin")


def _two_typed(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.float_data.extend(np.arange(8.0))
    weight.int32_data.extend([9] * 8)


def _twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.insert(0, constant("weight", np.full((4, 2), 7)))


def _also_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [4, 2]))


def _metadata_twice(model: onnx.ModelProto) -> None:
    for text in ('["cat", "dog"]', '["ship", "plane"]'):
        model.metadata_props.add(key="names", value=text)


def _out_of_order(model: onnx.ModelProto) -> None:
    first = onnx.NodeProto.FromString(model.graph.node[0].SerializeToString())
    del model.graph.node[0]
    model.graph.node.append(first)


READ: dict[str, tuple[Break, str | None]] = {
    "typed data beside raw": (_typed_beside_raw, "tensor-stored-twice"),
    "data of another type beside raw": (_wrong_typed_beside_raw, "tensor-stored-twice"),
    "external data beside raw": (_external_beside_raw, "tensor-stored-twice"),
    "two kinds of typed data": (_two_typed, "tensor-stored-twice"),
    "duplicate initializer": (_twice, "duplicate-initializer"),
    "initializer as input": (_also_input, "overridable-weights"),
    "duplicate metadata": (_metadata_twice, "duplicate-metadata"),
    "nodes out of order": (_out_of_order, None),
}


@pytest.mark.parametrize("name", READ)
def test_odd_files_are_read_as_the_runtime_reads_them(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    change, expected = READ[name]
    model = linear_model()
    change(model)
    assert answer(model) == EXPECTED
    path = saved(model, tmp_path)
    loaded = load_network(path)
    assert loaded.module(torch.from_numpy(ONES)).tolist() == EXPECTED
    found = [finding.id for finding in examine(path).findings]
    assert found == ([] if expected is None else [expected])
    if expected not in (None, "overridable-weights"):
        assert any("expected" in note or "metadata" in note for note in loaded.notes)


def test_the_last_labels_count(tmp_path: Path) -> None:
    model = linear_model()
    _metadata_twice(model)
    assert load_network(saved(model, tmp_path)).labels == ("ship", "plane")


def _attribute_twice(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.extend([helper.make_attribute("axis", 1), helper.make_attribute("axis", 2)])


def _attribute_of_two_kinds(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.extend([helper.make_attribute("axis", 1)])
    model.graph.node[0].attribute[0].f = 2.0


def _value_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Mul", ["flat", "flat"], ["flat"]))


def _input_twice(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def _constant_computed(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["image"], ["weight"]))


def _nothing_gives_it(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "elsewhere"


def _versions_disagree(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="ai.onnx", version=11)


def _function_over_operation(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Sub", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("", "Flatten", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))


def _function_twice(model: onnx.ModelProto) -> None:
    for op in ("Neg", "Abs"):
        body = [helper.make_node(op, ["a"], ["b"])]
        model.functions.append(helper.make_function("own", "Thing", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))


def _shadowed(model: onnx.ModelProto) -> None:
    shadow = constant("weight", np.full((4, 2), 50))
    output = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    branches = [
        helper.make_graph([helper.make_node("Identity", ["weight"], ["inner"])], name, [], output, constants)
        for name, constants in (("a", [shadow]), ("b", []))
    ]
    model.graph.initializer.append(constant("yes", True, np.bool_))
    choose = helper.make_node("If", ["yes"], ["chosen"], then_branch=branches[0], else_branch=branches[1])
    model.graph.node.insert(0, choose)
    model.graph.node[2].input[1] = "chosen"


def _too_many_numbers(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"1234"


def _too_few_numbers(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].float_data.extend([1.0])


def _unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def _segment(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].segment.begin = 1


REFUSED: dict[str, tuple[Break, str]] = {
    "attribute twice": (_attribute_twice, "duplicate-attribute"),
    "attribute of two kinds": (_attribute_of_two_kinds, "mismatched-attribute"),
    "value computed twice": (_value_twice, "duplicate-value"),
    "input twice": (_input_twice, "duplicate-value"),
    "constant computed again": (_constant_computed, "duplicate-value"),
    "value that nothing gives": (_nothing_gives_it, "undefined-name"),
    "two versions of one domain": (_versions_disagree, "duplicate-opset"),
    "function over an operation": (_function_over_operation, "function-overrides-operation"),
    "function twice": (_function_twice, "duplicate-function"),
    "branch that hides a constant": (_shadowed, "shadowed-name"),
    "more numbers than dimensions": (_too_many_numbers, "malformed-tensor"),
    "fewer numbers than dimensions": (_too_few_numbers, "malformed-tensor"),
    "type without a name": (_unknown_type, "malformed-tensor"),
    "segment of a tensor": (_segment, "malformed-tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_readers_disagree_on_is_refused(tmp_path: Path, name: str) -> None:
    change, expected = REFUSED[name]
    model = linear_model()
    change(model)
    path = saved(model, tmp_path)
    with pytest.raises(ModelFileError, match=r"^expected .* got .*; export the model again"):
        read_onnx(path, DEFAULT_LIMITS)
    assert (expected, "danger") in {(finding.id, finding.severity) for finding in examine(path).findings}


def test_a_field_given_twice_is_merged_and_said(tmp_path: Path) -> None:
    """Two models one behind the other parse as one: the graphs' nodes are strung together."""
    path = tmp_path / "model.onnx"
    more = onnx.ModelProto(producer_name="second")
    path.write_bytes(linear_model().SerializeToString() + more.SerializeToString())
    model = linear_model()
    model.producer_name = "first"
    path.write_bytes(model.SerializeToString() + more.SerializeToString())
    (finding,) = examine(path).findings
    assert finding.id == "repeated-field"
    assert "ModelProto.producer_name (1×)" in finding.message


def test_fields_that_the_format_does_not_have_are_said(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    hidden = b"\xfa\x7f\x04evil"  # field 2047, four bytes
    path.write_bytes(linear_model().SerializeToString() + hidden)
    (finding,) = examine(path).findings
    assert finding.id == "unknown-fields"
    assert "ModelProto.2047 (1×)" in finding.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['cat', \"dog\"]", ("cat", "dog")),
        ("('it\\'s', 'b')", ("it's", "b")),
        ("{0: 'cat', 1: 'dog',}", ("cat", "dog")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("{1: 'dog'}", None),
        ("__import__('os').system('false')", None),
        ("[" * 100_000, None),
        ("{" * 50_000 + "'a': 1" + "}" * 50_000, None),
        ("[1, 2]", None),
        ("['a', 'b'", None),
        ("(" * 900_000, None),
        ("-" * 900_000 + "1", None),
        ("'" + "\\" * 900_000, None),
    ],
)
def test_labels_are_read_without_evaluation(text: str, expected: tuple[str, ...] | None) -> None:
    model = linear_model()
    model.metadata_props.add(key="names", value=text)
    assert labels_of(model) == expected
