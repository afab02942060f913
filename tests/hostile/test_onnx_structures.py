"""ONNX files with more nodes, nesting, names or dimensions than a classifier has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from .containers import written
from .graphs import classifier, constant, field, saved, varint
from .test_pickles import CANARY, COMMAND
from .trick import OPEN, REFUSED, Opened, Trick, names, open_tricks

SIZES = "CWE-789: memory allocated by a size from the file"
COUNTS = "CWE-770: work without a limit"
NESTING = "CVE-2024-7254: messages nested without end (CWE-674)"
LAUGHS = "the billion laughs of XML, in local functions"

node = helper.make_node
Made = Callable[[], onnx.ModelProto]


def nested(depth: int) -> onnx.ModelProto:
    """Ifs inside Ifs."""
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node("Constant", [], ["inner"], value_floats=[0.0])], "deepest", [], [value])
    for _ in range(depth):
        branch = node("If", ["yes"], ["inner"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([branch], "level", [], [value])
    yes = constant("yes", True, "bool")
    return classifier([node("If", ["yes"], ["big"], then_branch=graph, else_branch=graph)], [yes], result="big")


def nested_bytes(depth: int) -> bytes:
    """Graphs in attributes of nodes of graphs, deeper than a library would write them."""
    inner = b""
    for _ in range(depth):
        attribute = field(1, b"g") + field(6, inner) + varint(20 << 3) + varint(5)
        inner = field(1, field(1, b"a") + field(2, b"b") + field(4, b"If") + field(5, attribute))
    opset = field(8, field(1, b"") + varint(2 << 3) + varint(18))
    output = field(12, field(1, b"scores"))
    return varint(1 << 3) + varint(9) + field(7, inner + output) + opset


def functions(calls: int, levels: int) -> onnx.ModelProto:
    """Each function calls the one below it several times; with no levels a function calls itself."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = []
    for level in range(max(levels, 1)):
        below = f"f{level - 1}" if levels and level else ("f0" if not levels else "")
        body = [node(below, [f"x{i}"], [f"x{i + 1}"], domain="own") for i in range(calls)] if below else []
        body = [node("Identity", ["x"], ["x0"]), *body, node("Identity", [f"x{len(body)}"], ["y"])]
        made.append(helper.make_function("own", f"f{level}", ["x"], ["y"], body, imports))
    top = node(f"f{max(levels, 1) - 1}", ["plainest"], ["big"], domain="own")
    nodes = [node("Identity", ["flat"], ["plainest"]), top]
    return classifier(nodes, result="big", functions=made, domains=["own"])


