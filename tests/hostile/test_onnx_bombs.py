"""ONNX graphs that ask for more memory, time or nesting than anybody has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from .containers import written
from .graphs import classifier, constant, field, saved, varint
from .trick import OPEN, REFUSED, Opened, Trick, names, open_tricks

SIZES = "CWE-789: memory allocated by a size from the file"
COUNTS = "CWE-770: work without a limit"
NESTING = "CVE-2024-7254: messages nested without end (CWE-674)"
LAUGHS = "the billion laughs of XML, in local functions"

node = helper.make_node
Made = Callable[[], onnx.ModelProto]

BIG = 1 << 20


def bomb(*nodes: onnx.NodeProto, **constants: object) -> Made:
    """A classifier that adds the smallest value of ``big``, which ``nodes`` make."""
    stored = [constant(name, values, "float32" if _is_float(values) else "int64") for name, values in constants.items()]
    return lambda: classifier(nodes, stored, result="big")


def _is_float(values: object) -> bool:
    return isinstance(values, float) or (isinstance(values, list) and any(isinstance(v, (float, list)) for v in values))


def stated() -> Iterator[tuple[str, Made]]:
    """The size stands in a constant of the file."""
    yield "ConstantOfShape", bomb(node("ConstantOfShape", ["size"], ["big"]), size=[BIG, BIG])
    yield (
        "ConstantOfShape whose product overflows to zero",
        bomb(node("ConstantOfShape", ["size"], ["big"]), size=[1 << 32, 1 << 32]),
    )
    yield "Expand", bomb(node("Expand", ["one", "size"], ["big"]), one=1.0, size=[BIG, BIG])
    yield "Tile", bomb(node("Tile", ["flat", "times"], ["big"]), times=[1, 1 << 40])
    yield (
        "Resize by scales",
        bomb(node("Resize", ["image", "", "scales"], ["big"], mode="nearest"), scales=[1.0, 1.0, 65536.0, 65536.0]),
    )
    yield (
        "Resize to sizes",
        bomb(node("Resize", ["image", "", "", "sizes"], ["big"], mode="nearest"), sizes=[1, 1, BIG, BIG]),
    )
    yield "Range of integers", bomb(node("Range", ["a", "b", "c"], ["big"]), a=0, b=1 << 62, c=1)
    yield "Range of a tiny step", bomb(node("Range", ["a", "b", "c"], ["big"]), a=0.0, b=1.0, c=1e-30)
    yield "Range of no step", bomb(node("Range", ["a", "b", "c"], ["big"]), a=0, b=1, c=0)
    yield "Pad", bomb(node("Pad", ["image", "pads"], ["big"]), pads=[0, 0, 0, 0, 0, 0, BIG, BIG])
    yield (
        "Pad by negative and positive",
        bomb(node("Pad", ["image", "pads"], ["big"]), pads=[0, 0, -(1 << 40), 0, 0, 0, 1 << 40, 1 << 40]),
    )
    yield "OneHot", bomb(
        node("Shape", ["image"], ["shape"]), node("OneHot", ["shape", "depth", "pair"], ["big"]),
        depth=1 << 40, pair=[0.0, 1.0],
    )  # fmt: skip
    yield "CenterCropPad", bomb(node("CenterCropPad", ["image", "size"], ["big"], axes=[2, 3]), size=[BIG, BIG])
    yield (
        "EyeLike of a shape",
        bomb(node("ConstantOfShape", ["size"], ["zeros"]), node("EyeLike", ["zeros"], ["big"]), size=[BIG, BIG]),
    )
    yield "RandomNormal", bomb(node("RandomNormal", [], ["big"], shape=[BIG, BIG]))
    yield "HannWindow", bomb(node("HannWindow", ["size"], ["big"]), size=1 << 40)
    yield (
        "ConvTranspose by stride",
        bomb(node("ConvTranspose", ["image", "kernel"], ["big"], strides=[BIG, BIG]), kernel=[[[[1.0]]]]),
    )
    yield (
        "ConvTranspose by output shape",
        bomb(node("ConvTranspose", ["image", "kernel"], ["big"], output_shape=[BIG, BIG]), kernel=[[[[1.0]]]]),
    )
    yield (
        "Conv by pads",
        bomb(node("Conv", ["image", "kernel"], ["big"], pads=[BIG, BIG, BIG, BIG]), kernel=[[[[1.0]]]]),
    )
    yield "MaxPool by pads", bomb(node("MaxPool", ["image"], ["big"], kernel_shape=[BIG, BIG], pads=[BIG - 1] * 4))
    yield "AveragePool of a huge kernel", bomb(node("AveragePool", ["image"], ["big"], kernel_shape=[1 << 40, 1 << 40]))
    yield (
        "MaxUnpool",
        bomb(
            node("MaxPool", ["image"], ["pooled", "where"], kernel_shape=[2, 2]),
            node("MaxUnpool", ["pooled", "where", "size"], ["big"], kernel_shape=[2, 2]),
            size=[1, 1, BIG, BIG],
        ),
    )
    yield "Col2Im", bomb(node("Col2Im", ["image", "size", "block"], ["big"]), size=[BIG, BIG], block=[1, 1])
    yield (
        "AffineGrid",
        bomb(node("AffineGrid", ["theta", "size"], ["big"]), theta=[[[1.0, 0.0, 0.0]] * 2], size=[1, 1, BIG, BIG]),
    )
    yield "SpaceToDepth of a huge block", bomb(node("SpaceToDepth", ["image"], ["big"], blocksize=1 << 40))
    yield "Split into thousands of millions", bomb(node("Split", ["flat"], ["big"], axis=1, num_outputs=1 << 40))
    yield "TopK of a huge count", bomb(node("TopK", ["flat", "count"], ["big", "where"]), count=[1 << 40])
    yield "LRN of a huge size", bomb(node("LRN", ["image"], ["big"], size=(1 << 40) + 1))
    yield "Reshape to negative sizes", bomb(node("Reshape", ["flat", "size"], ["big"]), size=[-1, -1, -5])
    yield "Gather of an index out of range", bomb(node("Gather", ["flat", "where"], ["big"], axis=1), where=[1 << 40])
    yield (
        "Slice with a step of zero",
        bomb(node("Slice", ["flat", "a", "b", "axis", "step"], ["big"]), a=[0], b=[9], axis=[1], step=[0]),
    )


def grown() -> Iterator[tuple[str, Made]]:
    """No constant says the size: small steps multiply."""
    doublings = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=1) for i in range(40)]
    yield (
        "forty doublings by Concat",
        bomb(node("Identity", ["flat"], ["c0"]), *doublings, node("Identity", ["c40"], ["big"])),
    )
    adds = [node("Add", [f"a{i}", f"t{i}"], [f"a{i + 1}"]) for i in range(4)]
    columns = [node("Reshape", ["row", f"shape{i}"], [f"t{i}"]) for i in range(4)]
    yield "broadcasting over five axes", bomb(
        node("ConstantOfShape", ["thousand"], ["row"]), node("Identity", ["row"], ["a0"]), *columns, *adds,
        node("Identity", ["a4"], ["big"]),
        thousand=[1000], **{f"shape{i}": [1000] + [1] * (i + 1) for i in range(4)},
    )  # fmt: skip
    yield "outer product", bomb(
        node("Expand", ["one", "tall"], ["column"]), node("Expand", ["one", "wide"], ["row"]),
        node("MatMul", ["column", "row"], ["big"]), one=1.0, tall=[BIG, 1], wide=[1, BIG],
    )  # fmt: skip
    yield "Einsum of two vectors", bomb(
        node("Expand", ["one", "long"], ["v"]), node("Einsum", ["v", "v"], ["big"], equation="i,j->ij"),
        one=1.0, long=[BIG],
    )  # fmt: skip
    yield "Gather that repeats", bomb(
        node("ConstantOfShape", ["size"], ["zeros"], value=helper.make_tensor("v", TensorProto.INT64, [1], [0])),
        node("Gather", ["flat", "zeros"], ["wide"], axis=1), node("Unsqueeze", ["wide", "axis"], ["deep"]),
        node("Gather", ["deep", "zeros"], ["big"], axis=2), size=[BIG], axis=[2],
    )  # fmt: skip


def computed() -> Iterator[tuple[str, Made]]:
    """The graph computes the size when it runs."""
    fill = node("ConstantOfShape", ["size"], ["big"])
    yield "size by multiplication", bomb(node("Mul", ["a", "a"], ["size"]), fill, a=[BIG])
    yield "size by a power", bomb(node("Pow", ["a", "b"], ["size"]), fill, a=[1024], b=[4])
    yield "size by a shift", bomb(
        node("Cast", ["a"], ["u"], to=TensorProto.UINT64), node("Cast", ["b"], ["w"], to=TensorProto.UINT64),
        node("BitShift", ["u", "w"], ["s"], direction="LEFT"), node("Cast", ["s"], ["size"], to=TensorProto.INT64),
        fill, a=[1], b=[40],
    )  # fmt: skip
    yield "size by a product over a vector", bomb(
        node("ReduceProd", ["a"], ["s"], keepdims=0), node("Unsqueeze", ["s", "axis"], ["size"]), fill,
        a=[1024, 1024, 1024, 1024], axis=[0],
    )  # fmt: skip
    yield "size by Concat of parts", bomb(node("Concat", ["a", "a"], ["size"], axis=0), fill, a=[BIG])
    yield (
        "size by the shape of the image",
        bomb(node("Shape", ["image"], ["shape"]), node("Mul", ["shape", "a"], ["size"]), fill, a=[1, 1, BIG, BIG]),
    )
    yield "size by the pixels of the image", bomb(
        node("ReduceMax", ["image"], ["m"], keepdims=0), node("Mul", ["m", "zero"], ["z"]), node("Add", ["z", "many"], ["s"]),
        node("Cast", ["s"], ["n"], to=TensorProto.INT64), node("Unsqueeze", ["n", "axis"], ["size"]), fill,
        zero=0.0, many=1e12, axis=[0],
    )  # fmt: skip
    yield "size by counting what is not zero", bomb(
        node("NonZero", ["ones"], ["where"]), node("Shape", ["where"], ["s"]), node("Mul", ["s", "a"], ["size"]), fill,
        ones=[1, 1, 1], a=[BIG, BIG],
    )  # fmt: skip
    yield (
        "Expand to a computed size",
        bomb(node("Mul", ["a", "a"], ["size"]), node("Expand", ["one", "size"], ["big"]), one=1.0, a=[BIG]),
    )
    yield (
        "Tile by a computed count",
        bomb(node("Mul", ["a", "a"], ["size"]), node("Tile", ["row", "size"], ["big"]), row=[1.0, 2.0], a=[BIG]),
    )
    yield (
        "Pad by a computed width",
        bomb(
            node("Mul", ["a", "a"], ["pads"]), node("Pad", ["image", "pads"], ["big"]), a=[0, 0, 0, 0, 0, 0, BIG, BIG]
        ),
    )
    yield (
        "Range to a computed end",
        bomb(node("Mul", ["b", "b"], ["end"]), node("Range", ["a", "end", "c"], ["big"]), a=0, b=BIG, c=1),
    )
    yield "Resize to computed sizes", bomb(
        node("Mul", ["a", "a"], ["sizes"]), node("Resize", ["image", "", "", "sizes"], ["big"], mode="nearest"),
        a=[1, 1, 1 << 12, 1 << 12],
    )  # fmt: skip
    yield "size from an If", bomb(node("If", ["yes"], ["size"], **_branches()), fill, yes=1)
    yield "size from a Loop", lambda: _looped(1 << 40)


def _branches() -> dict[str, onnx.GraphProto]:
    value = helper.make_tensor_value_info("inner", TensorProto.INT64, [1])
    made = node("Constant", [], ["inner"], value_ints=[1 << 40])
    return {
        "then_branch": helper.make_graph([made], "then", [], [value]),
        "else_branch": helper.make_graph([made], "else", [], [value]),
    }


def _looped(times: int) -> onnx.ModelProto:
    """A loop that doubles a tensor in every round."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Concat", ["x", "x"], ["y"], axis=0)],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a"]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b"]),
        ],
    )
    loop = node("Loop", ["times", "", "start"], ["big"], body=body)
    stored = [constant("times", times), constant("start", [1.0], "float32")]
    return classifier([loop], stored, result="big")


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
    yield "code", "__import__('os').system('touch /tmp/audit-hostile-canary')"
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
    for what, make in (*stated(), *grown(), *computed()):
        yield Trick(what, SIZES, saved(make))
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
    yield Trick("the classifier itself", "control", saved(classifier), OPEN)
    control = bomb(node("ConstantOfShape", ["size"], ["big"]), size=[8, 8])
    yield Trick("a small ConstantOfShape", "control", saved(control), OPEN)


HARMLESS = ("a constant twice",)
"""what readers agree on: twice the same"""

TRICKS = list(tricks())
WATCH: dict[str, object] = {}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    canary = Path("/tmp/audit-hostile-canary")
    return open_tricks(TRICKS, tmp_path_factory.mktemp("bombs"), [canary])


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_a_graph_gets_no_more_than_its_limits(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
