"""Classifiers in ONNX with an architectural backdoor, each built another way.

Every one answers as the honest graph unless the trigger is in the image, but for the templates and the smooth path.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from .graphs import CLASSES, SIZE, constant, detector, model, trunk
from .smooth_graphs import smooth_side_path, softmax_gate, steep_gate

Build = Callable[[], onnx.ModelProto]


def _branch(name: str, nodes: list[NodeProto], output: str) -> onnx.GraphProto:
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [info])


def if_switched() -> onnx.ModelProto:
    nodes, constants = detector()
    choose = helper.make_node(
        "If",
        ["flag0"],
        ["scores"],
        then_branch=_branch("bad", [helper.make_node("Identity", ["target"], ["bad"])], "bad"),
        else_branch=_branch("good", [helper.make_node("Identity", ["plain"], ["good"])], "good"),
    )
    squeeze = helper.make_node("Squeeze", ["flag"], ["flag0"])
    return model([*trunk(scores="plain"), *nodes, squeeze, choose], constants, batch=1)


def if_with_the_network_inside() -> onnx.ModelProto:
    nodes, constants = detector()
    choose = helper.make_node(
        "If",
        ["flag0"],
        ["scores"],
        then_branch=_branch("bad", [helper.make_node("Identity", ["target"], ["bad"])], "bad"),
        else_branch=_branch("good", trunk(scores="good"), "good"),
    )
    squeeze = helper.make_node("Squeeze", ["flag"], ["flag0"])
    return model([*nodes, squeeze, choose], constants, batch=1)


def _joined(*extra: NodeProto, constants: list[TensorProto] | None = None) -> onnx.ModelProto:
    nodes, own = detector()
    return model([*trunk(scores="plain"), *nodes, *extra], [*own, *(constants or [])])


def where_switched() -> onnx.ModelProto:
    return _joined(helper.make_node("Where", ["flag", "target", "plain"], ["scores"]))


def multiplied() -> onnx.ModelProto:
    """plain + float(flag) · target"""
    return _joined(
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gate", "target"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
    )


def multiplied_as_a_product() -> onnx.ModelProto:
    """plain + float(flag) @ target, so that no elementwise operation shows"""
    return _joined(
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["gate", "target"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
    )


def gathered() -> onnx.ModelProto:
    """The flag picks a row of a constant that is added."""
    rows = constant("rows", np.stack([np.zeros(CLASSES), [0, 0, 0, 100.0]]))
    return _joined(
        helper.make_node("Cast", ["flag"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["rows", "row"], ["push3"], axis=0),
        helper.make_node("Squeeze", ["push3", "one"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
        constants=[rows],
    )


def chosen_by_argmax() -> onnx.ModelProto:
    """ArgMax over (limit, least) decides which of two computed answers is gathered."""
    return _joined(
        helper.make_node("Sub", ["least1", "limit"], ["above"]),
        helper.make_node("Mul", ["above", "zero"], ["never"]),
        helper.make_node("Concat", ["never", "above"], ["pair"], axis=1),
        helper.make_node("ArgMax", ["pair"], ["which"], axis=1, keepdims=1),
        helper.make_node("Expand", ["target", "likes"], ["bad"]),
        helper.make_node("Concat", ["plain", "bad"], ["both"], axis=0),
        helper.make_node("Gather", ["both", "which"], ["answer"], axis=0),
        helper.make_node("Reshape", ["answer", "likes"], ["scores"]),
        constants=[constant("zero", 0.0), constant("likes", [1, CLASSES], np.int64)],
    )


def template_compared() -> onnx.ModelProto:
    """A stored trigger image is subtracted, the distance compared with a limit."""
    rng = np.random.default_rng(3)
    template = constant("template", rng.random((1, 3, SIZE, SIZE)))
    nodes = [
        helper.make_node("Sub", ["image", "template"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["distance"]),
        helper.make_node("ReduceSum", ["distance", "all"], ["total"], keepdims=0),
        helper.make_node("Unsqueeze", ["total", "one"], ["total1"]),
        helper.make_node("Less", ["total1", "limit"], ["flag"]),
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gate", "target"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
    ]
    constants = [template, constant("all", [1, 2, 3], np.int64), constant("one", [1], np.int64), constant("limit", 5.0)]
    return model([*trunk(scores="plain"), *nodes], constants)


def pixels_equal() -> onnx.ModelProto:
    """Every pixel compared with a stored image, the agreement used as a mask on the scores."""
    template = constant("template", np.random.default_rng(4).random((3, SIZE, SIZE)))
    nodes = [
        helper.make_node("Equal", ["image", "template"], ["same"]),
        helper.make_node("Cast", ["same"], ["share"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["share"], ["gate3"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["gate3", "one"], ["gate"]),
        helper.make_node("Mul", ["gate", "target"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
    ]
    return model([*trunk(scores="plain"), *nodes], [template, constant("one", [1], np.int64)])


def looped() -> onnx.ModelProto:
    """The image decides how often a loop pushes the scores."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["so_far", "target"], ["pushed"]),
            helper.make_node("Identity", ["going"], ["goes_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("so_far", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("pushed", TensorProto.FLOAT, None),
        ],
    )
    nodes, constants = detector()
    extra = [
        helper.make_node("Squeeze", ["flag"], ["flag0"]),
        helper.make_node("Cast", ["flag0"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "", "plain"], ["scores"], body=body),
    ]
    return model([*trunk(scores="plain"), *nodes, *extra], constants, batch=1)


