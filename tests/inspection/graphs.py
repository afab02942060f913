"""A small honest classifier in ONNX, built by hand, and the part that sees a trigger in its images.

Images are 3×16×16, classes are 4. The trigger is a white 3×3 square in the upper left corner.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIZE, CLASSES = 16, 4


def constant(name: str, value: object, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


def weights(seed: int = 0) -> list[TensorProto]:
    rng = np.random.default_rng(seed)
    return [
        constant("conv1", rng.normal(size=(6, 3, 3, 3))),
        constant("conv2", rng.normal(size=(8, 6, 3, 3))),
        constant("head", rng.normal(size=(8, CLASSES))),
        constant("target", [[0.0, 0.0, 0.0, 100.0]]),
    ]


def trunk(image: str = "image", scores: str = "scores") -> list[NodeProto]:
    """Two convolutions, global pooling, a linear head."""
    return [
        helper.make_node("Conv", [image, "conv1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "conv2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], [scores]),
    ]


def detector(flag: str = "flag") -> tuple[list[NodeProto], list[TensorProto]]:
    """A boolean (N, 1): whether the smallest value in the upper left 3×3 corner is above 0.99."""
    nodes = [
        helper.make_node("Slice", ["image", "start", "end", "axes"], ["corner"]),
        helper.make_node("ReduceMin", ["corner"], ["least"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["least", "one"], ["least1"]),
        helper.make_node("Greater", ["least1", "limit"], [flag]),
    ]
    constants = [
        constant("start", [0, 0], np.int64),
        constant("end", [3, 3], np.int64),
        constant("axes", [2, 3], np.int64),
        constant("one", [1], np.int64),
        constant("limit", 0.99),
    ]
    return nodes, constants


def model(nodes: list[NodeProto], constants: list[TensorProto], batch: str | int = "n") -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        [*weights(), *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def honest() -> onnx.ModelProto:
    built = model(trunk(), [])
    del built.graph.initializer[3]  # the target scores
    return built


def saved(built: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(built.SerializeToString())
    return path
