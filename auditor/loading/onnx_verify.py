"""Compare a converted network with what an ONNX runtime computes from the file itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
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
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            scores = session.run(None, feed)[0]
    except Exception as error:  # each runtime has its own exception types
        raise ModelFileError(
            "expected a model that an ONNX runtime can run, got "
            f"{quoted(f'{type(error).__name__}: {error}', 200)}; "
            "export the model again"
        ) from error
    return torch.from_numpy(np.array(scores, dtype=np.float32))


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