def many_nodes(count: int) -> onnx.ModelProto:
    chain = [node("Identity", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    return classifier([node("Identity", ["flat"], ["v0"]), *chain], result=f"v{count}")


def products(size: int, count: int) -> onnx.ModelProto:
    """Matrix products that take little memory and much time."""
    chain = [node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(count)]
    start = node("Expand", ["one", "size"], ["m0"])
    stored = [constant("one", 1.0, "float32"), constant("size", [size, size])]
    return classifier([start, *chain], stored, result=f"m{count}")


def with_weight(dims: Sequence[int], **data: object) -> onnx.ModelProto:
    """The weight claims other dimensions than its data has."""
    model = classifier()
    weight = model.graph.initializer[0]
    del weight.dims[:]
    weight.dims.extend(dims)
    if "raw_data" in data:
        weight.raw_data = data["raw_data"]
    return model


def spoiled(change: Callable[[onnx.ModelProto], object]) -> Made:
    """The classifier with something changed."""

    def make() -> onnx.ModelProto:
        model = classifier()
        change(model)
        return model

    return make


def structures() -> Iterator[tuple[str, Made, str]]:
    """Counts, nesting, names and dimensions."""
    yield "sixty thousand nodes", lambda: many_nodes(60_000), COUNTS
    yield "Ifs nested thirty deep", lambda: nested(5), NESTING
    yield "a function that calls itself", lambda: functions(1, 0), NESTING
    yield "functions that double forty times", lambda: functions(2, 40), LAUGHS
    yield "functions that multiply by ten nine times", lambda: functions(10, 9), LAUGHS
    for dims in ((1 << 31, 1 << 31), (1 << 62, 16), (-1, 3), (16, -3), (1 << 32, 1 << 32), (0, 3), (1,) * 100_000):
        shown = str(dims[:3])
        yield f"dimensions {shown} without data", lambda dims=dims: with_weight(dims, raw_data=b""), SIZES
        yield f"dimensions {shown} with other data", lambda dims=dims: with_weight(dims), SIZES
    yield "sixty thousand constants", spoiled(_many_constants), COUNTS
    yield "a constant twice", spoiled(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "readers disagree"
    yield "a name of ten million characters", spoiled(lambda m: _rename(m, "x" * 10_000_000)), COUNTS
    yield "an operation of a million characters", spoiled(lambda m: _operate(m, "X" * 1_000_000)), COUNTS
    yield "an operation that speaks to the terminal", spoiled(lambda m: _operate(m, "\x1b]0;x\x07")), "CVE-2021-42574"
    yield "a foreign domain", spoiled(lambda m: _operate(m, "Evil", "com.evil.lib")), "custom-operation libraries"
    yield "an opset of the far future", spoiled(lambda m: setattr(m.opset_import[0], "version", 1 << 62)), COUNTS
    yield "an opset below zero", spoiled(lambda m: setattr(m.opset_import[0], "version", -1)), COUNTS
    yield "an IR version of the far future", spoiled(lambda m: setattr(m, "ir_version", 1 << 62)), COUNTS
    yield "no opset", spoiled(lambda m: m.opset_import.__delitem__(slice(None))), COUNTS
    for shape in (
        (1 << 40, 1, 4, 4),
        (1, 1 << 20, 1 << 20, 1),
        (1, 1, 1 << 40, 1),
        (1, -1, 4, 4),
        (1, 0, 4, 4),
        (1, 1),
    ):
        yield f"images of {shape}", lambda shape=shape: classifier(image=shape), SIZES
    yield "a thousand million classes", _many_classes, SIZES
    yield "a sparse constant of a huge extent", spoiled(_sparse), SIZES
    yield "text where numbers belong", spoiled(_text), "readers disagree"
    yield (
        "a cycle",
        lambda: classifier([node("Add", ["big", "flat"], ["big2"]), node("Identity", ["big2"], ["big"])], result="big"),
        COUNTS,
    )
    yield (
        "ten thousand outputs",
        spoiled(lambda m: m.graph.output.extend(helper.make_tensor_value_info(f"o{i}", 1, [1]) for i in range(10_000))),
        COUNTS,
    )
    yield (
        "ten thousand inputs",
        spoiled(lambda m: m.graph.input.extend(helper.make_tensor_value_info(f"i{i}", 1, [1]) for i in range(10_000))),
        COUNTS,
    )


def _many_constants(model: onnx.ModelProto) -> None:
    for index in range(60_000):
        model.graph.initializer.add(name=f"c{index}", data_type=1, dims=[1], raw_data=b"\0\0\0\0")


def _rename(model: onnx.ModelProto, name: str) -> None:
    model.graph.initializer[0].name = model.graph.node[1].input[1] = name


def _operate(model: onnx.ModelProto, operation: str, domain: str = "") -> None:
    model.graph.node[1].op_type = operation
    model.graph.node[1].domain = domain
    if domain:
        model.opset_import.add(domain=domain, version=1)


def _many_classes() -> onnx.ModelProto:
    model = classifier([node("Expand", ["plain_row", "size"], ["wide"])], [constant("size", [1, 1 << 30])])
    model.graph.node[1].output[0] = "plain_row"
    model.graph.output[0].name = "wide"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1 << 30
    model.graph.initializer[0].CopyFrom(constant("weight", [[1.0]] * 16, "float32"))
    return model


def _sparse(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[1 << 40, 1 << 40])
    sparse.values.CopyFrom(constant("s", [1.0], "float32"))
    sparse.indices.CopyFrom(constant("i", [1 << 60]))


def _text(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_type = TensorProto.STRING
    weight.string_data.extend([b"x" * 1000] * 48)


def labels() -> Iterator[tuple[str, str]]:
    """Class names in the metadata that a parser would suffer from."""
    yield "a list nested a hundred thousand deep", "[" * 100_000
    yield "brackets nested a hundred thousand deep", "(" * 100_000
    yield "signs without end", "-" * 100_000 + "1"
    yield "a number of five thousand digits", "[" + "9" * 5000 + "]"
    yield "a million names", "[" + ",".join('"x"' for _ in range(240_000)) + "]"
    yield "a name of ten million characters", '["' + "x" * 10_000_000 + '"]'
    yield "code", f"__import__('os').system('{COMMAND}')"
    yield "code in a comprehension", "[c for c in ().__class__.__base__.__subclasses__()]"
    yield "a power tower", "9**9**9**9"
    yield "keys that are no numbers", "{'a': 'x', None: 'y', 1e400: 'z'}"
    yield "a lone surrogate", '["\\ud800", "\\udfff", "x"]'


def labelled(text: str) -> Made:
    def make() -> onnx.ModelProto:
        model = classifier()
        model.metadata_props.add(key="names", value=text)
        return model

    return make


def tricks() -> Iterator[Trick]:
    for what, make, source in structures():
        yield Trick(what, source, saved(make), (*REFUSED, *OPEN) if what in HARMLESS else REFUSED)
    for depth in (20, 90, 200, 5000):
        yield Trick(f"bytes nested {depth} deep", NESTING, written(nested_bytes(depth), "model.onnx"))
    groups = b"\x83\x7d" * 200_000
    yield Trick("groups nested without end", NESTING, written(classifier().SerializeToString() + groups, "model.onnx"))
    empty = field(7, field(1, b"") * 5_000_000)
    yield Trick("five million empty nodes", COUNTS, written(empty, "model.onnx"))
    yield Trick("a length beyond the file", COUNTS, written(varint(7 << 3 | 2) + varint(1 << 62), "model.onnx"))
    for what, text in labels():
        yield Trick(f"labels: {what}", "CWE-674 and CWE-95, by class names", saved(labelled(text)), (*REFUSED, *OPEN))


HARMLESS = ("a constant twice",)
"""what readers agree on: twice the same"""

TRICKS = list(tricks())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    canary = Path(CANARY)
    canary.unlink(missing_ok=True)
    return open_tricks(TRICKS, tmp_path_factory.mktemp("structures"), [canary])


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_a_graph_gets_no_more_than_its_limits(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
