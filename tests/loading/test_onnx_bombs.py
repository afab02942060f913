"""Small ONNX files that ask for much: refused by what they state, before anything of the size is made."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from auditor.errors import ModelFileError
from auditor.inspection import examine
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.onnx_graph.file import read_onnx

from .graphs import constant, linear_model, saved

HUGE = 1 << 40


def _sizes(*values: float, kind: type = np.int64) -> TensorProto:
    return constant("sizes", list(values), kind)


def _with(*nodes: NodeProto, constants: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    return linear_model(*nodes, constants=constants)


def _doubled(op: str, times: int) -> onnx.ModelProto:
    """The features combined with themselves again and again."""
    nodes = []
    for i in range(times):
        name = "flat" if i == 0 else f"x{i}"
        inputs = [name, name] if op == "Concat" else [name, "twice"]
        nodes.append(helper.make_node(op, inputs, [f"x{i + 1}"], **({"axis": 1} if op == "Concat" else {})))
    return _with(*nodes, constants=(constant("twice", [1, 2], np.int64),))


def _nested_functions(levels: int) -> onnx.ModelProto:
    """Each function calls the one below twice: 2**levels operations once inlined."""
    model = linear_model(helper.make_node(f"f{levels}", ["flat"], ["much"], domain="own"))
    model.opset_import.add(domain="own", version=1)
    for level in range(levels + 1):
        op, domain = (f"f{level - 1}", "own") if level else ("Neg", "")
        body = [helper.make_node(op, [a], [b], domain=domain) for a, b in (("a", "c"), ("c", "b"))]
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"f{level}", ["a"], ["b"], body, imports))
    return model


def _recursive_function() -> onnx.ModelProto:
    model = linear_model(helper.make_node("f", ["flat"], ["much"], domain="own"))
    body = [helper.make_node("f", ["a"], ["b"], domain="own")]
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("own", 1)]))
    return model


def _nested_branches(levels: int) -> onnx.ModelProto:
    output = [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)]
    graph = helper.make_graph([helper.make_node("Identity", ["flat"], ["y0"])], "g0", [], output)
    for level in range(1, levels + 1):
        name = f"y{level}"
        node = helper.make_node("If", ["yes"], [name], then_branch=graph, else_branch=graph)
        output = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        graph = helper.make_graph([node], f"g{level}", [], output)
    return linear_model(*graph.node, constants=(constant("yes", True, np.bool_),))


def _outer_product() -> onnx.ModelProto:
    return _with(
        helper.make_node("Expand", ["flat1", "wide"], ["row"]),
        helper.make_node("Expand", ["flat1", "tall"], ["column"]),
        helper.make_node("MatMul", ["column", "row"], ["much"]),
        constants=(
            constant("flat1", [[1.0]]),
            constant("wide", [1, 1 << 20], np.int64),
            constant("tall", [1 << 20, 1], np.int64),
        ),
    )


BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "ConstantOfShape": lambda: _with(
        helper.make_node("ConstantOfShape", ["sizes"], ["much"]), constants=(_sizes(HUGE),)
    ),
    "ConstantOfShape by a Constant node": lambda: _with(
        helper.make_node("Constant", [], ["sizes"], value=_sizes(1 << 20, 1 << 20)),
        helper.make_node("ConstantOfShape", ["sizes"], ["much"]),
    ),
    "ConstantOfShape by a list": lambda: _with(
        helper.make_node("Constant", [], ["sizes"], value_ints=[1 << 20, 1 << 20]),
        helper.make_node("ConstantOfShape", ["sizes"], ["much"]),
    ),
    "Expand": lambda: _with(helper.make_node("Expand", ["flat", "sizes"], ["much"]), constants=(_sizes(HUGE, 4),)),
    "Tile": lambda: _with(helper.make_node("Tile", ["flat", "sizes"], ["much"]), constants=(_sizes(1 << 20, 1 << 20),)),
    "Range": lambda: _with(
        helper.make_node("Range", ["a", "b", "c"], ["much"]),
        constants=(constant("a", 0, np.int64), constant("b", HUGE, np.int64), constant("c", 1, np.int64)),
    ),
    "Range of nothing at a time": lambda: _with(
        helper.make_node("Range", ["a", "b", "c"], ["much"]),
        constants=(constant("a", 0.0), constant("b", 1.0), constant("c", 0.0)),
    ),
    "Resize by sizes": lambda: _with(
        helper.make_node("Resize", ["image", "", "", "sizes"], ["much"]), constants=(_sizes(1, 1, 1 << 20, 1 << 20),)
    ),
    "Resize by scales": lambda: _with(
        helper.make_node("Resize", ["image", "", "sizes"], ["much"]),
        constants=(_sizes(1, 1, 1e6, 1e6, kind=np.float32),),
    ),
    "Pad": lambda: _with(
        helper.make_node("Pad", ["flat", "sizes"], ["much"]), constants=(_sizes(0, HUGE, 0, 0),)
    ),
    "OneHot": lambda: _with(
        helper.make_node("OneHot", ["some", "sizes", "values"], ["much"]),
        constants=(_sizes(HUGE), constant("some", [1], np.int64), constant("values", [0.0, 1.0])),
    ),
    "RandomNormal": lambda: _with(helper.make_node("RandomNormal", [], ["much"], shape=[HUGE])),
    "Concat with itself": lambda: _doubled("Concat", 40),
    "Tile again and again": lambda: _doubled("Tile", 40),
    "outer product": _outer_product,
    "functions that double": lambda: _nested_functions(30),
    "function that calls itself": _recursive_function,
    "nested branches": lambda: _nested_branches(12),
    "a constant of huge dimensions": lambda: _with(
        constants=(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 31, 1 << 31]),)
    ),
    "a negative dimension": lambda: _with(
        constants=(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1, -4]),)
    ),
    "a sparse constant": lambda: _sparse(),
}


def _sparse() -> onnx.ModelProto:
    model = linear_model()
    sparse = model.graph.sparse_initializer.add(dims=[HUGE])
    sparse.values.CopyFrom(constant("few", [1.0]))
    sparse.indices.CopyFrom(constant("at", [0], np.int64))
    return model


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_what_they_state(tmp_path: Path, name: str) -> None:
    path = saved(BOMBS[name](), tmp_path)
    started = time.monotonic()
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=r"^expected .* got .*; "):
        read_onnx(path, DEFAULT_LIMITS)
    assert {finding.severity for finding in examine(path).findings} >= {"danger"}
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
    assert time.monotonic() - started < 10


def _repeated(field: int, content: bytes, times: int) -> bytes:
    """A ModelProto whose graph repeats one field."""
    one = bytes([field << 3 | 2, len(content)]) + content
    graph = one * times
    return b"\x08\x08" + b"\x3a" + _varint(len(graph)) + graph


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_empty_fields_are_counted_before_they_are_parsed(tmp_path: Path) -> None:
    """A million empty nodes are 2 MB on disk and more than a hundred as objects."""
    path = tmp_path / "model.onnx"
    limits = Limits(fields=100_000)
    path.write_bytes(_repeated(1, b"\x0a\x00", limits.fields))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=r"limits\.fields"):
        read_onnx(path, limits)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_messages_nested_too_deep_are_refused(tmp_path: Path) -> None:
    content = b""
    for _ in range(120):  # node 1 → attribute 5 → graph 6
        graph = b"\x0a" + _varint(len(content)) + content
        attribute = b"\x32" + _varint(len(graph)) + graph
        content = b"\x2a" + _varint(len(attribute)) + attribute
    path = tmp_path / "model.onnx"
    graph = b"\x0a" + _varint(len(content)) + content
    path.write_bytes(b"\x3a" + _varint(len(graph)) + graph)
    with pytest.raises(ModelFileError, match="nested messages"):
        read_onnx(path, DEFAULT_LIMITS)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Parsers hand them on as bytes, as replaced text, or not at all."""
    data = saved(linear_model(), tmp_path).read_bytes()
    path = tmp_path / "odd.onnx"
    path.write_bytes(data.replace(b"Flatten", b"Flat\xff\xfe\xfd"))
    with pytest.raises(ModelFileError, match="UTF-8"):
        read_onnx(path, DEFAULT_LIMITS)


