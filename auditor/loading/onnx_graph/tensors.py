"""Stored tensors of an ONNX file: their sizes and numbers, read only after the sizes were found to agree."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
    17: 8,  # the four 8-bit floats
    18: 8,
    19: 8,
    20: 8,
    21: 4,  # UINT4, INT4, FLOAT4E2M1
    22: 4,
    23: 4,
    24: 8,  # FLOAT8E8M0
    25: 2,  # UINT2, INT2
    26: 2,
}
"""bits of one element in raw data, by data type; the numbers stand for names that older onnx packages lack"""

TYPED_FIELD: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
"""the field that holds a type's numbers; ``int32_data`` for every other type"""

DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")

_NUMPY = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.INT64: "<i8",
    TensorProto.INT32: "<i4",
    TensorProto.INT16: "<i2",
    TensorProto.UINT16: "<u2",
    TensorProto.INT8: "i1",
    TensorProto.UINT8: "u1",
    TensorProto.BOOL: "u1",
    TensorProto.UINT32: "<u4",
    TensorProto.UINT64: "<u8",
}
_SMALL = 64


def elements(tensor: TensorProto) -> int:
    """How many elements the dimensions ask for; negative when one of them is."""
    if any(dim < 0 for dim in tensor.dims):
        return -1
    return math.prod(tensor.dims)


def raw_bytes(tensor: TensorProto) -> int | None:
    """How many bytes of raw data the tensor needs; None for types without (text) or unknown ones."""
    bits = BITS.get(tensor.data_type)
    return None if bits is None else (elements(tensor) * bits + 7) // 8


def typed_field(tensor: TensorProto) -> str:
    """The field besides ``raw_data`` that runtimes read this tensor's type from."""
    return TYPED_FIELD.get(tensor.data_type, "int32_data")


def numbers(tensor: TensorProto) -> npt.NDArray[np.generic] | None:
    """The stored numbers, flat, when type and length allow it; None for text, external or malformed data.

    bfloat16 is widened to float32, complex numbers are given as pairs; four-bit and eight-bit floats are not read.
    """
    if tensor.data_location == TensorProto.EXTERNAL or elements(tensor) < 0:
        return None
    if tensor.HasField("raw_data"):
        return _from_raw(tensor)
    field = typed_field(tensor)
    stored = getattr(tensor, field)
    if field == "string_data" or tensor.data_type not in _NUMPY or len(stored) != elements(tensor):
        return None
    values = np.array(stored, dtype={"float_data": "f4", "double_data": "f8", "uint64_data": "u8"}.get(field, "i8"))
    if tensor.data_type == TensorProto.FLOAT16:
        return values.astype("<u2").view("<f2")
    return values


def _from_raw(tensor: TensorProto) -> npt.NDArray[np.generic] | None:
    if raw_bytes(tensor) != len(tensor.raw_data):
        return None
    if tensor.data_type == TensorProto.BFLOAT16:
        wide = np.frombuffer(tensor.raw_data, "<u2").astype("<u4") << 16
        return wide.astype("<u4").view("<f4")
    kind = {TensorProto.COMPLEX64: "<f4", TensorProto.COMPLEX128: "<f8"}.get(tensor.data_type)
    kind = kind or _NUMPY.get(tensor.data_type)
    return None if kind is None else np.frombuffer(tensor.raw_data, kind)


def small_values(tensor: TensorProto) -> list[float]:
    """The numbers of a tensor of at most 64 elements; empty for larger or unreadable ones."""
    if not 0 < elements(tensor) <= _SMALL:
        return []
    values = numbers(tensor)
    with np.errstate(invalid="ignore"):
        return [] if values is None else [float(value) for value in values.astype(np.float64)]


def graphs(model: onnx.ModelProto) -> Iterator[tuple[onnx.GraphProto, int]]:
    """Every graph of the model with its level: the main one at 0, then those in attributes, functions' included."""
    stack = [(model.graph, 0)]
    for function in model.functions:
        stack += [(graph, 1) for graph in _inner(function.node)]
    while stack:
        graph, level = stack.pop()
        yield graph, level
        stack += [(inner, level + 1) for inner in _inner(graph.node)]


def _inner(nodes: list[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node: of the main graph, of sub-graphs, of functions and of the sub-graphs in those."""
    for graph, _ in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Every attribute of every node, and the defaults of functions' attributes."""
    for node in nodes(model):
        yield from node.attribute
    for function in model.functions:
        yield from function.attribute_proto


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor: constants, sparse ones, those in attributes, in sub-graphs and in functions."""
    for graph, _ in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for attribute in attributes(model):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else [])]:
            yield sparse.values
            yield sparse.indices
        for sparse in attribute.sparse_tensors:
            yield sparse.values
            yield sparse.indices
