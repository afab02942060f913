"""Named lines on shared axes, told apart by dashes and not by colour, with their spread as a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.findings import Curve

from . import charts
from .wording import clean, number

STYLES = ("solid", "dashed", "dotted", "dashdot")


@dataclass(frozen=True)
class Line:
    """One entry of the key."""

    name: str
    sample: Markup


@dataclass(frozen=True)
class Lines:
    """A drawing with its key and its axes."""

    drawing: Markup
    key: tuple[Line, ...]
    x_unit: str
    y_unit: str


def lines(curves: Sequence[Curve]) -> Lines | None:
    """Curves of one pair of axes; None when none has two finite points. Marks at each point, bands for the spread."""
    drawn = [(c, charts.finite(c)) for c in curves]
    drawn = [(c, points) for c, points in drawn if len(points) > 1]
    if not drawn:
        return None
    xs = sorted({x for _, points in drawn for x, _ in points})
    across, up = charts.placing(xs, may_be_log=False), charts.nice_scale([y for _, points in drawn for _, y in points])
    bands, strokes = [], []
    for number_of, (curve, points) in enumerate(drawn):
        style = STYLES[number_of % len(STYLES)]
        at = [(10 * across(x), 200 - 2 * up.at(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        strokes.append(Markup('<polyline class="line {}" points="{}"/>').format(style, path))
        if len(curve.spread) == len(curve.y):
            bands.append(_band(curve, across, up, style))
    inner = Markup(
        '<svg x="0" y="10" width="100%" height="200" viewBox="0 0 1000 200" '
        'preserveAspectRatio="none" overflow="visible">{}</svg>'
    ).format(Markup("").join([*bands, *strokes]))
    first = drawn[0][0]
    drawing = Markup(
        '<div class="plot"><svg class="levels" width="44" height="236" aria-hidden="true">{}</svg>'
        '<svg class="area" width="100%" height="236" role="img" aria-label="{}">{}{}{}</svg></div>'
    ).format(
        charts.levels(up, "levels"),
        described([c for c, _ in drawn]),
        charts.levels(up, "area"),
        inner,
        charts.places(xs, across, False),
    )
    key = tuple(Line(clean(c.title, 80), _sample(STYLES[i % len(STYLES)])) for i, (c, _) in enumerate(drawn))
    return Lines(drawing, key, first.x_unit, first.y_unit)


def described(curves: Sequence[Curve]) -> str:
    """The curves in words, for those who do not see them: where each begins and ends."""
    told = []
    for curve in curves:
        points = charts.finite(curve)
        (x0, y0), (x1, y1) = points[0], points[-1]
        told.append(f"{clean(curve.title, 80)} goes from {number(y0)} at {number(x0)} to {number(y1)} at {number(x1)}")
    first = curves[0]
    return f"{clean(first.y_unit, 80)} against {clean(first.x_unit, 80)}: {'; '.join(told)}"


def _band(curve: Curve, across: charts.Placing, up: charts.Scale, style: str) -> Markup:
    spread = dict(zip(curve.x, curve.spread, strict=True))
    points = charts.finite(curve)
    over = [(10 * across(x), 200 - 2 * up.at(y + spread[x])) for x, y in points]
    under = [(10 * across(x), 200 - 2 * up.at(y - spread[x])) for x, y in reversed(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*over, *under))
    return Markup('<polygon class="band {}" points="{}"/>').format(style, path)


def _sample(style: str) -> Markup:
    return Markup(
        '<svg class="dash" width="34" height="10" aria-hidden="true">'
        '<line class="line {}" x1="0" x2="34" y1="5" y2="5"/></svg>'
    ).format(style)
