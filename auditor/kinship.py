"""Kinship: whether suspect and reference come of one training, which the report tells.

A copy that was trained on for a while still points where its parent's weights point, as two copies of one parent do;
networks of different seeds have nothing in common there.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor
from torch.nn import functional

from auditor.classifier import Classifier

FEWEST = 64
"""numbers in a weight below which its direction says nothing"""


def kinship(suspect: Classifier, reference: Classifier) -> float:
    """Mean cosine between the weights of two networks, in [0, 1]; 0.0 where they share no shapes.

    Each weight of the reference is set beside the suspect's of the same shape that is nearest, row by row: batch norm
    that was folded into a convolution scales its rows, and the order of weights depends on the file. Weights count by
    their numbers, those without a counterpart with 0.
    """
    theirs: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
    for weight in suspect.weights():
        theirs[tuple(weight.shape)].append(weight)  # type: ignore[index]
    shared, total = 0.0, 0
    for weight in reference.weights():
        if weight.numel() < FEWEST:
            continue
        total += weight.numel()
        same, turned = theirs[tuple(weight.shape)], theirs[tuple(weight.T.shape)]  # type: ignore[index]
        cosines = [_alike(weight, other) for other in (*same, *(other.T for other in turned))]
        shared += weight.numel() * max(cosines, default=0.0)
    return min(1.0, max(0.0, shared / total)) if total else 0.0


def have_same_weights(suspect: Classifier, reference: Classifier) -> bool:
    """Whether every weight is the other's but for rounding, in the same order; biases and norms are not compared."""
    ours, theirs = suspect.weights(), reference.weights()
    if not ours or [weight.shape for weight in ours] != [weight.shape for weight in theirs]:
        return False
    return all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
        for one, other in zip(ours, theirs, strict=True)
    )


def _alike(one: Tensor, other: Tensor) -> float:
    """Mean cosine of the rows of two matrices."""
    cosines = functional.cosine_similarity(one, other, dim=1)
    return float(torch.nan_to_num(cosines).mean())
