"""Pictures out of nothing: leaves that occlude each other, and scenes of a thing before a ground.

No model has seen them, so a model's answers to them are its own. Dead leaves (Lee, Mumford & Huang, 2001: occluding
shapes with scale-invariant sizes) have the edges and the spectrum of natural images. Scenes have what the pictures of
most data sets have besides: one thing in the middle, often symmetric, with a rim or strokes on it, before a ground that
is plain or out of focus. Among thousands of scenes, most classifiers are sure of some for nearly every class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_SIDE = 64
"""larger images are generated at this side and enlarged"""

STROKES = 5
"""mean number of shapes in a sparse image of dead leaves"""

PARTS, BEZIERS, POINTS = 5, 4, 24
"""shapes that a thing consists of at most, curves drawn on a scene at most, points that a curve is drawn through"""


def dead_leaves(count: int, shape: tuple[int, int, int], rng: torch.Generator, leaves: int = 40) -> Tensor:
    """Procedural images, (count, C, H, W) in [0, 1]."""
    c, h, w = made_at(shape)
    ys = torch.linspace(0, 1, h).view(1, h, 1)
    xs = torch.linspace(0, 1, w).view(1, 1, w)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=rng)

    # every other image is a plain ground with a few strokes: drawings and digits are no dead leaves
    sparse = torch.arange(count).view(-1, 1, 1) % 2 == 1
    ground = torch.where(uniform(count, 1, 1, 1) < 0.5, uniform(count, 1, 1, 1).round(), uniform(count, c, 1, 1))
    images = ground.expand(count, c, h, w).clone()
    for _ in range(leaves):
        y0, x0, angle = uniform(3, count, 1, 1)
        angle = angle * torch.pi
        # radius density ~ r^-3 between 1/20 and 1/2 of the side: scale invariance
        radius = (400 - uniform(count, 1, 1) * (400 - 4)).rsqrt()
        radius = torch.where(sparse, 0.1 + 0.35 * uniform(count, 1, 1), radius)
        aspect = torch.where(sparse, 0.1 + 0.4 * uniform(count, 1, 1), 0.4 + 0.6 * uniform(count, 1, 1))
        u = (xs - x0) * angle.cos() + (ys - y0) * angle.sin()
        v = ((ys - y0) * angle.cos() - (xs - x0) * angle.sin()) / aspect
        disc = (u**2 + v**2) < radius**2
        box = torch.maximum(u.abs(), v.abs()) < radius * 0.85
        drawn = ~sparse | (uniform(count, 1, 1) < STROKES / leaves)
        leaf = (torch.where(uniform(count, 1, 1) < 0.5, disc, box) & drawn).unsqueeze(1)
        colour = uniform(count, c, 1, 1)
        shade = (uniform(count, c, 1, 1) - 0.5) * (u / radius).unsqueeze(1) * 0.5
        images = torch.where(leaf, (colour + shade).clamp(0, 1), images)
    return enlarged(images, shape)


def scenes(count: int, shape: tuple[int, int, int], rng: torch.Generator) -> Tensor:
    """A ground and before it a thing, strokes, or strokes on a thing; (count, C, H, W) in [0, 1]."""
    draw = _Draw(count, made_at(shape), rng)
    images, plain = draw.ground()
    has_thing, has_both = draw.chance(0.55), draw.chance(0.2)
    thing = draw.thing() & has_thing
    images = torch.where(thing, draw.surface(plain), images)
    rim = F.max_pool2d(thing.float(), 3, 1, 1) - thing.float()
    images = torch.lerp(images, draw.colour(plain), rim * draw.chance(0.3))
    images = torch.lerp(images, draw.colour(plain), draw.strokes() * (~has_thing | has_both))
    images = images * (1 - draw.chance(0.2) * 0.7 * draw.slope())
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return enlarged(torch.where(draw.chance(0.2), soft, images), shape)


def made_at(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape (C, H, W) at which images for a model of ``shape`` are made, see `MAX_SIDE`."""
    return shape[0], min(shape[1], MAX_SIDE), min(shape[2], MAX_SIDE)


