"""The audit in a terminal: verdict, reason, a line a statistic, warnings, the trigger as a small picture."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import numpy as np
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from auditor.archive import outcome_status
from auditor.findings import Audit, Evidence, Outcome, Verdict

from . import wording
from .figures import detail, on_grey

STYLES = {
    Verdict.NO_EVIDENCE: "bold green",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.SUSPICIOUS: "bold dark_orange",
    Verdict.BACKDOORED: "bold red",
}
MARKS = {
    Verdict.NO_EVIDENCE: "o",
    Verdict.INCONCLUSIVE: "?",
    Verdict.SUSPICIOUS: "!",
    Verdict.BACKDOORED: "X",
}
PICTURE_COLUMNS = 28


def render(audit: Audit, *, colour: bool = False, width: int = 100) -> str:
    """Text of the report, ending in a newline; with ``colour`` ANSI colours and the trigger's picture.

    Without ``colour`` the same audit always gives the same plain text. Every text of the audit is shown with
    its control characters escaped and is never read as markup.
    """
    out = StringIO()
    console = Console(
        file=out,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        no_color=not colour,
        width=max(width, 60),
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in _parts(audit, colour):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(audit: Audit, colour: bool) -> Iterator[RenderableType]:
    yield _head(audit)
    yield Padding(Text(wording.clean(audit.reason)), (0, 0, 1, 4))
    yield _table(audit, colour)
    if audit.trigger and colour:
        yield Padding(_picture(audit), (1, 0, 0, 4))
    if audit.trigger:
        yield Padding(Text("trigger  " + wording.trigger_sentence(audit, audit.trigger)), (1, 0, 0, 4))
    for warning in audit.warnings:
        yield Padding(Text.assemble(("warning  ", "yellow"), wording.clean(warning)), (1, 0, 0, 4))
    for outcome in audit.outcomes:
        if outcome.note and not outcome.complete:
            name, note = wording.clean(outcome.detector), wording.clean(outcome.note)
            line = f"{name} is {outcome_status(outcome)}: {note}"
            yield Padding(Text.assemble(("note     ", "yellow"), line), (1, 0, 0, 4))
    yield Padding(Text(_foot(audit), style="dim"), (1, 0, 0, 4))


def _head(audit: Audit) -> Text:
    head = Text.assemble(
        (f"[{MARKS[audit.verdict]}] {wording.VERDICT_WORDS[audit.verdict]}", STYLES[audit.verdict]),
        f"  {wording.clean(audit.model.name, 80)}",
    )
    if audit.target_classes:
        head.append(f"  target class {wording.class_list(audit, audit.target_classes)}")
    if audit.source_classes:
        head.append(f"  source class {wording.class_list(audit, audit.source_classes)}")
    head.append(f"  score {audit.score:.2f}")
    return head


def _foot(audit: Audit) -> str:
    reference = wording.clean(audit.reference.name, 80) if audit.reference else "none"
    return (
        f"reference: {reference}   images: {audit.images.count} ({wording.clean(audit.images.source, 80)})   "
        f"seed: {audit.provenance.seed}   {wording.passes(audit.image_passes)} image passes in "
        f"{wording.duration(audit.seconds)}   sha256 {wording.clean(audit.model.sha256, 64)[:12]}"
    )


def _table(audit: Audit, colour: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if colour else box.MARKDOWN, pad_edge=not colour, header_style="bold")
    for name in ("detector", "statistic", "stands out"):
        table.add_column(name, overflow="fold")
    for name in ("value", "threshold", "corrected p", "passes", "seconds"):
        table.add_column(name, justify="right", no_wrap=name not in ("corrected p",))
    for outcome in audit.outcomes:
        found = wording.of_detector(audit, outcome)
        for i, evidence in enumerate(found or [None]):
            _add_row(table, audit, outcome, evidence, first=i == 0)
    return table


def _add_row(table: Table, audit: Audit, outcome: Outcome, evidence: Evidence | None, *, first: bool) -> None:
    status = outcome_status(outcome)
    cells = [wording.clean(outcome.detector, 40) if first else ""]
    if evidence is None:
        cells += [
            wording.clean(outcome.statistic.name, 60),
            status if status != "complete" else "no",
            "–",
            "–",
            "–",
        ]
    else:
        who = "no"
        if evidence.stands_out:
            classes = wording.class_list(audit, evidence.target_classes, 3)
            who = f"class {classes}" if evidence.target_classes else "the model"
        elif status != "complete":
            who = status
        cells += [
            wording.clean(evidence.statistic, 60),
            who,
            wording.number(evidence.value),
            wording.number(evidence.threshold),
            wording.probability(evidence.corrected_p),
        ]
    cells += [wording.passes(outcome.passes), f"{outcome.seconds:.1f}"] if first else ["", ""]
    style = "bold" if evidence is not None and evidence.stands_out else ""
    table.add_row(*(Text(cell) for cell in cells), style=style)


def _picture(audit: Audit) -> Text:
    """The trigger on grey, two pixels a character (upper half block: foreground above, background below)."""
    assert audit.trigger is not None
    shown = detail(audit.trigger, on_grey(audit.trigger))
    step = max(1, -(-max(shown.shape[1:]) // PICTURE_COLUMNS))
    rows, columns = (size // step * step for size in shown.shape[1:])
    small = (
        shown[:, :rows, :columns]
        .reshape(shown.shape[0], rows // step, step, columns // step, step)
        .mean((2, 4))
    )
    levels = np.rint(np.broadcast_to(small, (3, *small.shape[1:])) * 255).astype(int)
    if levels.shape[1] % 2:
        levels = np.concatenate([levels, np.full_like(levels[:, :1], 128)], axis=1)
    text = Text()
    for top, bottom in zip(
        levels[:, 0::2].transpose(1, 2, 0), levels[:, 1::2].transpose(1, 2, 0), strict=True
    ):
        for (r, g, b), (r2, g2, b2) in zip(top, bottom, strict=True):
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    text.rstrip()
    return text
