"""The audit in a terminal: verdict, reason, a line a statistic, warnings, the trigger as a small picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import StringIO

import numpy as np
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from auditor.archive import outcome_status
from auditor.findings import Audit, Verdict

from . import wording
from .figures import detail, on_grey
from .summary import summary

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
PICTURE_SIZE = 28
"""columns, and twice the rows, of the trigger's picture at most"""
NARROW = 96
"""columns below which the statistic stands under its detector"""


def render(audit: Audit, *, colour: bool = False, width: int = 100) -> str:
    """Text of the report, ending in a newline; with ``colour`` ANSI colours and the trigger's picture.

    Without ``colour`` the same audit always gives the same plain text. Every text of the audit is shown with
    its control characters escaped and is never read as markup.
    """
    return printed(lambda columns: _parts(audit, colour, columns), colour=colour, width=width)


def printed(parts: Callable[[int], Iterable[RenderableType]], *, colour: bool, width: int) -> str:
    """What rich prints of ``parts(columns)``, as text without trailing blanks; nothing in it is read as markup."""
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
    for part in parts(console.width):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(audit: Audit, colour: bool, width: int) -> Iterator[RenderableType]:
    yield _head(audit)
    yield Padding(Text(wording.clean(audit.reason)), (0, 0, 1, 2))
    yield Padding(_table(audit, colour, width - 2), (0, 0, 0, 2))
    if audit.trigger and colour:
        yield Padding(_picture(audit), (1, 0, 0, 2))
    if audit.trigger:
        yield Padding(Text("trigger  " + wording.trigger_sentence(audit, audit.trigger)), (1, 0, 0, 2))
    for found in audit.file_findings:
        if found.severity != "info":
            style = "bold red" if found.severity == "danger" else "yellow"
            yield Padding(Text.assemble((f"{found.severity:<7}  ", style), wording.finding(found)), (1, 0, 0, 2))
    for warning in audit.warnings:
        yield Padding(Text.assemble(("warning  ", "yellow"), wording.clean(warning)), (1, 0, 0, 2))
    for line in _notes(audit):
        yield Padding(Text.assemble(("note     ", "yellow"), line), (1, 0, 0, 2))
    yield Padding(Text(_foot(audit), style="dim"), (1, 0, 0, 2))


def _notes(audit: Audit) -> list[str]:
    """Why detectors are skipped or incomplete, a sentence for all that share one."""
    named: dict[tuple[str, str], list[str]] = {}
    for outcome in audit.outcomes:
        if outcome.note and not outcome.complete:
            why = outcome_status(outcome), wording.clean(outcome.note)
            named.setdefault(why, []).append(wording.clean(outcome.detector))
    lines = []
    for (status, note), names in named.items():
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        lines.append(f"{listed} {'is' if len(names) == 1 else 'are'} {status}: {note}")
    return lines


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
    reference += " (kin)" if audit.kin else ""
    return (
        f"reference: {reference}   images: {audit.images.count} ({wording.clean(audit.images.source, 80)})   "
        f"seed: {audit.provenance.seed}   {wording.passes(audit.image_passes)} image passes in "
        f"{wording.duration(audit.seconds)}\nsha256 of the suspect: {wording.clean(audit.model.sha256, 64)}"
    )


def _table(audit: Audit, colour: bool, width: int) -> Table:
    """One row a statistic; in a narrow terminal the statistic stands under its detector.

    Detectors that were skipped are told in one note (`_notes`): a dozen empty rows push the verdict off the screen.
    """
    narrow = width < NARROW
    table = Table(box=box.SIMPLE_HEAD if colour else None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("detector", overflow="fold", min_width=16)
    if not narrow:
        table.add_column("statistic", overflow="fold")
    table.add_column("stands out", overflow="fold", min_width=10)
    for name in ("value", "threshold", "p (corr.)", "passes", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    before, noted = "", {o.detector for o in audit.outcomes if o.skipped and o.note}
    for row in summary(audit):
        if row.detector in noted:
            continue
        name, statistic = wording.clean(row.detector, 40), wording.clean(row.statistic, 60)
        cells = [f"{name}\n  {statistic}"] if narrow else [name if name != before else "", statistic]
        cells += [f"class {row.who}" if row.stands_out and row.who != "the model" else row.who]
        cells += [row.value, row.threshold, row.corrected_p]
        cells += [row.passes, row.seconds] if name != before else ["", ""]
        table.add_row(*(Text(cell) for cell in cells), style="bold" if row.stands_out else "")
        before = name
    return table


def _picture(audit: Audit) -> Text:
    """The trigger on grey, two pixels a character (upper half block: foreground above, background below)."""
    assert audit.trigger is not None
    shown = detail(audit.trigger, on_grey(audit.trigger))
    sizes = [min(size, PICTURE_SIZE) for size in shown.shape[1:]]
    zoom = max(1, PICTURE_SIZE // max(sizes))
    rows, columns = (
        np.linspace(0, full, size, endpoint=False).astype(int).repeat(zoom)
        for full, size in zip(shown.shape[1:], sizes, strict=True)
    )
    levels = np.rint(np.broadcast_to(shown, (3, *shown.shape[1:]))[:, rows][:, :, columns] * 255).astype(int)
    if levels.shape[1] % 2:
        levels = np.concatenate([levels, levels[:, -1:]], axis=1)
    pairs = np.concatenate([levels[:, 0::2], levels[:, 1::2]]).transpose(1, 2, 0)
    text = Text()
    for line in pairs:
        for r, g, b, below_r, below_g, below_b in line:
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({below_r},{below_g},{below_b})")
        text.append("\n")
    text.rstrip()
    return text
