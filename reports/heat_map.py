"""A source × target table as a heat map in inline SVG; the strongest cells also in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from auditor.findings import Array

from .wording import clean, number

MOST_CELLS = 40
"""rows and columns that are drawn"""


@dataclass(frozen=True)
class HeatMap:
    """A heat map, and in words what it shows."""

    drawing: Markup
    rows: int
    columns: int
    size: int
    """K"""
    strongest: tuple[tuple[int, int, float], ...]
    """source class, target class, value"""
    low: float
    high: float
    legend: Markup


def heat_map(
    values: Array, title: str, marked: Sequence[int] = (), lowest_first: bool = False
) -> HeatMap | None:
    """The measured rows and columns of a (K, K) table, the strongest `MOST_CELLS` of each, if any."""
    finite = np.isfinite(values)
    if not finite.any():
        return None
    rank = np.where(finite, -values if lowest_first else values, -np.inf)
    rows, columns = _strongest_lines(rank, 1, marked), _strongest_lines(rank, 0, marked)
    low, high = float(min(0.0, values[finite].min())), float(values[finite].max())
    order = np.argsort(-rank, axis=None, kind="stable")[: min(5, int(finite.sum()))]
    pairs = [divmod(int(i), values.shape[1]) for i in order]
    return HeatMap(
        _heat_drawing(values, rows, columns, (low, high), title, marked),
        len(rows),
        len(columns),
        values.shape[0],
        tuple((s, t, float(values[s, t])) for s, t in pairs),
        low,
        high,
        _legend(low, high),
    )


def _strongest_lines(rank: Array, axis: int, marked: Sequence[int]) -> list[int]:
    best = rank.max(axis=axis)
    order = sorted(range(len(best)), key=lambda i: (i not in marked, -best[i]))
    return sorted(i for i in order[:MOST_CELLS] if np.isfinite(best[i]))


def _heat_drawing(
    values: Array,
    rows: list[int],
    columns: list[int],
    span: tuple[float, float],
    title: str,
    marked: Sequence[int],
) -> Markup:
    n = max(len(rows), len(columns))
    cell = 38 if n <= 12 else 24 if n <= 20 else 15
    left, top = 46, 40
    parts = [
        Markup('<text class="tick" x="{}" y="12" text-anchor="middle">target class</text>').format(
            left + cell * len(columns) / 2
        ),
        Markup(
            '<text class="tick" transform="translate(11 {}) rotate(-90)" text-anchor="middle">'
            "source class</text>"
        ).format(top + cell * len(rows) / 2),
    ]
    small = "tick small" if cell < 20 else "tick"
    for j, column in enumerate(columns):
        css = small + (" named" if column in marked else "")
        parts.append(_cell_text(left + cell * (j + 0.5), top - 6, "middle", css, str(column)))
    for i, row in enumerate(rows):
        parts.append(_cell_text(left - 6, top + cell * (i + 0.5) + 4, "end", small, str(row)))
        for j, column in enumerate(columns):
            parts.append(_cell(values[row, column], span, left + cell * j, top + cell * i, cell))
    for j, column in enumerate(columns):
        if column in marked:
            outline = Markup('<rect class="outline" x="{}" y="{}" width="{}" height="{}"/>')
            parts.append(outline.format(left + cell * j, top, cell, cell * len(rows)))
    width, height = left + cell * len(columns) + 4, top + cell * len(rows) + 4
    return Markup(
        '<svg class="heat" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
        "{3}</svg>"
    ).format(width, height, f"Heat map: {clean(title, 120)}", Markup("").join(parts))


def _cell_text(x: float, y: float, anchor: str, css: str, text: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, text
    )


def _cell(value: float, span: tuple[float, float], x: int, y: int, cell: int) -> Markup:
    inside = Markup('x="{}" y="{}" width="{}" height="{}"').format(x + 0.5, y + 0.5, cell - 1, cell - 1)
    if not math.isfinite(value):
        return Markup('<rect class="unmeasured" {}/>').format(inside)
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    rect = Markup('<rect class="heat-cell" {} fill-opacity="{:.3f}"/>').format(inside, share)
    if cell < 30:
        return rect
    return rect + _cell_text(x + cell / 2, y + cell / 2 + 4, "middle", "cell", f"{value:.2g}")


def _legend(low: float, high: float) -> Markup:
    cells = (
        Markup('<rect class="heat-cell" x="{}" y="0" width="18" height="12" fill-opacity="{:.2f}"/>').format(
            i * 19, i / 8
        )
        for i in range(9)
    )
    return Markup('<svg class="legend" width="171" height="12" role="img" aria-label="{}">{}</svg>').format(
        f"colour scale from {number(low)} to {number(high)}", Markup("").join(cells)
    )