LIMITS = {
    "nodes": (Limits(nodes=1), "limits.nodes"),
    "initializers": (Limits(initializers=0), "limits.initializers"),
    "weight_bytes": (Limits(weight_bytes=31), "limits.weight_bytes"),
    "tensor_elements": (Limits(tensor_elements=7), "limits.tensor_elements"),
    "name_characters": (Limits(name_characters=5), "limits.name_characters"),
    "fields": (Limits(fields=20), "limits.fields"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_says_how_to_raise_it(tmp_path: Path, name: str) -> None:
    path = saved(linear_model(), tmp_path)
    read_onnx(path, DEFAULT_LIMITS)
    limits, part = LIMITS[name]
    with pytest.raises(ModelFileError) as caught:
        read_onnx(path, limits)
    assert part in str(caught.value)


@pytest.mark.parametrize(("limits", "part"), [(Limits(subgraph_depth=2), "depth"), (Limits(subgraph_nodes=6), "nodes")])
def test_limits_on_branches(tmp_path: Path, limits: Limits, part: str) -> None:
    path = saved(_nested_branches(3), tmp_path)
    read_onnx(path, DEFAULT_LIMITS)
    with pytest.raises(ModelFileError, match=f"limits.subgraph_{part}"):
        read_onnx(path, limits)


def test_two_thousand_mutations_are_read_or_refused(tmp_path: Path) -> None:
    """Bytes flipped, cut, doubled and filled: an error of ours or a model, never another exception."""
    whole = linear_model(helper.make_node("Relu", ["scores"], ["r"]), constants=(constant("c", [1, 2], np.int64),))
    data = bytearray(whole.SerializeToString())
    rng = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(2000):
        changed = bytearray(data)
        kind = rng.integers(4)
        at = int(rng.integers(len(changed)))
        if kind == 0:
            for _ in range(int(rng.integers(1, 6))):
                changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = changed[at : at + int(rng.integers(40))]
        else:
            changed[at : at + 8] = bytes(int(b) for b in rng.integers(256, size=8))
        path.write_bytes(bytes(changed) or b"\0")
        try:
            read_onnx(path, DEFAULT_LIMITS)
            outcomes["read"] += 1
        except ModelFileError:
            outcomes["refused"] += 1
        examine(path)
    assert min(outcomes.values()) > 100
