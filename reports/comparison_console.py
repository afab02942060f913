"""Two audits side by side in a terminal: conclusion, verdicts, what changed, what makes them hard to compare."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from auditor.comparing import Change, Comparison, Shift
from auditor.findings import Audit

from . import side_by_side, wording
from .console import MARKS, STYLES, printed

CHANGE_STYLES = {
    Change.BETTER: "bold green",
    Change.EQUAL: "bold",
    Change.WORSE: "bold red",
    Change.INCONCLUSIVE: "bold yellow",
}
CHANGE_MARKS = {Change.BETTER: "-", Change.EQUAL: "=", Change.WORSE: "+", Change.INCONCLUSIVE: "?"}
"""more or less of a backdoor"""
SHIFT_STYLES = {
    Shift.APPEARED: "bold red",
    Shift.GONE: "bold green",
    Shift.STAYED: "bold",
    Shift.UNPAIRED: "yellow",
    Shift.QUIET: "dim",
}
HASH = 16
"""digits of a hash that are shown"""
NARROW = 110
"""columns below which the statistic stands under its detector"""


def render(comparison: Comparison, *, colour: bool = False, width: int = 100) -> str:
    """Text of the comparison, ending in a newline; with ``colour`` ANSI colours.

    Every text of the audits is shown with its control characters escaped and is never read as markup.
    """
    return printed(lambda columns: _parts(comparison, colour, columns), colour=colour, width=width)


def _parts(comparison: Comparison, colour: bool, width: int) -> Iterator[RenderableType]:
    change = comparison.change
    yield Text(f"[{CHANGE_MARKS[change]}] {side_by_side.CHANGE_WORDS[change]}", style=CHANGE_STYLES[change])
    yield Padding(Text(wording.clean(comparison.conclusion)), (0, 0, 1, 2))
    yield Padding(_verdicts(comparison, colour), (0, 0, 1, 2))
    if comparison.statistics:
        yield Padding(_statistics(comparison, colour, width - 2 < NARROW), (0, 0, 1, 2))
    if comparison.caveats:
        yield Padding(Text("What makes them hard to compare:", style="yellow"), (0, 0, 0, 2))
        yield Padding(_list([("-", caveat) for caveat in comparison.caveats]), (0, 0, 1, 2))
    audits = (("first", comparison.first), ("second", comparison.second))
    warnings = [(f"warning of the {name} ", warning) for name, audit in audits for warning in audit.warnings]
    if warnings:
        yield Padding(_list(warnings), (0, 0, 1, 2))
    foot = f"{side_by_side.same_files(comparison)} {side_by_side.LIMITS}"
    yield Padding(Text(foot, style="dim"), (0, 0, 0, 2))


def _list(items: list[tuple[str, str]]) -> Table:
    """Sentences, each after its mark."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, style="yellow")
    table.add_column(overflow="fold", ratio=1)
    for mark, sentence in items:
        table.add_row(Text(mark), Text(wording.clean(sentence)))
    return table


def _verdicts(comparison: Comparison, colour: bool) -> Table:
    """One column an audit: what it is of, and what it says."""
    first, second = comparison.first, comparison.second
    table = Table(box=box.SIMPLE_HEAD if colour else None, padding=(0, 3, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("first", overflow="fold", ratio=1)
    table.add_column("second", overflow="fold", ratio=1)
    verdicts = [
        Text(f"[{MARKS[audit.verdict]}] {wording.VERDICT_WORDS[audit.verdict]}", style=STYLES[audit.verdict])
        for audit in (first, second)
    ]
    table.add_row(Text("verdict"), *verdicts)
    table.add_row(Text("target class"), *(Text(side_by_side.named(audit) or "none") for audit in (first, second)))
    score = f"{second.score:.2f}  ({side_by_side.score_difference(comparison)})"
    table.add_row(Text("score"), Text(f"{first.score:.2f}"), Text(score))
    table.add_row(Text("trigger"), Text(_trigger(first)), Text(_trigger(second)))
    for fact in side_by_side.facts(comparison):
        if fact.differs or fact.name == "model file":
            length = HASH if fact.name == "SHA-256" else 200
            cells = [Text(wording.clean(text, length)) for text in (fact.first, fact.second)]
            table.add_row(Text(fact.name), *cells, style="dim")
    return table


def _trigger(audit: Audit) -> str:
    trigger = audit.trigger
    if trigger is None:
        return "none recovered"
    size = f"{wording.percent(trigger.size)} of the pixels" if trigger.size < 1 else "the whole image"
    return f"turns {wording.percent(trigger.success_rate)} of {trigger.images} images, on {size}"


def _statistics(comparison: Comparison, colour: bool, narrow: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if colour else None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("what changed", overflow="fold", min_width=14)
    table.add_column("detector", overflow="fold", min_width=14)
    if not narrow:
        table.add_column("statistic", overflow="fold")
    for name in ("first", "p (corr.)", "second", "p (corr.)"):
        table.add_column(name, justify="right", overflow="fold")
    for row in side_by_side.rows(comparison):
        name, statistic = wording.clean(row.detector, 40), wording.clean(row.statistic, 60)
        cells = [row.words, f"{name}\n  {statistic}"] if narrow else [row.words, name, statistic]
        cells += [row.first.value, row.first.corrected_p, row.second.value, row.second.corrected_p]
        table.add_row(*(Text(cell) for cell in cells), style=SHIFT_STYLES[row.shift])
    return table
