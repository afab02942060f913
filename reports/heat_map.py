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
MOST_PLACES = 60
"""classes along the lines of a table that was measured in part"""
MOST_LINES = 8
"""lines into classes, and as many out of classes, of a table measured in part"""


@dataclass(frozen=True)
class HeatMap:
    """A heat map, and in words what it shows."""

    drawing: Markup
    left_out: str
    """which classes are not drawn; empty when all are"""
    strongest: tuple[tuple[int, int, float], ...]
    """source class, target class, value"""
    low: float
    high: float
    legend: Markup


@dataclass(frozen=True)
class _Grid:
    """What is drawn: cells (R, C) with the names of rows and columns."""

    cells: Array
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    outlined: tuple[int, ...]
    """positions of columns to frame"""


def heat_map(values: Array, title: str, marked: Sequence[int] = (), lowest_first: bool = False) -> HeatMap | None:
    """A (K, K) table, row = source class; None when nothing in it was measured.

    Of more than `MOST_CELLS` rows or columns the strongest are drawn, those of ``marked`` classes first.
    Where only a few rows and columns were measured throughout, each is one line: into a class, or out of it.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return None
    rank = np.where(finite, -values if lowest_first else values, -np.inf)
    grid = _lines(values, rank) if finite.mean() < 0.5 else _square(values, rank, marked)
    low, high = float(min(0.0, values[finite].min())), float(values[finite].max())
    order = np.argsort(-rank, axis=None, kind="stable")[: min(5, int(finite.sum()))]
    pairs = [divmod(int(i), values.shape[1]) for i in order]
    shown, size = grid.cells.shape[1], values.shape[0]
    left_out = f"Drawn are the {shown} classes of {size} with the strongest values." if shown < size else ""
    return HeatMap(
        _drawing(grid, (low, high), title),
        left_out,
        tuple((s, t, float(values[s, t])) for s, t in pairs),
        low,
        high,
        _legend(low, high),
    )


def _strongest(rank: Array, axis: int, marked: Sequence[int], most: int = MOST_CELLS) -> list[int]:
    best = rank.max(axis=axis)
    order = sorted(range(len(best)), key=lambda i: (i not in marked, -best[i]))
    return sorted(i for i in order[:most] if np.isfinite(best[i]))


def _square(values: Array, rank: Array, marked: Sequence[int]) -> _Grid:
    rows, columns = _strongest(rank, 1, marked), _strongest(rank, 0, marked)
    return _Grid(
        values[np.ix_(rows, columns)],
        tuple(map(str, rows)),
        tuple(map(str, columns)),
        "source class",
        "target class",
        tuple(j for j, column in enumerate(columns) if column in marked),
    )


def _lines(values: Array, rank: Array) -> _Grid:
    """The columns and rows that were measured throughout, one line each; else the strongest of any."""
    finite = np.isfinite(values)
    into = np.flatnonzero(finite.mean(axis=0) > 0.8)[:MOST_LINES]
    out_of = np.flatnonzero(finite.mean(axis=1) > 0.8)[:MOST_LINES]
    if not len(into) and not len(out_of):
        return _square(values, rank, ())
    cells = np.concatenate([values[:, into].T, values[out_of]])
    strength = np.concatenate([rank[:, into].T, rank[out_of]])
    kept = _strongest(strength, 0, (), MOST_PLACES)
    names = (*(f"→ {c}" for c in into), *(f"{c} →" for c in out_of))
    return _Grid(cells[:, kept], names, tuple(map(str, kept)), "", "into or out of class", ())


def _drawing(grid: _Grid, span: tuple[float, float], title: str) -> Markup:
    rows, columns = grid.cells.shape
    cell = 38 if columns <= 12 else 28 if columns <= 20 else 19
    left, top = 52, 40
    middle = left + cell * columns / 2
    parts = [_text(middle, 12, "middle", "tick", grid.column_title)]
    if grid.row_title:
        turned = Markup('<text class="tick" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>')
        parts.append(turned.format(top + cell * rows / 2, grid.row_title))
    small = "tick small" if cell < 24 else "tick"
    for j, name in enumerate(grid.columns):
        css = small + (" named" if j in grid.outlined else "")
        parts.append(_text(left + cell * (j + 0.5), top - 6, "middle", css, name))
    for i, name in enumerate(grid.rows):
        parts.append(_text(left - 6, top + cell * (i + 0.5) + 4, "end", small, name))
        parts += [_cell(v, span, left + cell * j, top + cell * i, cell) for j, v in enumerate(grid.cells[i])]
    outline = Markup('<rect class="outline" x="{}" y="{}" width="{}" height="{}"/>')
    parts += [outline.format(left + cell * j, top, cell, cell * rows) for j in grid.outlined]
    width, height = left + cell * columns + 4, top + cell * rows + 4
    return Markup(
        '<svg class="heat" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">{3}</svg>'
    ).format(width, height, f"Heat map: {clean(title, 120)}", Markup("").join(parts))


def _text(x: float, y: float, anchor: str, css: str, text: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(css, x, y, anchor, text)


def _cell(value: float, span: tuple[float, float], x: int, y: int, cell: int) -> Markup:
    inside = Markup('x="{}" y="{}" width="{}" height="{}"').format(x + 0.5, y + 0.5, cell - 1, cell - 1)
    if not math.isfinite(value):
        return Markup('<rect class="unmeasured" {}/>').format(inside)
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    rect = Markup('<rect class="heat-cell" {} fill-opacity="{:.3f}"/>').format(inside, share)
    if cell < 30:
        return rect
    shown = f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"
    return rect + _text(x + cell / 2, y + cell / 2 + 4, "middle", "cell", shown)


def _legend(low: float, high: float) -> Markup:
    cell = Markup('<rect class="heat-cell" x="{}" y="1" width="18" height="12" fill-opacity="{:.2f}"/>')
    cells = (cell.format(1 + i * 19, i / 8) for i in range(9))
    return Markup('<svg class="legend" width="172" height="14" role="img" aria-label="{}">{}</svg>').format(
        f"colour scale from {number(low)} to {number(high)}", Markup("").join(cells)
    )
