"""Otsu's threshold: values parted into two groups."""

from __future__ import annotations

import torch
from torch import Tensor


def otsu(values: Tensor, bins: int = 64) -> float:
    """Otsu's threshold (1979): the cut of a histogram of ``bins`` that parts it into two groups of least spread.

    The largest value where all are equal, so that none lies above it.
    """
    flat = values.detach().flatten().float().cpu()
    low, high = float(flat.min()), float(flat.max())
    if high <= low:
        return high
    counts = torch.histc(flat, bins, low, high)
    width = (high - low) / bins
    centres = low + width * (torch.arange(bins) + 0.5)
    below = counts.cumsum(0)[:-1]
    above = counts.sum() - below
    sums = (counts * centres).cumsum(0)
    first, second = sums[:-1] / below.clamp_min(1), (sums[-1] - sums[:-1]) / above.clamp_min(1)
    between = below * above * (first - second) ** 2
    best = (between >= between.max() * (1 - 1e-6)).nonzero().flatten()  # a gap of empty bins ties: its middle
    return low + width * float(best.float().mean() + 1)
