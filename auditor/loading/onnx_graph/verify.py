"""Compare a converted network with what an ONNX runtime computes from the file itself."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from auditor.errors import ModelFileError
from auditor.loading.onnx_graph.convert import convert
from auditor.loading.onnx_graph.prepare import prepare
from auditor.loading.onnx_graph.runtime import runtime_outputs
from auditor.loading.onnx_graph.stepwise import compared_steps, is_quantised

TOLERANCE = 1e-3
"""Largest difference, relative to the largest score of the runtime, that is put down to rounding."""

VANISHING = 1e-3
"""Scores all below this are probabilities of nothing, which are rounded by more: pixels of [0, 1] are tried as well."""


def runtime_scores(model: onnx.ModelProto, images: Tensor) -> Tensor:
    """Scores of the runtime as float32: onnxruntime when it is installed, else onnx's reference evaluator.

    A quantised model is computed as the file lists it, because onnxruntime's optimisations round it differently.
    Raises ModelFileError when the runtime cannot run the model.
    """
    scores = runtime_outputs(model, images, optimised=not is_quantised(model))[0]
    return torch.from_numpy(np.array(scores, dtype=np.float32))


def verify(module: nn.Module, model: onnx.ModelProto, images: Tensor) -> str | None:
    """Check ``module`` against the runtime on ``images``; returns a note when there is something to say.

    Raises ModelFileError when the scores differ by more than TOLERANCE: an audit of another function would be worth
    nothing. The scores of a quantised network may differ by more, when every operation agrees by itself and the
    module computes exactly what those operations do together (see ``stepwise``).
    """
    ours, theirs = _both(module, model, images)
    difference = relative_difference(ours, theirs)
    if difference > TOLERANCE and float(theirs.abs().max()) < VANISHING:
        calm = _both(module, model, images.sigmoid())
        difference = relative_difference(torch.cat([ours, calm[0]]), torch.cat([theirs, calm[1]]))
    if difference <= TOLERANCE:
        return None
    if not is_quantised(model):
        raise ModelFileError(
            f"expected the converted network to agree with the ONNX runtime within {TOLERANCE:g}, got a relative "
            f"difference of {difference:.2g}; export the model again, or audit its state dict"
        )
    _verify_steps(ours, model, images)
    return (
        "quantised: every operation agrees with the ONNX runtime by itself; values between two steps may be rounded "
        f"either way, which adds up to a relative difference of {difference:.2g} in the scores"
    )


def _both(module: nn.Module, model: onnx.ModelProto, images: Tensor) -> tuple[Tensor, Tensor]:
    """The module's scores, and the runtime's."""
    with torch.no_grad():
        ours = module(images)
    return ours, runtime_scores(model, images).reshape(ours.shape[0], -1)


def _verify_steps(ours: Tensor, model: onnx.ModelProto, images: Tensor) -> None:
    prepared, _ = prepare(model)
    graph = convert(prepared)
    with torch.no_grad():
        together = graph(images)
    drift = relative_difference(ours, together.reshape(ours.shape))
    if drift > TOLERANCE:
        raise ModelFileError(
            f"expected the quantised network to compute the same at any batch size, got a relative difference of "
            f"{drift:.2g}; export the network with a dynamic batch, or before it was quantised"
        )
    batch = prepared.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    few = images[: batch or 1]  # all values of the network are held at once
    wrong = [step for step in compared_steps(graph, prepared, few) if not step.agrees]
    if wrong:
        first = wrong[0]
        unit = "steps" if first.quantised else "of the largest value"
        raise ModelFileError(
            "expected every quantised operation to agree with the ONNX runtime within one step at few values, got "
            f"{first.operation} with a difference of {first.difference:.2g} {unit} at {first.share:.2%} of them, and "
            f"{len(wrong) - 1} more; audit the network from before it was quantised"
        )


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``theirs``; infinite when shapes
    differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = max(float(theirs.abs().max()), 1e-6)
    difference = float((ours - theirs).abs().max()) / scale
    return difference if difference == difference else float("inf")
