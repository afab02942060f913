"""Ready-made triggers: the patches and waves that published attacks plant, drawn without looking at the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
RED, GREEN, BLUE, YELLOW = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0)
Colour = tuple[float, float, float]

SIDE = 32
"""side of the images that sizes and distances are given for; they are multiplied by whole numbers on larger ones"""

DISTANCES = (0, 1, 3)
"""pixels between a patch and both edges of its corner"""

LARGEST = 0.033
"""share of the pixels up to which a patch is tried: 5×5 of 28×28. Larger ones (a square of 6×6, a frame of 10×10) turn
natural pairs of classes of clean networks as well, 0.5 to 0.97 of the images of one of them"""

Drawn = tuple[Tensor, Tensor, Sequence[Colour]]
"""which pixels are pasted, (size, size) bool; which of them carry the colour, the others black; and the colours"""


@dataclass(frozen=True)
class Patch:
    """Pixels that are replaced."""

    mask: Tensor
    """(H, W) of 0 and 1"""
    pattern: Tensor
    """(C, H, W) in [0, 1]"""

    def on(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) with the patch."""
        return torch.where(self.mask > 0, self.pattern, images)


def patches(shape: tuple[int, int, int]) -> list[Patch]:
    """Squares, checkerboards, a cross, a frame and bare cells in each corner, some in colours where there are any.

    After "BadNets" (Gu et al., 2017): bright squares and small patterns near a corner, coloured ones on signs; and
    after "Adversarial examples are useful too!" (Borji, 2020): glyphs of 6×6 in cells of 2×2, red frames.
    """
    channels, height, width = shape
    scale = max(1, round(min(height, width) / SIDE))
    return [
        patch
        for pasted, bright, colours in _drawn(scale, coloured=channels == 3)
        for colour in colours
        for patch in _in_corners(shape, pasted, bright, colour, scale)
        if 0 < float(patch.mask.mean()) <= LARGEST
    ]


def _drawn(scale: int, *, coloured: bool) -> Iterator[Drawn]:
    """The shapes, at their size."""
    loud = (RED, GREEN, BLUE, YELLOW) if coloured else ()
    for size in (2, 3, 5):
        yield *_square(size * scale), (WHITE, BLACK, *(loud if size == 3 else ()))
    for size in (3, 4):
        yield *_board(size, scale), (WHITE,)
    _, cells = _board(3, 2 * scale)
    yield cells, cells, (WHITE,)
    diagonal = torch.eye(5, dtype=torch.bool)
    cross = _enlarged(diagonal | diagonal.flip(1), scale)
    yield cross, cross, (WHITE, *loud[:1])
    yield *_frame(6, scale), (WHITE, *loud[:1])


def _square(size: int) -> tuple[Tensor, Tensor]:
    full = torch.ones(size, size, dtype=torch.bool)
    return full, full


def _board(cells: int, scale: int) -> tuple[Tensor, Tensor]:
    index = torch.arange(cells)
    bright = _enlarged((index[:, None] + index) % 2 == 0, scale)
    return torch.ones_like(bright), bright


def _frame(size: int, scale: int) -> tuple[Tensor, Tensor]:
    edge = torch.ones(size, size, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return _enlarged(edge, scale), _enlarged(edge, scale)


def _enlarged(cells: Tensor, scale: int) -> Tensor:
    return cells.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def _in_corners(
    shape: tuple[int, int, int], pasted: Tensor, bright: Tensor, colour: Colour, scale: int
) -> Iterator[Patch]:
    """One shape near each corner, at each distance at which it fits."""
    channels, height, width = shape
    size = len(pasted)
    # a grey image has one value: the colours that are used there have the same in all
    value = torch.tensor(colour[:1] if channels == 1 else (*colour, *colour)[:channels]).view(-1, 1, 1)
    for distance in (d * scale for d in DISTANCES if d * scale + size <= min(height, width)):
        for top in (distance, height - distance - size):
            for left in (distance, width - distance - size):
                mask, pattern = torch.zeros(height, width), torch.zeros(shape)
                mask[top : top + size, left : left + size] = pasted.float()
                pattern[:, top : top + size, left : left + size] = bright * value
                yield Patch(mask, pattern)


def waves(height: int, width: int, most: int) -> Tensor:
    """(4 · 2 · most, H, W) in [−1, 1]: vertical and horizontal waves of 1 to ``most`` periods, in four phases.

    sin(2π·f·j / W) as of "A new backdoor attack in CNNs by training set corruption without label poisoning" (Barni et
    al., 2019), Eq. 1.
    """
    rows, columns = torch.arange(height) / height, torch.arange(width) / width
    drawn = []
    for periods in range(1, most + 1):
        for phase in range(4):
            shift = phase * math.pi / 2
            drawn.append(torch.sin(2 * math.pi * periods * columns + shift).expand(height, width))
            drawn.append(torch.sin(2 * math.pi * periods * rows + shift).unsqueeze(1).expand(height, width))
    return torch.stack(drawn)