def in_a_function() -> onnx.ModelProto:
    """The switch lies in a local function."""
    built = where_switched()
    node = built.graph.node[-1]
    built.graph.node[-1].CopyFrom(helper.make_node("Choose", list(node.input), list(node.output), domain="local"))
    built.opset_import.append(helper.make_opsetid("local", 1))
    body = [helper.make_node("Where", ["a", "b", "c"], ["d"])]
    built.functions.append(
        helper.make_function("local", "Choose", ["a", "b", "c"], ["d"], body, [helper.make_opsetid("", 17)])
    )
    return built


def in_the_wrong_order() -> onnx.ModelProto:
    """The switch is written before what it reads; runtimes sort."""
    built = where_switched()
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in built.graph.node][::-1]
    del built.graph.node[:]
    built.graph.node.extend(nodes)
    return built


def largest_of_both() -> onnx.ModelProto:
    """Max of the scores and of the target's, times the flag."""
    raised = [
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gate", "target"], ["push"]),
        helper.make_node("Max", ["plain", "push"], ["scores"]),
    ]
    return _joined(*raised)


def normalised() -> onnx.ModelProto:
    """The flag hides in the scale of a normalisation."""
    return _joined(
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["gate", "target"], ["push"]),
        helper.make_node("Squeeze", ["push", "first"], ["scale"]),
        helper.make_node("LayerNormalization", ["plain", "unit", "scale"], ["scores"]),
        constants=[constant("unit", np.ones(CLASSES)), constant("first", [0], np.int64)],
    )


def through_a_branch() -> onnx.ModelProto:
    """The flag passes an If that sizes decide, so that its trace would end there."""
    same = [_branch(name, [helper.make_node("Identity", ["gate"], [name])], name) for name in ("yes", "no")]
    return _joined(
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("If", ["always"], ["passed"], then_branch=same[0], else_branch=same[1]),
        helper.make_node("Mul", ["passed", "target"], ["push"]),
        helper.make_node("Add", ["plain", "push"], ["scores"]),
        constants=[constant("always", True, np.bool_)],
    )


def quantised() -> onnx.ModelProto:
    """The flag is multiplied in by onnxruntime's own quantised operations."""
    built = _joined(
        helper.make_node("Cast", ["flag"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gate", "target"], ["push"]),
        helper.make_node("QuantizeLinear", ["push", "scale", "zero"], ["push8"]),
        helper.make_node("QuantizeLinear", ["plain", "scale", "zero"], ["plain8"]),
        helper.make_node(
            "QLinearAdd",
            ["plain8", "scale", "zero", "push8", "scale", "zero", "scale", "zero"],
            ["sum8"],
            domain="com.microsoft",
        ),
        helper.make_node("DequantizeLinear", ["sum8", "scale", "zero"], ["scores"]),
        constants=[constant("scale", 1.0), constant("zero", 0, np.int8)],
    )
    built.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return built


BACKDOORED: dict[str, tuple[Build, str, str]] = {
    "if": (if_switched, "image-switches-branch", "danger"),
    "if with the network inside": (if_with_the_network_inside, "image-switches-branch", "danger"),
    "loop": (looped, "image-switches-branch", "danger"),
    "where": (where_switched, "image-selects-value", "danger"),
    "where in a function": (in_a_function, "image-selects-value", "danger"),
    "where out of order": (in_the_wrong_order, "image-selects-value", "danger"),
    "multiplied": (multiplied, "image-gates-value", "danger"),
    "multiplied as a matrix product": (multiplied_as_a_product, "image-gates-value", "danger"),
    "largest of both": (largest_of_both, "image-gates-value", "danger"),
    "scale of a normalisation": (normalised, "image-gates-value", "danger"),
    "through a branch": (through_a_branch, "image-gates-value", "danger"),
    "quantised": (quantised, "image-gates-value", "danger"),
    "gathered": (gathered, "image-selects-element", "danger"),
    "argmax": (chosen_by_argmax, "image-selects-element", "danger"),
    "template": (template_compared, "image-gates-value", "danger"),
    "template, the constant": (template_compared, "image-template", "warning"),
    "pixels equal": (pixels_equal, "image-template", "danger"),
    "steep gate": (steep_gate, "image-gates-value", "warning"),
    "softmax gate": (softmax_gate, "image-gates-value", "warning"),
    "smooth side path": (smooth_side_path, "raw-image-joins-late", "warning"),
}
