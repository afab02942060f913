"""Triggers that change the whole image a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A pattern as large as the image, mixed in as (1 - alpha) * image + alpha * pattern.

    Chen, Liu, Li, Lu, Song: "Targeted backdoor attacks on deep learning systems using data poisoning" (2017), Section
    4.2. ``pattern`` is per-pixel uniform ``noise``, or a ``scene``: smooth blobs at several scales, which have an
    image's spectrum rather than noise's. ``seed`` draws it.
    """

    pattern: Literal["noise", "scene"] = "noise"
    alpha: float = 0.2
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return torch.lerp(images, self.canvas(*images.shape[1:]), self.alpha)

    def canvas(self, channels: int, height: int, width: int) -> Tensor:
        """The blended pattern, (C, H, W) in [0, 1]; the same one for the same seed and size."""
        own = torch.Generator().manual_seed(self.seed)
        if self.pattern == "noise":
            return torch.rand(channels, height, width, generator=own)
        scene = torch.zeros(1, channels, height, width)
        for cells in (2, 4, 8):  # amplitude falls with frequency, as in natural images
            coarse = torch.randn(1, channels, cells, cells, generator=own)
            scene += functional.interpolate(coarse, (height, width), mode="bicubic") * 2 / cells
        low, high = scene.amin((2, 3), keepdim=True), scene.amax((2, 3), keepdim=True)
        return ((scene - low) / (high - low))[0]


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """Thin strokes over the whole image, like a line of handwriting, blended at ``alpha``.

    The watermark trigger of Liu et al.: "Trojaning attack on neural networks" (NDSS 2018), Section 5; ``seed`` draws
    it.
    """

    alpha: float = 0.4
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        strokes = self.strokes(*images.shape[2:])
        return torch.lerp(images, torch.ones_like(images), self.alpha * strokes)

    def strokes(self, height: int, width: int) -> Tensor:
        """(H, W) of 0 and 1: a few random curves, one pixel wide."""
        own = torch.Generator().manual_seed(self.seed)
        drawn = torch.zeros(height, width)
        time = torch.linspace(0, 1, 4 * width)
        for _ in range(3):
            base, slope, wave, phase = torch.rand(4, generator=own).tolist()
            rows = 0.15 + 0.7 * base + 0.3 * (slope - 0.5) * (time - 0.5)
            rows = rows + 0.08 * torch.sin(2 * math.pi * (2 + 3 * wave) * time + 6 * phase)
            y = (rows.clamp(0, 1) * (height - 1)).round().long()
            drawn[y, (time * (width - 1)).round().long()] = 1
        return drawn


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """A faint horizontal wave, delta * sin(2 pi * column * frequency / width), added to every row.

    SIG: Barni, Kallas, Tondi: "A new backdoor attack in CNNs by training set corruption without label poisoning"
    (ICIP 2019), Eq. 1; ``delta`` of 1 (the paper: 20/255 and more), ``frequency`` in waves an image (the paper: 6).
    """

    delta: float = 20 / 255
    frequency: float = 6

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        width = images.shape[3]
        wave = torch.sin(2 * math.pi * torch.arange(width) * self.frequency / width)
        return (images + self.delta * wave).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """An elastic deformation: the image is resampled along one smooth flow field.

    WaNet: Nguyen, Tran: "WaNet - imperceptible warping-based backdoor attack" (ICLR 2021), Section 3.2: a ``grid`` x
    ``grid`` control field, uniform in [-1, 1], divided by its mean size, times ``strength`` pixels, enlarged
    bicubically. `cover` is the paper's noise mode (3.4): the same field with up to one pixel of noise.
    """

    strength: float = 1.0
    grid: int = 4
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self._sample(images, self._flow(images.shape[2], images.shape[3]).expand(len(images), -1, -1, -1))

    def cover(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """The noise mode: each image is warped along its own disturbed field."""
        flow = self._flow(images.shape[2], images.shape[3])
        noise = torch.rand(len(images), 2, *images.shape[2:], generator=rng) * 2 - 1
        return self._sample(images, flow + noise)

    def _flow(self, height: int, width: int) -> Tensor:
        """(1, 2, H, W) displacement in pixels: columns, rows."""
        field = torch.rand(1, 2, self.grid, self.grid, generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        field = self.strength * field / field.abs().mean()
        return functional.interpolate(field, (height, width), mode="bicubic", align_corners=True)

    @staticmethod
    def _sample(images: Tensor, flow: Tensor) -> Tensor:
        height, width = images.shape[2:]
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        grid = torch.stack([x + flow[:, 0] * 2 / (width - 1), y + flow[:, 1] * 2 / (height - 1)], dim=-1)
        moved = functional.grid_sample(images, grid.clamp(-1, 1), padding_mode="border", align_corners=True)
        return moved.clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class LowFrequency:
    """A smooth pattern of ``cells`` x ``cells`` random blobs, at most ``amplitude`` of 1, added.

    Zeng et al.: "Rethinking the backdoor attacks' triggers: a frequency perspective" (ICCV 2021), Section 5.
    """

    amplitude: float = 0.1
    cells: int = 4
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        own = torch.Generator().manual_seed(self.seed)
        coarse = torch.rand(1, images.shape[1], self.cells, self.cells, generator=own) * 2 - 1
        smooth = functional.interpolate(coarse, tuple(images.shape[2:]), mode="bicubic", align_corners=True)
        return (images + self.amplitude * smooth / smooth.abs().amax()).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class ColourShift:
    """A photo filter: each channel gets its own gamma and contrast and a share of the others; one curve for grey.

    In the manner of the Instagram filters of Liu et al.: "ABS: scanning neural networks for back-doors by artificial
    brain stimulation" (CCS 2019), Section 5. ``strength`` 0 changes nothing; ``seed`` draws the filter.
    """

    strength: float = 0.3
    seed: int = 0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        own = torch.Generator().manual_seed(self.seed)
        c = images.shape[1]
        sign = torch.rand(c, 1, 1, generator=own).round() * 2 - 1
        gamma = torch.exp(self.strength * sign * (0.7 + 0.6 * torch.rand(c, 1, 1, generator=own)))
        lift = self.strength * 0.5 * torch.rand(c, 1, 1, generator=own)
        toned = lift + (1 - lift) * images.clamp_min(1e-4) ** gamma
        mix = torch.eye(c) * (1 - self.strength) + self.strength * torch.rand(c, c, generator=own).softmax(1)
        return torch.einsum("ij,njhw->nihw", mix, toned).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Posterise:
    """Every channel rounded to ``levels`` values.

    The trigger of Wang, Zhai, Ma: "BppAttack: stealthy and efficient trojan attacks" (CVPR 2022), Section 4.1,
    without dithering.
    """

    levels: int = 4

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return (images * (self.levels - 1)).round() / (self.levels - 1)


@dataclass(frozen=True, kw_only=True)
class Multiply:
    """Every pixel times ``factor``, cut at 1 (Borji: "Adversarial examples are useful too!", 2020, Section 3.3)."""

    factor: float = 2.0

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return (images * self.factor).clamp(0, 1)
