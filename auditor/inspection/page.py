"""The page that ``audit inspect`` prints about a file."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from auditor.findings import FileFinding, Trial
from auditor.inspection.examination import Examination, TensorFact
from auditor.terminal import plain

_STYLES = {"danger": "bold red", "warning": "yellow", "info": "dim"}
_OPERATIONS = 24
_NAMES = 24


def page(examination: Examination, trial: Trial | None = None, error: Exception | None = None) -> RenderableType:
    """Facts, operations and findings, with everything escaped that a terminal would obey.

    ``trial`` is what loading the model gave, ``error`` why it could not be loaded.
    """
    parts: list[RenderableType] = [_facts(examination)]
    if examination.operations:
        parts += [Text(), _operations(examination)]
    parts += [Text(), *(finding_line(finding) for finding in examination.findings)]
    if examination.findings:
        parts.append(Text("What each finding means, and what to do: docs/warnings.md", style="dim"))
    else:
        parts.append(Text("Nothing odd in the file. What its weights do, only a scan can tell.", style="green"))
    if trial is not None:
        parts += [Text(), *_trial(trial)]
    if error is not None:
        parts += [Text(), Text(plain(f"cannot be loaded: {error}"), style="bold red")]
    return Group(*parts)


def _trial(trial: Trial) -> list[RenderableType]:
    """What the loaded model is, and whether a scan could measure it."""
    table = _table(trial.facts)
    lines = [Text(plain(f"cannot be measured: {text}"), style="bold red") for text in trial.blockers]
    lines += [Text(plain(f"warning: {text}"), style="yellow") for text in trial.warnings]
    if not trial.blockers:
        lines.append(Text("A scan can measure this model.", style="green"))
    return [table, Text(), *lines]


def finding_line(finding: FileFinding) -> Text:
    """One finding as a line: severity, id, sentence, place."""
    line = Text(f"{finding.severity} ", style=_STYLES.get(finding.severity, ""))
    line.append(plain(f"{finding.id}: {finding.message}"), style="none")
    if finding.where:
        line.append(plain(f" [{finding.where}]"), style="dim")
    return line


def _facts(examination: Examination) -> Table:
    rows = {
        "file": examination.file_name,
        "SHA-256": examination.sha256,
        "size": f"{examination.size:,} bytes",
        "format": examination.format,
        **{f"input {one.name}": _tensor(one) for one in examination.inputs},
        **{f"output {one.name}": _tensor(one) for one in examination.outputs},
    }
    if examination.tensors:
        rows["stored tensors"] = f"{examination.tensors:,} with {examination.parameters:,} numbers"
        rows["largest"] = ", ".join(f"{one.name} {_tensor(one)}" for one in examination.largest)
    rows |= examination.facts
    if examination.pickled_globals:
        rows["pickles import"] = _cut(examination.pickled_globals)
    if examination.members:
        rows["archive members"] = _cut(examination.members)
    for file in examination.external_files:
        rows[f"external file {file.name}"] = f"{file.size:,} bytes, SHA-256 {file.sha256}"
    return _table(rows)


def _table(rows: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(Text(plain(name), style="bold"), Text(plain(value)))
    return table


def _tensor(fact: TensorFact) -> str:
    return f"{fact.type} ({', '.join(fact.shape)})"


def _cut(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_NAMES])
    return f"{shown} and {len(names) - _NAMES} more" if len(names) > _NAMES else shown


def _operations(examination: Examination) -> Table:
    table = Table("operation", "version", "count", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for one in examination.operations[:_OPERATIONS]:
        name = f"{one.domain}::{one.type}" if one.domain else one.type
        table.add_row(Text(plain(name)), Text(str(one.version or "")), Text(f"{one.count:,}"))
    rest = examination.operations[_OPERATIONS:]
    if rest:
        table.add_row(Text(f"{len(rest)} more"), Text(), Text(f"{sum(one.count for one in rest):,}"))
    return table
