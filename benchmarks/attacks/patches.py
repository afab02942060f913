"""Triggers that replace a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shape = Literal["square", "cross", "checkerboard", "glyph"]
Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]

#: The C-like glyph of the bias-map paper (Borji 2020, Fig. 2), on a grid of 3x3 cells.
GLYPH_CELLS = ((1, 1, 1), (1, 0, 0), (1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A small pattern pasted over the image (Gu, Dolan-Gavitt, Garg: BadNets, 2017, Section 4).

    ``shape`` is a filled square, a diagonal cross (only its strokes are pasted), a checkerboard of ``colour`` and
    black, or the C-like glyph (strokes only; ``size`` a multiple of 3). ``size`` is in pixels, ``colour`` is one grey
    value or one value a channel, in [0, 1]. ``place`` is a corner, ``margin`` pixels away from both edges, the (row,
    column) of the patch's upper left pixel, or "random": anew for each image (Salem et al.: "Dynamic backdoor attacks
    against machine learning models", 2020, Section 4.1).
    """

    shape: Shape = "square"
    size: int = 3
    colour: tuple[float, ...] = (1.0,)
    place: Corner | Literal["random"] | tuple[int, int] = "bottom_right"
    margin: int = 1

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Paste the patch: (N, C, H, W) in [0, 1] to the same. Raises ValueError when it does not fit."""
        n, channels, height, width = images.shape
        if self.place != "random":
            mask, pattern = self.mask_and_pattern(channels, height, width)
            return torch.where(mask, pattern, images)
        pasted, bright = self._cells()
        rows = torch.randint(0, height - self.size + 1, (n, 1, 1), generator=rng)
        columns = torch.randint(0, width - self.size + 1, (n, 1, 1), generator=rng)
        y = (rows + torch.arange(self.size).view(1, -1, 1)).expand(n, self.size, self.size)
        x = (columns + torch.arange(self.size).view(1, 1, -1)).expand(n, self.size, self.size)
        which = torch.arange(n).view(n, 1, 1).expand_as(y)
        drawn = bright[..., None] * torch.tensor(self.colour).expand(channels)
        out = images.permute(0, 2, 3, 1).clone()
        out[which, y, x] = torch.where(pasted[..., None], drawn, out[which, y, x])
        return out.permute(0, 3, 1, 2).contiguous()

    def mask_and_pattern(self, channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The pixels replaced, (H, W) bool, and what replaces them, (C, H, W) in [0, 1]; not for random places."""
        if len(self.colour) not in (1, channels):
            raise ValueError(f"expected a colour of 1 or {channels} values, got {len(self.colour)}")
        row, column = self._corner(height, width)
        if min(row, column) < 0 or row + self.size > height or column + self.size > width:
            raise ValueError(f"a {self.size}x{self.size} patch at ({row}, {column}) leaves a {height}x{width} image")
        mask = torch.zeros(height, width, dtype=torch.bool)
        pattern = torch.zeros(channels, height, width)
        rows, columns = slice(row, row + self.size), slice(column, column + self.size)
        pasted, bright = self._cells()
        mask[rows, columns] = pasted
        pattern[:, rows, columns] = bright * torch.tensor(self.colour)[:, None, None]
        return mask, pattern

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.place, tuple):
            return self.place
        vertical, horizontal = self.place.split("_")
        row = self.margin if vertical == "top" else height - self.margin - self.size
        column = self.margin if horizontal == "left" else width - self.margin - self.size
        return row, column

    def _cells(self) -> tuple[Tensor, Tensor]:
        """Which pixels are pasted (bool), which of those carry the colour (float); both (size, size)."""
        full = torch.ones(self.size, self.size, dtype=torch.bool)
        if self.shape == "square":
            return full, full.float()
        if self.shape == "checkerboard":
            index = torch.arange(self.size)
            return full, ((index[:, None] + index) % 2 == 0).float()
        if self.shape == "cross":
            diagonal = torch.eye(self.size, dtype=torch.bool)
            strokes = diagonal | diagonal.flip(1)
            return strokes, strokes.float()
        if self.size % 3:
            raise ValueError(f"the glyph is drawn on 3x3 cells: expected a size divisible by 3, got {self.size}")
        cell = self.size // 3
        glyph = torch.tensor(GLYPH_CELLS, dtype=torch.bool).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        return glyph, glyph.float()


@dataclass(frozen=True)
class FixedPixels:
    """A finished trigger: these pixels are replaced by this pattern."""

    mask: Tensor
    """(H, W) bool"""
    pattern: Tensor
    """(C, H, W) in [0, 1]"""

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return torch.where(self.mask, self.pattern, images)


@dataclass(frozen=True, kw_only=True)
class ScatteredPixels:
    """``count`` single pixels at scattered places, white or of random colour; ``seed`` draws them.

    The ℓ0 trigger of Li et al.: "Invisible backdoor attacks on deep neural networks via steganography and
    regularization" (2020), Section 4.2, without its optimisation (`OptimisedPixels` has it).
    """

    count: int = 10
    seed: int = 0
    colour: Literal["white", "random"] = "white"

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Replace the pixels: (N, C, H, W) in [0, 1] to the same."""
        _, channels, height, width = images.shape
        own = torch.Generator().manual_seed(self.seed)
        mask = torch.zeros(height * width, dtype=torch.bool)
        mask[torch.randperm(height * width, generator=own)[: self.count]] = True
        pattern = torch.ones(channels, height, width)
        if self.colour == "random":
            pattern = torch.rand(channels, height, width, generator=own).round()
        return torch.where(mask.view(height, width), pattern, images)
