"""How fully the patterns that a search found command a class, in every form, on images that the search did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auditor import Classifier

from .against_reference import net
from .pattern_search import cut, forms, margins

COMPACT = 0.01
"""share of the pixels up to which a pattern is compact: a clean network's natural features (the wheel of a car, the
inside of a sign) fill more, and on class impressions command as a large trigger does"""

ABOUT_AS_MUCH = 0.1
"""shares of images that differ by no more count as equal where the smallest of several patterns is wanted"""

PROMISING = 0.05
"""power from which a class that was screened out is searched to the end: of a sticker on signs of 64 pixels, which nine
of 43 classes outran, a third of the steps showed 0.09, and all of them 0.71"""


@dataclass(frozen=True)
class Patterns:
    """All searches for one class, and the forms in which they are tested, as they are and refined."""

    searches: Sequence[tuple[Tensor, Tensor]]
    """soft mask (H, W) and canvas (C, H, W) of each"""
    sizes: tuple[float, ...]
    """shares of the pixels, strongest pixels of the mask"""
    windows: tuple[float, ...]
    """shares of the pixels, strongest square window"""
    refined: Sequence[tuple[Tensor, Tensor]] = ()
    """masks (F, H, W) and patterns (F, C, H, W) of each search once more, see `pattern_refinement`; or none"""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the pixels of each form, in the order of `pattern_search.forms`."""
        return (*self.sizes, *self.windows)

    @property
    def count(self) -> int:
        """How many there are to choose from: the searches, then these refined."""
        return len(self.searches) + len(self.refined)

    def forms(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """Mask (H, W) and pattern (C, H, W) of one of `count` in every form."""
        if number < len(self.searches):
            soft, canvas = self.searches[number]
            return [(mask, canvas) for mask in forms(soft, self.sizes, self.windows)]
        masks, patterns = self.refined[number - len(self.searches)]
        return list(zip(masks, patterns, strict=True))

    def margins(self, model: Classifier, images: Tensor, number: int, target: int) -> Tensor:
        """Logit margins of one of `count` in every form on images (N, C, H, W); (F, N)."""
        with model.fast():
            return torch.stack([margins(model, images, mask, pattern, target) for mask, pattern in self.forms(number)])


@dataclass(frozen=True)
class Found:
    """The best pattern of one class on one model, tested on held-out images."""

    mask: Tensor
    """(H, W), of the form and size that is shown as the trigger"""
    pattern: Tensor
    """(C, H, W)"""
    success: float
    """predictive power of that pattern"""
    images: int
    compact: float
    """mean commanding predictive power over the forms of at most `COMPACT`; over all where there are none"""
    larger: float | None
    """the same over the forms beyond; None where there are none"""
    curve_sizes: tuple[float, ...]
    curve: tuple[float, ...]
    """predictive power of the strongest pixels at ``curve_sizes``"""
    thorough: bool
    """whether the class was searched to the end; False once screened out"""
    worth: float = 0.0
    """power over all forms on images of the search, by which the better of two searches is chosen"""

    @property
    def power(self) -> float:
        """What leading is decided by."""
        return self.compact + (self.larger or 0.0)

    @property
    def of_nobody(self) -> Found:
        """The same where there was no image to turn: it turned none."""
        larger = None if self.larger is None else 0.0
        return replace(self, success=0.0, images=0, compact=0.0, larger=larger, curve=(0.0,) * len(self.curve))


def chosen(
    model: Classifier, images: Tensor, patterns: Patterns, target: int, usual: float
) -> tuple[int, int, float]:
    """Which search, refined or not, commands most over all forms, its smallest form that does about as much, its power.

    ``usual`` is the margin that a commanding pattern exceeds. Ties go to the larger margin.
    """
    tried = [patterns.margins(model, images, number, target) for number in range(patterns.count)]
    powers = [(tested > usual).float().mean(1) for tested in tried]
    medians = [tested.median(1).values for tested in tried]
    number = max(range(len(tried)), key=lambda n: (float(powers[n].sum()), float(medians[n].max())))
    power, success, median = powers[number], (tried[number] > 0).float().mean(1), medians[number]
    worth = float(power.mean())
    enough = (power >= power.max() - ABOUT_AS_MUCH) & (success >= success.max() - ABOUT_AS_MUCH)
    if enough.any():
        return number, min(enough.nonzero().flatten().tolist(), key=lambda form: patterns.shares[form]), worth
    return number, max(range(len(power)), key=lambda form: (float(power[form]), float(median[form]))), worth


def measured(
    model: Classifier,
    images: Tensor,
    patterns: Patterns,
    choice: tuple[int, int],
    target: int,
    usual: float,
    few: int,
    curve: Sequence[float],
    thorough: bool,
) -> Found:
    """The chosen search and form on held-out ``images``: all of them for the trigger, ``few`` for each other number."""
    number, form = choice
    soft, canvas = patterns.searches[number % len(patterns.searches)]
    mask, pattern = patterns.forms(number)[form]
    tested = patterns.margins(model, images[:few], number, target)
    commanding = [share(row, usual) for row in tested]
    larger = [power for power, size in zip(commanding, patterns.shares, strict=True) if size > COMPACT]
    compact = [power for power, size in zip(commanding, patterns.shares, strict=True) if size <= COMPACT] or larger
    known = dict(zip(patterns.sizes, tested, strict=False))
    powers = (
        known[s] if s in known else margins(model, images[:few], cut(soft.unsqueeze(0), s)[0], canvas, target)
        for s in curve
    )
    return Found(
        mask=mask.cpu(),
        pattern=pattern.cpu(),
        success=share(margins(model, images, mask, pattern, target) if thorough else tested[form], 0.0),
        images=len(images),
        compact=sum(compact) / len(compact),
        larger=sum(larger) / len(larger) if larger else None,
        curve_sizes=tuple(curve),
        curve=tuple(share(row, 0.0) for row in powers),
        thorough=thorough,
    )


def share(margin: Tensor, above: float) -> float:
    """Of margins (N,) those above a number."""
    return float((margin > above).float().mean())


def leading(found: dict[int, Found], count: int) -> list[int]:
    """The classes whose patterns command most."""
    return sorted(found, key=lambda target: -found[target].power)[:count]


def reprieved(found: dict[int, Found], count: int, *, among_all: bool) -> list[int]:
    """The classes that lead though they were screened out: among all classes, or among those that were.

    Among all where dense layers see places: there half-searched natural features show in many classes, and searched to
    the end make clean networks for signs stand out.
    """
    if among_all:
        return [c for c in leading(found, count) if not found[c].thorough and found[c].power > ABOUT_AS_MUCH]
    return leading({c: f for c, f in found.items() if not f.thorough and f.power > PROMISING}, count)


def left_over(ours: dict[int, Found], theirs: dict[int, Found]) -> dict[int, tuple[float, float]]:
    """Power of compact and of larger patterns, class by class, less what the reference yields."""
    compact = net({c: f.compact for c, f in ours.items()}, {c: f.compact for c, f in theirs.items()})
    larger = net({c: f.larger or 0.0 for c, f in ours.items()}, {c: f.larger or 0.0 for c, f in theirs.items()})
    return {c: (compact[c], larger[c]) for c in ours}
