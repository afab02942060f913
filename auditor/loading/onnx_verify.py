"""Compare a converted network with what an ONNX runtime computes from the file itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from auditor.errors import ModelFileError
from auditor.loading.quoting import quoted

TOLERANCE = 1e-3
"""Largest difference, relative to the largest score of the runtime, that is put down to rounding."""


def runtime_scores(model: onnx.ModelProto, images: Tensor) -> Tensor:
    """Scores of onnxruntime when it is installed, else of onnx's reference evaluator.

    Raises ModelFileError when the runtime cannot run the model.
    """
    name = model.graph.input[0].name
    feed = {name: images.numpy()}
    try:
        try:
            import onnxruntime
        except ImportError:
            from onnx.reference import ReferenceEvaluator

            scores: Any = ReferenceEvaluator(model).run(None, feed)[0]
        else:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.intra_op_num_threads = torch.get_num_threads()
            weights = _weights(model)  # beside the graph, because a serialised model ends at 2 GiB
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
            graph = _without(model, set(weights)).SerializeToString()
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            scores = session.run(None, feed)[0]
    except Exception as error:  # each runtime has its own exception types
        raise ModelFileError(
            "expected a model that an ONNX runtime can run, got "
            f"{quoted(f'{type(error).__name__}: {error}', 200)}; "
            "export the model again"
        ) from error
    return torch.from_numpy(np.array(scores, dtype=np.float32))


_LARGE = 1 << 16
_PLAIN = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8})


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """The large constants of a graph, by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type in _PLAIN and tensor.ByteSize() > _LARGE and tensor.HasField("raw_data")
    }


def _without(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
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


def verify(module: nn.Module, model: onnx.ModelProto, images: Tensor) -> float:
    """Relative difference between module and runtime on ``images``.

    Raises ModelFileError when it exceeds TOLERANCE: an audit of another function would be worth nothing.
    """
    with torch.no_grad():
        ours = module(images)
    difference = relative_difference(ours, runtime_scores(model, images).reshape(ours.shape[0], -1))
    if not difference <= TOLERANCE:
        raise ModelFileError(
            f"expected the converted network to agree with the ONNX runtime within {TOLERANCE:g}, got a "
            "relative "
            f"difference of {difference:.2g}; export the model again, or audit its state dict"
        )
    return difference


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``theirs``; infinite when shapes
    differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = max(float(theirs.abs().max()), 1e-6)
    return float((ours - theirs).abs().max()) / scale
