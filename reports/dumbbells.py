"""Two p-values on one line as inline SVG: hollow for the first audit, filled for the second, the level dashed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

HEIGHT = 26
FEWEST_DECADES, MOST_DECADES = 3, 8
"""of the axis, from 1 down; smaller p-values are drawn at its end"""
INSET = 2.0
"""per cent of the width that is kept free at either end, so that no dot is cut"""


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of p-values, from 1 at the left to 10^−decades at the right."""

    decades: int
    levels: tuple[float, ...]
    """below which a statistic stands out: one, or each audit's own"""

    def at(self, p: float) -> float:
        """Position of ``p`` in per cent of the width."""
        decades = min(float(self.decades), max(0.0, -math.log10(p))) if p > 0 else float(self.decades)
        return INSET + (100 - 2 * INSET) * decades / self.decades

    @property
    def ticks(self) -> tuple[float, ...]:
        """Powers of ten, every second one on a long axis."""
        return tuple(10.0**-k for k in range(0, self.decades + 1, 1 if self.decades <= 4 else 2))


def axis(p_values: Sequence[float], levels: Sequence[float]) -> Axis:
    """The axis that holds all p-values and levels, within its limits."""
    smallest = min([p for p in (*p_values, *levels) if p > 0], default=1.0)
    decades = math.ceil(-math.log10(smallest) - 1e-9)
    return Axis(min(MOST_DECADES, max(FEWEST_DECADES, decades)), tuple(sorted(set(levels))))


def dumbbell(on: Axis, first: float | None, second: float | None, *, marked: tuple[bool, bool]) -> Markup:
    """One statistic; ``marked`` tells for each audit whether it stands out. Nothing is drawn for None."""
    parts = [Markup('<line class="grid" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>').format(on.at(t), HEIGHT)
             for t in on.ticks]  # fmt: skip
    parts += [Markup('<line class="limit" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>').format(on.at(level), HEIGHT)
              for level in on.levels]  # fmt: skip
    middle = HEIGHT / 2
    if first is not None and second is not None:
        line = Markup('<line class="way" x1="{:.2f}%" x2="{:.2f}%" y1="{:g}" y2="{:g}"/>')
        parts.append(line.format(on.at(first), on.at(second), middle, middle))
    for p, css, radius, out in ((first, "before", 6, marked[0]), (second, "after", 4.5, marked[1])):
        if p is not None:
            dot = Markup('<circle class="dot {}{}" cx="{:.2f}%" cy="{:g}" r="{}"/>')
            parts.append(dot.format(css, " marked" if out else "", on.at(p), middle, radius))
    return _svg(Markup("").join(parts), HEIGHT)


def axis_names(on: Axis) -> Markup:
    """The ticks in words, to stand under the drawings."""
    text = Markup('<text class="tick" x="{:.2f}%" y="13" text-anchor="middle">{}</text>')
    return _svg(Markup("").join(text.format(on.at(t), _power(t)) for t in on.ticks), 18)


def _power(p: float) -> str:
    exponent = round(-math.log10(p))
    return f"{p:g}" if exponent <= 3 else f"10⁻{'⁰¹²³⁴⁵⁶⁷⁸⁹'[exponent]}"


def _svg(body: Markup, height: int) -> Markup:
    return Markup('<svg class="row" width="100%" height="{}" aria-hidden="true">{}</svg>').format(height, body)
