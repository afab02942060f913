"""Structural similarity of maps: "Image Quality Assessment" (Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
"""side and standard deviation of the Gaussian window, in pixels (Section III-C)"""
K1, K2 = 0.01, 0.03


def ssim(first: Tensor, second: Tensor, data_range: float = 1.0) -> Tensor:
    """Mean SSIM (Eq. 13, 17) of two batches of maps (N, C, H, W): (N,) in [−1, 1], 1 for equal maps.

    ``data_range`` is L, largest possible value less smallest; means are over places and channels. Borders: only places
    whose whole window lies in the map count, as in the authors' own code, so (H − 10)·(W − 10) of them. Along a side of
    less than 11 places the window is the largest odd number of places that fits, with the same standard deviation;
    along a side of 2 it is 2, since a single place has no structure.
    """
    if first.ndim != 4 or first.shape != second.shape:
        raise ValueError(f"expected two batches of maps (N, C, H, W), got {first.shape} and {second.shape}")
    x, y = first.float(), second.float()
    centre_x, centre_y = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
    x, y = x - centre_x, y - centre_y  # second moments of values far from 0 would drown in rounding
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) - mean_x**2 + _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + centre_x, mean_y + centre_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean((1, 2, 3))


def gaussian(size: int, sigma: float) -> Tensor:
    """``size`` samples of a centred Gaussian of standard deviation ``sigma`` (in samples) that sum to 1."""
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return weights / weights.sum()


def _window(side: int) -> int:
    fits = min(WINDOW, side)
    return fits if fits % 2 or fits == 2 else fits - 1


def _windowed(maps: Tensor) -> Tensor:
    """Gaussian-weighted local means."""
    planes = maps.flatten(0, 1).unsqueeze(0)  # one group a plane: by far the fastest of torch's ways on processors
    count, height, width = planes.shape[1:]
    down = gaussian(_window(height), SIGMA).to(maps).view(1, 1, -1, 1).expand(count, -1, -1, -1)
    across = gaussian(_window(width), SIGMA).to(maps).view(1, 1, 1, -1).expand(count, -1, -1, -1)
    local = F.conv2d(F.conv2d(planes, down, groups=count), across, groups=count)
    return local[0].unflatten(0, maps.shape[:2])
