"""Charts as inline SVG: bars with a limit, a distribution strip, curves.

Positions are percentages of the width, so that a chart fits a phone and a page while its type keeps its size.
Every text is cleaned and escaped here; colours come from the style sheet, by class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.findings import Curve

from .wording import clean, number

ROW_HEIGHT = 24

Placing = Callable[[float], float]
"""from a value to its position on the x axis in per cent"""


@dataclass(frozen=True)
class Scale:
    """A linear axis from ``low`` to ``high`` with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Position of ``value`` in per cent of the axis, within 0 and 100."""
        span = self.high - self.low
        return min(100.0, max(0.0, 100 * (value - self.low) / span)) if span else 0.0


def nice_scale(values: Sequence[float], ticks: int = 4) -> Scale:
    """The axis from zero (or the lowest value, if negative) past the highest finite value, in round steps."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    if high <= low:
        high = low + 1.0
    raw = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, tuple(round(i * step, 12) for i in range(first, last + 1)))


@dataclass(frozen=True)
class BarRow:
    """One bar: a name, its number, the drawing."""

    name: str
    value: str
    drawing: Markup
    stands_out: bool


@dataclass(frozen=True)
class Bars:
    """A bar chart as rows of a table, with the axis under them."""

    rows: tuple[BarRow, ...]
    axis: Markup
    label: str
    limit: str
    """what the dashed line means; empty without one"""
    left_out: int
    strip: Markup | None
    """every class as a tick on the same axis, where some bars were left out"""


def bars(
    names: Sequence[str],
    values: Sequence[float],
    *,
    label: str,
    limit: float | None = None,
    limit_text: str = "",
    marked: Sequence[int] = (),
    most: int = 15,
    lowest_first: bool = False,
) -> Bars:
    """Bars in falling order (rising with ``lowest_first``), at most ``most`` of them; NaN is left out."""
    known = [i for i, v in enumerate(values) if math.isfinite(v)]
    order = sorted(known, key=lambda i: (values[i] if lowest_first else -values[i], i))
    limit = limit if limit is not None and math.isfinite(limit) else None
    scale = nice_scale([*(values[i] for i in known), *([limit] if limit is not None else [])])
    shown = order[: most if len(order) > most + 5 else len(order)]
    rows = tuple(
        BarRow(names[i], number(values[i]), _bar(scale, values[i], limit, i in marked), i in marked) for i in shown
    )
    strip = _strip(scale, [values[i] for i in order], limit, [values[i] for i in known if i in marked])
    left_out = len(order) - len(shown)
    text = limit_text if limit is not None else ""
    return Bars(rows, _axis(scale), label, text, left_out, strip if left_out else None)


def _grid(scale: Scale, height: int) -> Markup:
    lines = (
        Markup('<line class="grid" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>').format(scale.at(t), height)
        for t in scale.ticks
    )
    return Markup("").join(lines)


def _limit_line(scale: Scale, limit: float | None, height: int) -> Markup:
    if limit is None:
        return Markup("")
    line = Markup('<line class="limit" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>')
    return line.format(scale.at(limit), height)


def _svg(body: Markup, height: int, css: str) -> Markup:
    return Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>').format(css, height, body)


def _bar(scale: Scale, value: float, limit: float | None, marked: bool) -> Markup:
    start, end = sorted((scale.at(0.0), scale.at(value)))
    bar = Markup('<rect class="{}" x="{:.2f}%" y="5" width="{:.2f}%" height="14" rx="1.5"/>').format(
        "bar marked" if marked else "bar", start, max(end - start, 0.3) if value else 0.0
    )
    return _svg(_grid(scale, ROW_HEIGHT) + bar + _limit_line(scale, limit, ROW_HEIGHT), ROW_HEIGHT, "row")


def _anchor(position: float) -> str:
    return "start" if position < 4 else "end" if position > 96 else "middle"


def _axis(scale: Scale) -> Markup:
    texts = (
        Markup('<text class="tick" x="{:.2f}%" y="14" text-anchor="{}">{}</text>').format(
            scale.at(t), _anchor(scale.at(t)), number(t)
        )
        for t in scale.ticks
    )
    return _svg(Markup("").join(texts), 20, "row")


