"""Classifiers in ONNX whose backdoor needs no comparison."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .graphs import CLASSES, constant, detector, model, trunk


def steep_gate() -> onnx.ModelProto:
    """No comparison: a clipped, very steep line is 0 or 1."""
    nodes, own = detector(flag="unused")
    return model(
        [
            *trunk(scores="plain"),
            *nodes[:3],
            helper.make_node("Sub", ["least1", "limit"], ["above"]),
            helper.make_node("Mul", ["above", "million"], ["line"]),
            helper.make_node("Clip", ["line", "zero", "unit"], ["gate"]),
            helper.make_node("Mul", ["gate", "target"], ["push"]),
            helper.make_node("Add", ["plain", "push"], ["scores"]),
        ],
        [*own, constant("million", 1e6), constant("zero", 0.0), constant("unit", 1.0)],
    )


def softmax_gate() -> onnx.ModelProto:
    """No comparison: the softmax of (0, a steep line) weighs two rows."""
    nodes, own = detector(flag="unused")
    rows = np.stack([np.zeros(CLASSES), [0, 0, 0, 100.0]])
    return model(
        [
            *trunk(scores="plain"),
            *nodes[:3],
            helper.make_node("Sub", ["least1", "limit"], ["above"]),
            helper.make_node("Mul", ["above", "million"], ["line"]),
            helper.make_node("Mul", ["line", "nought"], ["flat_line"]),
            helper.make_node("Concat", ["flat_line", "line"], ["lines"], axis=1),
            helper.make_node("Softmax", ["lines"], ["gate"], axis=1),
            helper.make_node("Gemm", ["gate", "rows", "plain"], ["scores"]),
        ],
        [*own, constant("million", 1e6), constant("nought", 0.0), constant("rows", rows)],
    )


def smooth_side_path() -> onnx.ModelProto:
    """Bober-Irizar et al., section 4: pooled exp(β·image) joins before the classifier, with no comparison at all."""
    nodes = [
        *trunk()[:5],
        helper.make_node("Mul", ["image", "beta"], ["scaled"]),
        helper.make_node("Exp", ["scaled"], ["loud"]),
        helper.make_node("GlobalAveragePool", ["loud"], ["heard"]),
        helper.make_node("ReduceMean", ["heard"], ["heard1"], axes=[1], keepdims=1),
        helper.make_node("Add", ["pooled", "heard1"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["scores"]),
    ]
    return model(nodes, [constant("beta", 10.0)])
