"""ONNX operations that make more of a few bytes than anybody has memory for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import pytest
from onnx import TensorProto, helper

from .graphs import classifier, constant, saved
from .trick import OPEN, Opened, Trick, names, open_tricks

SIZES = "CWE-789: memory allocated by a size from the file"

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
        node("ReduceMax", ["image"], ["m"], keepdims=0), node("Mul", ["m", "zero"], ["z"]),
        node("Add", ["z", "many"], ["s"]),
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


def tricks() -> Iterator[Trick]:
    for what, make in (*stated(), *grown(), *computed()):
        yield Trick(what, SIZES, saved(make))
    yield Trick("the classifier itself", "control", saved(classifier), OPEN)
    control = bomb(node("ConstantOfShape", ["size"], ["big"]), size=[8, 8])
    yield Trick("a small ConstantOfShape", "control", saved(control), OPEN)


TRICKS = list(tricks())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_tricks(TRICKS, tmp_path_factory.mktemp("bombs"))


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_a_tensor_gets_no_larger_than_its_limit(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
