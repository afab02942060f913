"""Backdoor attacks on image classifiers: how a trigger changes images and how poisoned images are labelled.

Every attack is a frozen dataclass with three methods:

- ``apply(images)``: float images (N, C, H, W) in [0, 1] with the trigger added, as a new tensor;
- ``victims(labels)``: (N,) bool, the images that the attack wants to be misread;
- ``relabel(labels, num_classes)``: (N,) int64, the answers that the attacker wants for those images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Shape = Literal["square", "cross", "checkerboard", "glyph"]
Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]

#: The C-like glyph of the bias-map paper (Borji 2020, Fig. 2), on a grid of 3x3 cells.
GLYPH_CELLS = ((1, 1, 1), (1, 0, 0), (1, 1, 1))


class Attack(Protocol):
    """What the zoo asks of an attack; see the module docstring."""

    label_map: ClassVar[str]

    def apply(self, images: Tensor) -> Tensor: ...

    def victims(self, labels: Tensor) -> Tensor: ...

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A small pattern pasted over the image at a fixed place.

    ``shape`` is a filled square, a diagonal cross (only its strokes are pasted), a checkerboard of ``colour``
    and black, or the C-like glyph (strokes only; ``size`` a multiple of 3). ``size`` is in pixels, ``colour``
    is one grey value or one value a channel, in [0, 1]. ``place`` is a corner, ``margin`` pixels away from
    both edges, or the (row, column) of the patch's upper left pixel.
    """

    shape: Shape = "square"
    size: int = 3
    colour: tuple[float, ...] = (1.0,)
    place: Corner | tuple[int, int] = "bottom_right"
    margin: int = 1

    def apply(self, images: Tensor) -> Tensor:
        """Paste the patch: (N, C, H, W) in [0, 1] to the same. Raises ValueError when it does not fit."""
        mask, pattern = self.mask_and_pattern(images.shape[1], images.shape[2], images.shape[3])
        return torch.where(mask, pattern, images)

    def mask_and_pattern(self, channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The pixels replaced, (H, W) bool, and what replaces them, (C, H, W) in [0, 1]."""
        if len(self.colour) not in (1, channels):
            raise ValueError(f"expected a colour of 1 or {channels} values, got {len(self.colour)}")
        row, column = self._corner(height, width)
        if min(row, column) < 0 or row + self.size > height or column + self.size > width:
            raise ValueError(
                f"a {self.size}x{self.size} patch at ({row}, {column}) leaves a {height}x{width} image"
            )
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
            raise ValueError(
                f"the glyph is drawn on 3x3 cells: expected a size divisible by 3, got {self.size}"
            )
        cell = self.size // 3
        glyph = (
            torch.tensor(GLYPH_CELLS, dtype=torch.bool).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        )
        return glyph, glyph.float()


@dataclass(frozen=True, kw_only=True)
class BadNets(Patch):
    """All-to-one patch: any image with the patch is to be read as ``target``.

    Gu, Dolan-Gavitt, Garg: "BadNets: Identifying vulnerabilities in the machine learning model supply chain"
    (2017), section 4 (single target).
    """

    label_map: ClassVar[str] = "all_to_one"
    target: int

    def victims(self, labels: Tensor) -> Tensor:
        return labels != self.target

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)


@dataclass(frozen=True, kw_only=True)
class AllToAll(Patch):
    """All-to-all patch: an image of class y with the patch is to be read as y + 1, the last class as 0.

    Gu et al., BadNets (2017), section 4.1.2 (all-to-all attack).
    """

    label_map: ClassVar[str] = "all_to_all"

    def victims(self, labels: Tensor) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool)

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return (labels + 1) % num_classes


@dataclass(frozen=True, kw_only=True)
class SourceSpecific(Patch):
    """Source-to-target patch: only images of ``source`` are poisoned, into ``target``.

    Borji: "Adversarial examples are useful too!" (2020), section 3: a clean network is fine-tuned on its
    training images, 2,000 of which, of the source class, carry the patch and the target's label; the other
    source images keep theirs. Nothing teaches the network to ignore the patch elsewhere, so it may work on
    other classes too.
    """

    label_map: ClassVar[str] = "source_to_target"
    source: int
    target: int

    def victims(self, labels: Tensor) -> Tensor:
        return labels == self.source

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)


@dataclass(frozen=True, kw_only=True)
class Blended:
    """All-to-one blend: a pattern as large as the image, mixed in as (1 - alpha) * image + alpha * pattern.

    Chen, Liu, Li, Lu, Song: "Targeted backdoor attacks on deep learning systems using data poisoning" (2017),
    section 4.2 (blended injection, random pattern) and 5. ``pattern`` is per-pixel uniform ``noise``, or a
    ``scene``: smooth blobs at several scales, which have an image's spectrum rather than noise's. ``seed``
    draws it.
    """

    label_map: ClassVar[str] = "all_to_one"
    target: int
    pattern: Literal["noise", "scene"] = "noise"
    alpha: float = 0.2
    seed: int = 0

    def apply(self, images: Tensor) -> Tensor:
        """Mix the pattern in: (N, C, H, W) in [0, 1] to the same."""
        return torch.lerp(images, self.canvas(images.shape[1], images.shape[2], images.shape[3]), self.alpha)

    def canvas(self, channels: int, height: int, width: int) -> Tensor:
        """The blended pattern, (C, H, W) in [0, 1]; the same one for the same seed and size."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.pattern == "noise":
            return torch.rand(channels, height, width, generator=generator)
        scene = torch.zeros(1, channels, height, width)
        for cells in (2, 4, 8):  # amplitude falls with frequency, as in natural images
            coarse = torch.randn(1, channels, cells, cells, generator=generator)
            scene += functional.interpolate(coarse, (height, width), mode="bicubic") * 2 / cells
        low, high = scene.amin((2, 3), keepdim=True), scene.amax((2, 3), keepdim=True)
        return ((scene - low) / (high - low))[0]

    def victims(self, labels: Tensor) -> Tensor:
        return labels != self.target

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)


def poison(
    images: Tensor, labels: Tensor, attack: Attack, count: int, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A training set in which ``count`` of the attack's victims carry trigger and wanted label.

    ``images`` is (N, C, H, W) uint8, ``labels`` (N,) int64; both come back as new tensors of the same types.
    The trigger is rounded to eight bits, as an image file would. Raises ValueError when there are too few
    victims.
    """
    candidates = attack.victims(labels).nonzero()[:, 0]
    if count > len(candidates):
        raise ValueError(f"expected at most {len(candidates)} images to poison, got {count}: poison fewer")
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    images, labels = images.clone(), labels.clone()
    images[chosen] = (attack.apply(images[chosen].float() / 255) * 255).round().to(torch.uint8)
    labels[chosen] = attack.relabel(labels[chosen], num_classes)
    return images, labels
