"""What the page shows of each detector: its evidence as bars, its exhibits, its numbers and settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from markupsafe import Markup

from auditor.archive import class_values, outcome_status
from auditor.findings import Audit, Curve, Evidence, Matrix, Measurement, Outcome, Picture

from . import charts, figures, wording
from .heat_map import HeatMap, heat_map

OTHER_ROWS = 12
"""classes beside the leading ones whose pictures are shown"""
TABLE_ROWS = 60
"""measurements listed one by one"""


@dataclass(frozen=True)
class Figure:
    """An embedded picture with its caption."""

    caption: str
    uri: Markup


@dataclass(frozen=True)
class PictureRow:
    """The pictures of one class (pair, model)."""

    name: str
    pictures: tuple[Figure, ...]


@dataclass(frozen=True)
class Plot:
    """Curves on shared axes."""

    title: str
    drawing: Markup
    x_unit: str
    y_unit: str
    strong: str
    others: int


@dataclass(frozen=True)
class MatrixView:
    """A heat map with what it is of."""

    title: str
    unit: str
    map: HeatMap
    pairs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Section:
    """One detector on the page."""

    name: str
    statistic: str
    unit: str
    status: str
    stands_out: bool
    question: str
    answer: str
    note: str
    bars: tuple[charts.Bars, ...]
    matrices: tuple[MatrixView, ...]
    plots: tuple[Plot, ...]
    leading: tuple[PictureRow, ...]
    others: tuple[PictureRow, ...]
    header: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    table_left_out: int
    settings: tuple[tuple[str, str], ...]
    measured: str


def detector_sections(audit: Audit) -> list[Section]:
    """One section a detector, in the order in which they ran."""
    return [_section(audit, outcome) for outcome in audit.outcomes]


def _section(audit: Audit, outcome: Outcome) -> Section:
    found = wording.of_detector(audit, outcome)
    ranked = _ranked(outcome)
    marked = sorted({c for e in found if e.stands_out for c in e.target_classes})
    leading = [m for m in ranked if m.target_class in marked][:6] or ranked[:1]
    others = [m for m in ranked if not _among(m, leading)]
    header, table = _table(audit, outcome, ranked[:TABLE_ROWS])
    return Section(
        name=outcome.detector,
        statistic=outcome.statistic.name,
        unit=outcome.statistic.unit,
        status=outcome_status(outcome),
        stands_out=any(e.stands_out for e in found),
        question=wording.asked(outcome),
        answer=wording.saw(audit, outcome, found),
        note="" if outcome.skipped else outcome.note,
        bars=tuple(_all_bars(audit, outcome, found)),
        matrices=tuple(_matrices(audit, outcome, marked)),
        plots=tuple(plots(audit, outcome, leading)),
        leading=tuple(_picture_rows(audit, leading)),
        others=tuple(islice(_picture_rows(audit, others), OTHER_ROWS)),
        header=header,
        table=table,
        table_left_out=max(0, len(ranked) - TABLE_ROWS),
        settings=tuple((name, wording.setting(value)) for name, value in outcome.settings.items()),
        measured=f"{len(outcome.measurements)} of {outcome.expected} measurements",
    )


def _ranked(outcome: Outcome) -> list[Measurement]:
    sign = -1 if outcome.statistic.suspicious == "high" else 1
    return sorted(outcome.measurements, key=lambda m: sign * m.value if math.isfinite(m.value) else math.inf)


def _class_names(audit: Audit, count: int) -> list[str]:
    return [wording.class_name(audit, c) if audit.labels else f"class {c}" for c in range(count)]


def _among(m: Measurement, chosen: Sequence[Measurement]) -> bool:
    return any(m is other for other in chosen)


def _all_bars(audit: Audit, outcome: Outcome, found: Sequence[Evidence]) -> Iterable[charts.Bars]:
    low = outcome.statistic.suspicious == "low"
    unit = f"{outcome.statistic.name} ({outcome.statistic.unit})"
    if outcome.statistic.per in ("pair", "source"):
        unit += f", strongest {outcome.statistic.per} into each target class"
    values = class_values(outcome, audit.model.num_classes)
    for e in (_upright(e, values) for e in found):
        scores = list(e.scores)
        limit, text = class_limit(e, low)
        if scores:
            same = len(scores) == len(values) and np.allclose(scores, values, rtol=1e-4, equal_nan=True)
            label = unit if same else f"score by class, ranked for: {e.statistic}"
            names = _class_names(audit, len(scores))
            marked = e.target_classes if e.stands_out else ()
            yield charts.bars(names, scores, label=label, limit=limit, limit_text=text, marked=marked, lowest_first=low)
        if limit is None and (math.isfinite(e.threshold) or not scores):
            yield charts.bars(
                [e.statistic],
                [e.value],
                label="judged value",
                limit=e.threshold,
                limit_text=f"threshold {wording.number(e.threshold)}",
                marked=(0,) if e.stands_out else (),
            )
    if not any(e.scores for e in found) and any(map(math.isfinite, values)):
        names = _class_names(audit, len(values))
        yield charts.bars(names, values, label=unit, lowest_first=low)


def _upright(e: Evidence, values: Sequence[float]) -> Evidence:
    """Where low values are suspicious their negatives may have been ranked: then the scores as measured."""
    if not e.scores or len(e.scores) != len(values):
        return e
    mirrored = np.allclose(e.scores, -np.asarray(values), rtol=1e-4, equal_nan=True)
    return replace(e, scores=tuple(-s for s in e.scores)) if mirrored else e


def class_limit(e: Evidence, low: bool = False) -> tuple[float | None, str]:
    """Where the threshold lies among the per-class scores, and what that line means, if at all.

    Either the judged value is itself a class's score, or it rests on the step (divided by the number of leaders)
    from the leading classes down to the next one, alone or as a prominence (the root of step times height); then
    the line is where the leaders had to end.
    """
    scores = dict(enumerate(e.scores))
    leaders = [scores[c] for c in e.target_classes if c in scores]
    rest = [v for c, v in scores.items() if c not in e.target_classes]
    if not leaders or not math.isfinite(e.threshold):
        return None, ""
    worst, best = (max, min) if low else (min, max)
    edge = worst(leaders)
    close = 1e-4 * max(abs(v) for v in scores.values()) + 1e-9
    if abs(edge - e.value) <= close:
        return e.threshold, f"threshold {wording.number(e.threshold)}"
    if not rest:
        return None, ""
    nearest, sign, count = best(rest), -1 if low else 1, len(leaders)
    if e.statistic.startswith("prominence"):
        # √(step / leaders × height) reaches the threshold where x·(x − next)/leaders = threshold²
        limit = (nearest + math.sqrt(nearest**2 + 4 * count * e.threshold**2)) / 2
        return limit, f"what stands out has to reach {wording.number(limit)}, given the next class"
    if abs(sign * (edge - nearest) / count - e.value) > close:
        return None, ""
    limit = nearest + sign * count * e.threshold
    step = wording.number(count * e.threshold)
    side = "below" if low else "above"
    return (
        limit,
        f"what stands out has to end past {wording.number(limit)}, which is {step} {side} the next class",
    )


def _name(audit: Audit, m: Measurement, per: str) -> str:
    if per == "model":
        return "the model"
    target = wording.class_name(audit, m.target_class)
    return target if m.source_class is None else f"{wording.class_name(audit, m.source_class)} → {target}"


def _table(
    audit: Audit, outcome: Outcome, rows: Sequence[Measurement]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    extras = list(dict.fromkeys(key for m in rows for key in m.extras))[:6]
    heads = {"class": "class", "source": "source → answer", "pair": "source → target", "model": "of"}
    first = heads[outcome.statistic.per]
    triggered = any(m.trigger for m in rows)
    header = (first, outcome.statistic.name, *extras, *(("trigger's success",) if triggered else ()))
    table = []
    for m in rows:
        cells = [_name(audit, m, outcome.statistic.per), wording.number(m.value)]
        cells += [wording.number(m.extras.get(key)) for key in extras]
        if triggered:
            cells.append(wording.percent(m.trigger.success_rate) if m.trigger else "–")
        table.append(tuple(cells))
    return header, tuple(table)


def _matrices(audit: Audit, outcome: Outcome, marked: Sequence[int]) -> Iterable[MatrixView]:
    seen: set[tuple[str, bytes]] = set()
    low = outcome.statistic.suspicious == "low"
    for m in outcome.measurements:
        for exhibit in m.exhibits:
            if not isinstance(exhibit, Matrix):
                continue
            key = (exhibit.title, exhibit.values.tobytes())
            drawn = None if key in seen else heat_map(exhibit.values, exhibit.title, marked, low)
            seen.add(key)
            if drawn is not None:
                pairs = tuple(
                    (wording.class_name(audit, s), wording.class_name(audit, t), wording.number(v))
                    for s, t, v in drawn.strongest
                )
                yield MatrixView(exhibit.title, exhibit.unit, drawn, pairs)


def plots(audit: Audit, outcome: Outcome, leading: Sequence[Measurement]) -> Iterable[Plot]:
    """The curves of an outcome on shared axes, those of ``leading`` drawn strong."""
    groups: dict[tuple[int, str, str], list[tuple[Measurement, Curve]]] = {}
    for m in outcome.measurements:
        for i, curve in enumerate(e for e in m.exhibits if isinstance(e, Curve)):
            groups.setdefault((i, curve.x_unit, curve.y_unit), []).append((m, curve))
    for (_, x_unit, y_unit), lines in groups.items():
        strong = [m for m, _ in lines if _among(m, leading)]
        drawing = charts.curves([(curve, _among(m, leading)) for m, curve in lines])
        titles = {curve.title for _, curve in lines}
        names = ", ".join(_name(audit, m, outcome.statistic.per) for m in strong)
        if drawing:
            title = titles.pop() if len(titles) == 1 else outcome.statistic.name
            yield Plot(title, drawing, x_unit, y_unit, names, len(lines) - len(strong))


def _picture_rows(audit: Audit, measurements: Sequence[Measurement]) -> Iterable[PictureRow]:
    for m in measurements:
        pictures = [Figure(e.title, figures.data_uri(e.pixels)) for e in m.exhibits if isinstance(e, Picture)]
        if m.trigger is not None and not bool((m.trigger.mask > 0).all()):
            shown = figures.data_uri(figures.on_grey(m.trigger))
            if all(shown != picture.uri for picture in pictures):
                caption = f"recovered trigger, {wording.percent(m.trigger.success_rate)} success"
                pictures.append(Figure(caption, shown))
        if pictures:
            yield PictureRow(_name(audit, m, "class"), tuple(pictures))
