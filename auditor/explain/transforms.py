"""Probes: transforms that take one kind of information from an image, at graded strengths.

"What Do Adversarially Robust Models Look At?" (Itazuri, Fukuhara, Kataoka and Morishima, 2019), Section 4.1: Gaussian
blur softens all edges alike, repeated median filtering removes fine texture and leaves silhouettes (Figures 5, 6),
colour reversal keeps everything but colour (Table 2). Noise and JPEG are ours: what images meet in use, and what small
triggers may not outlast. The paper's stylised images need a style network and are left out.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Detail = Literal["standard", "full"]
"""which strengths: a handful of each family, or all"""

BLUR_KERNEL = 7
MEDIAN_KERNEL = 5
CHUNK = 1 << 20
"""values that the median filter sorts at once: few enough to stay in the processor's cache"""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of transform and the strengths it is tried at."""

    name: str
    unit: str
    """of the strengths"""
    standard: tuple[float, ...]
    """a handful of ``full``, mild to strong"""
    full: tuple[float, ...]
    """the paper's where the paper has it, mild to strong"""
    function: Callable[[Tensor, float, torch.Generator, Tensor | None], Tensor]
    identity: float | None = 0.0
    """the strength that changes nothing; None where there is none"""

    def strengths(self, detail: Detail) -> tuple[float, ...]:
        """The strengths to try, mild to strong."""
        return self.full if detail == "full" else self.standard

    def apply(self, images: Tensor, strength: float, rng: torch.Generator, mean: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) in [0, 1] → the same, transformed.

        ``rng`` is drawn from by families with chance in them, ``mean`` (C,) is what colours are reversed around: that
        of the images when None.
        """
        return self.function(images, strength, rng, mean)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) blurred by a Gaussian of ``sigma`` pixels, kernel 7, edges reflected (Section 4.1).

    A side shorter than 7 gets the largest odd kernel that fits. ``sigma`` 0 is the identity.
    """
    from torchvision.transforms.functional import gaussian_blur as blurred

    if sigma == 0:
        return images
    kernel = [_fitting(BLUR_KERNEL, images.shape[3]), _fitting(BLUR_KERNEL, images.shape[2])]  # width first
    return blurred(images, kernel, [sigma, sigma]).clamp(0, 1)  # rounding may pass 1 by an ulp


def median_filter(images: Tensor, times: int) -> Tensor:
    """Images (N, C, H, W) median-filtered ``times`` times, kernel 5 × 5, each channel for itself (Section 4.1).

    Edges are reflected without repeating the border pixel (scipy's ``mirror``); the paper does not say. A side shorter
    than 5 gets the largest odd kernel that fits. ``times`` 0 is the identity.
    """
    rows, columns = (_fitting(MEDIAN_KERNEL, side) for side in images.shape[2:])
    size = max(1, CHUNK // max(1, images[0].numel())) if len(images) else 1
    for _ in range(times):
        images = torch.cat([_filtered(piece, rows, columns) for piece in images.split(size)])
    return images


def _filtered(images: Tensor, rows: int, columns: int) -> Tensor:
    height, width = images.shape[2:]
    padded = F.pad(images, (columns // 2, columns // 2, rows // 2, rows // 2), mode="reflect")
    return median_of([padded[..., y : y + height, x : x + width] for y in range(rows) for x in range(columns)])


def median_of(items: list[Tensor]) -> Tensor:
    """Element-wise median of an odd number of tensors of one shape.

    Forgetful selection: of half of them and two more, the least and the greatest cannot be the median; they are dropped
    and the next comes in. It is several times faster than sorting each window, as it works on whole images.
    """
    held = len(items) // 2 + 2
    active, waiting = items[:held], items[held:]
    while len(active) > 1:
        last = len(active) - 1
        for i in range(len(active) // 2):
            _order(active, i, last - i)
        for i in range(1, last // 2 + 1):  # the lesser halves, and the middle
            _order(active, 0, i)
        for i in range(len(active) // 2, last):
            _order(active, i, last)
        active = active[1:-1] + waiting[:1]
        waiting = waiting[1:]
    return active[0]


def _order(items: list[Tensor], low: int, high: int) -> None:
    items[low], items[high] = torch.minimum(items[low], items[high]), torch.maximum(items[low], items[high])


def reverse_colours(images: Tensor, mean: Tensor | None = None) -> Tensor:
    """2·mean − x for each channel, clipped to [0, 1]: the reversed variant of Table 2.

    ``mean`` (C,) is that of the images (N, C, H, W) when None; the paper takes its data set's.
    """
    centre = images.mean((0, 2, 3)) if mean is None else mean.to(images)
    return (2 * centre.view(1, -1, 1, 1) - images).clamp(0, 1)


def gaussian_noise(images: Tensor, level: float, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) plus normal noise of standard deviation ``level``, clipped to [0, 1]. 0 is the identity."""
    if level == 0:
        return images
    return (images + level * torch.randn(images.shape, generator=rng).to(images)).clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Images (N, C, H, W) written as JPEG of ``quality`` 1 to 100 and read again; so they are rounded to 8 bits.

    Three channels are RGB with chroma at half resolution (pillow's 4:2:0), one is grey; of any other number each
    channel is a grey picture of its own.
    """
    count, channels, height, width = images.shape
    apart = images if channels in (1, 3) else images.reshape(count * channels, 1, height, width)
    pixels = (apart.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = [np.asarray(_compressed(picture, quality)).reshape(picture.shape) for picture in pixels]
    if not read:
        return images
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).reshape(images.shape).to(images) / 255


def _compressed(picture: np.ndarray, quality: int) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "JPEG", quality=quality)
    return Image.open(file)


def _fitting(kernel: int, side: int) -> int:
    fits = min(kernel, side)
    return fits if fits % 2 else fits - 1


BLUR = Family(
    name="Gaussian blur",
    unit="σ in pixels",
    standard=(0.0, 0.5, 1.0, 2.0, 3.0, 5.0),
    full=tuple(0.25 * i for i in range(21)),
    function=lambda images, sigma, rng, mean: gaussian_blur(images, sigma),
)
MEDIAN = Family(
    name="median filter",
    unit="times",
    standard=(0.0, 1.0, 2.0, 3.0, 5.0),
    full=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    function=lambda images, times, rng, mean: median_filter(images, int(times)),
)
REVERSAL = Family(  # halfway there is a flat image, so there are no strengths between
    name="colour reversal",
    unit="0 = as it is, 1 = reversed",
    standard=(0.0, 1.0),
    full=(0.0, 1.0),
    function=lambda images, turned, rng, mean: reverse_colours(images, mean) if turned else images,
)
NOISE = Family(
    name="Gaussian noise",
    unit="standard deviation",
    standard=(0.0, 0.05, 0.1, 0.2, 0.4),
    full=(0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
    function=lambda images, level, rng, mean: gaussian_noise(images, level, rng),
)
JPEG = Family(
    name="JPEG",
    unit="quality",
    standard=(95.0, 75.0, 50.0, 30.0, 10.0),
    full=(95.0, 90.0, 75.0, 50.0, 40.0, 30.0, 20.0, 10.0, 5.0),
    function=lambda images, quality, rng, mean: jpeg(images, int(quality)),
    identity=None,
)
FAMILIES = (BLUR, MEDIAN, REVERSAL, NOISE, JPEG)
