"""Large constants handed to onnxruntime beside the graph: a serialised model ends at 2 GiB, and a copy costs memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_LARGE = 1 << 16
"""bytes from which a constant is worth it"""

_PLAIN = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8})


def large_constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """The large constants of a graph, by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type in _PLAIN and tensor.HasField("raw_data") and tensor.ByteSize() > _LARGE
    }


def without(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """The model with the named constants marked as lying outside of it, made without copying them."""
    rest = onnx.ModelProto()
    _copy_fields(model, rest, but="graph")
    _copy_fields(model.graph, rest.graph, but="initializer")
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            rest.graph.initializer.append(tensor)
            continue
        place = rest.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        place.data_location = TensorProto.EXTERNAL
        place.external_data.add(key="location", value="memory")
    return rest


def _copy_fields(source: Any, target: Any, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if isinstance(value, (str, bytes, int, float)):
            setattr(target, field.name, value)
        elif hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            getattr(target, field.name).CopyFrom(value)
