"""The page-like part on each class that stands out, and on the model as a whole: what explains the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auditor.explanations import Explanation, Panel
from auditor.findings import Audit, Curve

from . import explained, figures, wording
from .lines import Lines, lines
from .sections import Figure, PictureRow, Plot, plots


@dataclass(frozen=True)
class PanelView:
    """One panel on the page."""

    heading: str
    sentence: str
    strips: tuple[PictureRow, ...]
    charts: tuple[Lines, ...]
    facts: tuple[tuple[str, str], ...]
    note: str


@dataclass(frozen=True)
class Story:
    """All that is shown of one class, or of the model as a whole."""

    title: str
    lead: str
    plots: tuple[Plot, ...]
    panels: tuple[PanelView, ...]
    missing: tuple[str, ...]
    """panels that could not be drawn, and why"""
    cost: str


def stories(audit: Audit) -> list[Story]:
    """One story for each explanation, classes first."""
    return [_story(audit, e) for e in audit.explanations]


def _story(audit: Audit, e: Explanation) -> Story:
    name = explained.names_of(audit)
    return Story(
        title=title_of(e, name),
        lead=_lead(audit, e),
        plots=tuple(_power(audit, e)),
        panels=panel_views(e, name),
        missing=missing(e),
        cost=cost(e),
    )


def title_of(e: Explanation, name: explained.Names) -> str:
    """The heading of an explanation."""
    return "The model as a whole" if e.target_class is None else f"Class {name(e.target_class)} in detail"


def panel_views(e: Explanation, name: explained.Names) -> tuple[PanelView, ...]:
    """The panels that hold something."""
    return tuple(_view(e, panel, name) for panel in e.panels if panel.strips or panel.curves)


def missing(e: Explanation) -> tuple[str, ...]:
    """Panels that hold nothing, and why."""
    return tuple(
        f"{explained.heading(panel, e)}: {panel.note or 'nothing to show'}"
        for panel in e.panels
        if not (panel.strips or panel.curves)
    )


def cost(e: Explanation) -> str:
    """What the explanation took."""
    return f"{wording.passes(e.passes)} image passes in {wording.duration(e.seconds)}"


def _lead(audit: Audit, e: Explanation) -> str:
    if e.target_class is None:
        return "How the model answers when its images are disturbed, and what is left of the trigger then."
    compared = ""
    if e.compared_with is not None:
        compared = f", beside class {wording.class_name(audit, e.compared_with)}, which is inconspicuous"
    if audit.reference:
        compared += (", and" if compared else ", beside") + " the reference"
    why = {
        "stands out": "This class stands out; what follows shows what the network has learned of it",
        "most conspicuous": "Nothing stands out; this class comes nearest, and is shown for that reason alone",
    }
    return f"{why.get(e.role, 'This class was asked for')}{compared}."


def _power(audit: Audit, e: Explanation) -> Iterable[Plot]:
    """The class's predictive power over the pattern's size, against the other classes'."""
    for outcome in audit.outcomes if e.target_class is not None else ():
        mine = [m for m in outcome.measurements if m.target_class == e.target_class]
        if outcome.statistic.per == "class" and any(isinstance(x, Curve) for m in mine for x in m.exhibits):
            yield from plots(audit, outcome, mine)


def _view(e: Explanation, panel: Panel, name: explained.Names) -> PanelView:
    return PanelView(
        heading=explained.heading(panel, e),
        sentence=explained.sentence(panel, e, name),
        strips=tuple(
            PictureRow(
                wording.clean(strip.title, 80),
                tuple(Figure(p.title, figures.data_uri(p.pixels)) for p in strip.pictures),
            )
            for strip in panel.strips
        ),
        charts=tuple(_charts(panel)),
        facts=tuple((key, _share(value)) for key, value in panel.numbers.items()),
        note=panel.note,
    )


def _share(value: float) -> str:
    return wording.percent(value) if 0 <= value <= 1 else wording.number(value)


def _charts(panel: Panel) -> Iterable[Lines]:
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in panel.curves:
        groups.setdefault((curve.x_unit, curve.y_unit), []).append(curve)
    drawn = (lines(curves) for curves in groups.values())
    return [chart for chart in drawn if chart is not None]
