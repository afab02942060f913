"""Reuse the graph of an ONNX suspect for a reference that came as bare weights of the same names and
shapes."""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper
from torch import Tensor

from auditor.loading.network import LoadedNetwork

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def with_weights(template: LoadedNetwork, state: dict[str, Tensor]) -> onnx.ModelProto | None:
    """The template's ONNX model with the state dict's weights in it, or ``None`` when they do not fit.

    They fit when every float constant of two or more axes, and every one named like a parameter, is in the
    state dict with the same shape, and the state dict has no weights beside them.
    """
    original = template.onnx_model
    if not isinstance(original, onnx.ModelProto):
        return None
    constants = {tensor.name: tensor for tensor in original.graph.initializer if tensor.data_type in _FLOATS}
    for name, tensor in constants.items():
        parameter = "." in name or len(tensor.dims) >= 2
        if parameter and (name not in state or tuple(state[name].shape) != tuple(tensor.dims)):
            return None
    weights = {name for name, tensor in state.items() if tensor.is_floating_point()}
    if not weights or not weights <= set(constants):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(original)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].numpy(), name=tensor.name))
    return model