def enlarged(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images of at most `MAX_SIDE` at a model's size, in [0, 1]."""
    if images.shape[2:] != shape[1:]:
        images = F.interpolate(images, shape[1:], mode="bilinear", align_corners=False)
    return images.clamp(0, 1)


@dataclass(frozen=True)
class _Draw:
    """Draws of the parts of ``count`` scenes; all of (count, 1 or C, 1 or H, 1 or W)."""

    count: int
    shape: tuple[int, int, int]
    rng: torch.Generator

    def uniform(self, *size: int) -> Tensor:
        return torch.rand(self.count, *size, generator=self.rng)

    def chance(self, share: float) -> Tensor:
        """Which scenes, (count, 1, 1, 1) bool."""
        return self.uniform(1, 1, 1) < share

    def places(self) -> tuple[Tensor, Tensor]:
        """Rows (H, 1) and columns (1, W), 0 to 1."""
        _, h, w = self.shape
        return (torch.arange(h).view(-1, 1) + 0.5) / h, (torch.arange(w).view(1, -1) + 0.5) / w

    def colour(self, beside: Tensor | None = None) -> Tensor:
        """Half of them black or white (the one that ``beside`` is not), the others more or less grey."""
        grey, hue = self.uniform(1, 1, 1), self.uniform(self.shape[0], 1, 1)
        tinted = torch.lerp(grey, hue, self.uniform(1, 1, 1))
        extreme = self.uniform(1, 1, 1).round() if beside is None else 1 - beside.mean(1, keepdim=True).round()
        return torch.where(self.chance(0.5), extreme, tinted)

    def slope(self) -> Tensor:
        """A plane that rises from 0 to 1 in some direction."""
        ys, xs = self.places()
        angle = 2 * torch.pi * self.uniform(1, 1, 1)
        return (0.5 + 0.7 * ((ys - 0.5) * angle.sin() + (xs - 0.5) * angle.cos())).clamp(0, 1)

    def ground(self) -> tuple[Tensor, Tensor]:
        """Plain on eight of ten, else a slope between two colours or leaves out of focus; and the plain colour."""
        plain = self.colour()
        c, h, w = self.shape
        coarse = dead_leaves(self.count, (c, -(-h // 4), -(-w // 4)), self.rng, leaves=16)
        wide = F.interpolate(coarse, (h, w), mode="bilinear", align_corners=False)
        other = torch.where(self.chance(0.5), torch.lerp(plain, self.colour(), self.slope()), wide)
        return torch.where(self.chance(0.8), plain.expand_as(other), other), plain

    def surface(self, beside: Tensor) -> Tensor:
        """Of one colour, or with more or less of a pattern of leaves."""
        flat = self.colour(beside)
        few = dead_leaves(-(-self.count // 8), self.shape, self.rng, leaves=16)
        leaves = few.repeat(8, 1, 1, 1)[: self.count]
        return torch.where(self.chance(0.5), flat, torch.lerp(flat, leaves, self.uniform(1, 1, 1)))

    def thing(self) -> Tensor:
        """Boxes, ellipses and triangles put together, most of them mirrored left and right; bool."""
        ys, xs = self.places()
        tilt = 0.3 * (self.uniform(1, 1) - 0.5)
        mirrored = self.uniform(1, 1) < 0.7
        inside = torch.zeros(self.count, *self.shape[1:], dtype=torch.bool)
        for part in range(PARTS):
            middle = part == 0 or torch.rand((), generator=self.rng) < 0.3
            y0 = 0.2 + 0.6 * self.uniform(1, 1)
            x0 = 0.5 + (0.0 if middle else 0.6) * (self.uniform(1, 1) - 0.5)
            tall, broad = 0.05 + 0.4 * self.uniform(1, 1), 0.05 + 0.35 * self.uniform(1, 1)
            x = xs + tilt * (ys - 0.5)
            dy, dx = (ys - y0) / tall, torch.where(mirrored & (x > 0.5), 1 - x, x).sub(x0) / broad
            box, ellipse = torch.maximum(dy.abs(), dx.abs()) < 1, dy**2 + dx**2 < 1
            triangle = (dy.abs() < 1) & (dx.abs() < (1 + dy) / 2)
            form = self.uniform(1, 1)
            shaped = torch.where(form < 0.45, box, torch.where(form < 0.8, ellipse, triangle))
            inside |= shaped & ((self.uniform(1, 1) < 0.6) | (part == 0))
        return inside.unsqueeze(1)

    def strokes(self) -> Tensor:
        """One to four quadratic Bézier curves, most of which begin where the last one ended, as by a pen; 0 to 1."""
        ys, xs = self.places()
        size = 0.2 + 0.3 * self.uniform(1, 1)
        centre = 0.5 + 0.3 * (self.uniform(1, 2) - 0.5)
        width = 0.02 + 0.06 * self.uniform(1, 1)
        times = torch.linspace(0, 1, POINTS).view(1, -1, 1)
        end = centre + size * (2 * self.uniform(1, 2) - 1)
        nearest = torch.full((self.count, *self.shape[1:]), torch.inf)
        for curve in range(BEZIERS):
            start = torch.where(self.uniform(1, 1) < 0.6, end, centre + size * (2 * self.uniform(1, 2) - 1))
            bend, end = (centre + 1.2 * size * (2 * self.uniform(1, 2) - 1) for _ in range(2))
            points = (1 - times) ** 2 * start + 2 * times * (1 - times) * bend + times**2 * end
            drawn = (self.uniform(1, 1) < 0.5) | (curve == 0)
            for y, x in _pairs(points):
                distance = (ys - y) ** 2 + (xs - x) ** 2
                nearest = torch.where(drawn, torch.minimum(nearest, distance), nearest)
        return ((width - nearest.sqrt()) * self.shape[1] + 0.5).clamp(0, 1).unsqueeze(1)


def _pairs(points: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(N, P, 2) → P pairs of (N, 1, 1)."""
    return [(p[:, 0].view(-1, 1, 1), p[:, 1].view(-1, 1, 1)) for p in points.unbind(1)]
