"""Two audits side by side as one self-contained page, under the same policy as the page of one audit (`page`)."""

from __future__ import annotations

import math
from typing import Any

from auditor.comparing import Comparison, Shift
from auditor.findings import Audit

from . import dumbbells, figures, page, side_by_side, wording
from .sections import Figure


def render(comparison: Comparison) -> str:
    """The HTML page as text."""
    audits = (comparison.first, comparison.second)
    rows = _drawn(comparison)
    quiet = [row for row in rows if row["row"].shift is Shift.QUIET]
    return page.template("comparison.html").render(
        c=comparison,
        **page.style("report.css", "comparison.css"),
        word=side_by_side.CHANGE_WORDS[comparison.change],
        sides=[_side(name, audit) for name, audit in zip(("First audit", "Second audit"), audits, strict=True)],
        difference=side_by_side.score_difference(comparison),
        moves=side_by_side.moves(comparison),
        rows=[row for row in rows if row["row"].shift is not Shift.QUIET],
        quiet=quiet,
        axis=dumbbells.axis_names(_axis(comparison)),
        level=" and ".join(wording.number(level) for level in _axis(comparison).levels[::-1]),
        facts=side_by_side.facts(comparison),
        files=side_by_side.same_files(comparison),
        limits=side_by_side.LIMITS,
    )


def _side(name: str, audit: Audit) -> dict[str, Any]:
    return {
        "name": name,
        "audit": audit,
        "word": wording.VERDICT_WORDS[audit.verdict],
        "targets": side_by_side.named(audit),
        "trigger": wording.trigger_sentence(audit, audit.trigger) if audit.trigger else "",
        "pictures": _pictures(audit),
    }


def _pictures(audit: Audit) -> list[Figure]:
    """The trigger on grey, enlarged where it is small, and whole."""
    trigger = audit.trigger
    if trigger is None:
        return []
    shown = figures.on_grey(trigger)
    whole = [Figure("whole image", figures.data_uri(shown))]
    if figures.window(trigger) is None:
        return whole
    return [Figure("enlarged", figures.data_uri(figures.detail(trigger, shown))), *whole]


def _axis(comparison: Comparison) -> dumbbells.Axis:
    found = [side_by_side.finite_p(e) for pair in comparison.statistics for e in (pair.first, pair.second)]
    levels = [audit.family_wise_level for audit in (comparison.first, comparison.second)]
    return dumbbells.axis([p for p in found if p is not None], [x for x in levels if math.isfinite(x) and x > 0])


def _drawn(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of the table, each with its drawing."""
    axis = _axis(comparison)
    return [
        {
            "row": row,
            "drawing": dumbbells.dumbbell(
                axis,
                side_by_side.finite_p(pair.first),
                side_by_side.finite_p(pair.second),
                marked=(bool(row.first.classes), bool(row.second.classes)),
            ),
        }
        for row, pair in zip(side_by_side.rows(comparison), comparison.statistics, strict=True)
    ]
