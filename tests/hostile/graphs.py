"""A small ONNX classifier, and ways to hide something in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Nodes = Sequence[onnx.NodeProto]
Constants = Sequence[onnx.TensorProto]


def constant(name: str, values: object, kind: str = "int64") -> onnx.TensorProto:
    """A stored tensor."""
    return numpy_helper.from_array(np.array(values, dtype=kind), name)


def classifier(
    nodes: Nodes = (),
    constants: Constants = (),
    *,
    result: str | None = None,
    image: Sequence[int | str] = ("n", 1, 4, 4),
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Iterable[str] = (),
    opset: int = 18,
) -> onnx.ModelProto:
    """(N, 1, 4, 4) → (N, 3) by one matrix, plus the smallest value of the tensor ``result``, so that it is computed."""
    weight = constant("weight", np.arange(48).reshape(16, 3) / 48, "float32")
    body = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["plain" if result else "scores"]),
        *nodes,
    ]
    if result:
        body += [
            helper.make_node("Cast", [result], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["as_float"], ["smallest"], keepdims=0),
            helper.make_node("Add", ["plain", "smallest"], ["scores"]),
        ]
    graph = helper.make_graph(
        body,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [weight, *constants],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, functions=functions)


def saved(make: Callable[[], onnx.ModelProto]) -> Callable[[Path], Path]:
    """A builder that writes the model."""

    def build(folder: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(make().SerializeToString())
        return path

    return build


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A protobuf varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