def _strip(scale: Scale, values: Sequence[float], limit: float | None, marked: Sequence[float]) -> Markup:
    tick = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="40"/>')
    thin = (tick.format("rug", scale.at(v), scale.at(v), 18) for v in values)
    thick = (tick.format("rug marked", scale.at(v), scale.at(v), 6) for v in marked)
    body = _grid(scale, 40) + Markup("").join(thin) + Markup("").join(thick) + _limit_line(scale, limit, 40)
    return _svg(body, 40, "row")


def curves(lines: Sequence[tuple[Curve, bool]]) -> Markup:
    """Curves of one kind on shared axes: (curve, whether it is drawn strong).

    x is logarithmic when it spans a factor of ten or more. Empty when no curve has two finite points.
    """
    points = [(finite(curve), strong) for curve, strong in lines]
    points = sorted((entry for entry in points if len(entry[0]) > 1), key=lambda entry: entry[1])
    if not points:
        return Markup("")
    xs = sorted({x for pairs, _ in points for x, _ in pairs})
    across, up = placing(xs), nice_scale([y for pairs, _ in points for _, y in pairs])
    drawn = []
    for pairs, strong in points:
        path = " ".join(f"{10 * across(x):.1f},{200 - 2 * up.at(y):.1f}" for x, y in pairs)
        css = "curve strong" if strong else "curve"
        drawn.append(Markup('<polyline class="{}" points="{}"/>').format(css, path))
    first = lines[0][0]
    inner = Markup(
        '<svg x="0" y="10" width="100%" height="200" viewBox="0 0 1000 200" '
        'preserveAspectRatio="none" overflow="visible">{}</svg>'
    ).format(Markup("").join(drawn))
    return Markup(
        '<div class="plot"><svg class="levels" width="44" height="236" aria-hidden="true">{}</svg>'
        '<svg class="area" width="100%" height="236" role="img" aria-label="{}">{}{}{}</svg></div>'
    ).format(
        levels(up, "levels"),
        f"{clean(first.y_unit, 80)} against {clean(first.x_unit, 80)}, {len(points)} curves",
        levels(up, "area"),
        inner,
        places(xs, across, "pixel" in first.x_unit and first.x_unit.startswith("share")),
    )


def placing(xs: Sequence[float], may_be_log: bool = True) -> Placing:
    """Position on the x axis in per cent, logarithmic for a wide range of positive values."""
    log = may_be_log and xs[0] > 0 and xs[-1] / xs[0] >= 10
    low, high = (math.log(xs[0]), math.log(xs[-1])) if log else (xs[0], xs[-1])
    return lambda x: 100 * ((math.log(x) if log else x) - low) / ((high - low) or 1.0)


def levels(up: Scale, part: str) -> Markup:
    """Names of the y ticks, or the lines across the plot."""
    text = Markup('<text class="tick" x="36" y="{:.1f}" text-anchor="end">{}</text>')
    line = Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>')
    if part == "levels":
        return Markup("").join(text.format(214 - 2 * up.at(t), number(t)) for t in up.ticks)
    return Markup("").join(line.format(210 - 2 * up.at(t)) for t in up.ticks)


def places(xs: Sequence[float], across: Placing, shares: bool) -> Markup:
    """Names of up to seven x ticks, as percentages for shares of the pixels."""
    ticks = xs if len(xs) <= 7 else [xs[round(i * (len(xs) - 1) / 5)] for i in range(6)]
    text = Markup('<text class="tick" x="{:.2f}%" y="229" text-anchor="{}">{}</text>')
    return Markup("").join(
        text.format(across(x), _anchor(across(x)), f"{100 * x:.3g}%" if shares else number(x)) for x in ticks
    )


def finite(curve: Curve) -> list[tuple[float, float]]:
    """The points of a curve that are finite, by x."""
    pairs = zip(curve.x, curve.y, strict=False)
    return sorted((x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y))
