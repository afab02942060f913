"""Facts about detectors and models as tables for the terminal, all from declarations and files."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from auditor import registry
from auditor.doctor import Finding
from auditor.settings import Declared, declared
from auditor.terminal import plain


def table(*columns: str) -> Table:
    """An open table whose cells are never read as markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def cells(*texts: object) -> list[Text]:
    """Cells that show their text and nothing else."""
    return [Text(plain(str(text))) for text in texts]


def detector_list() -> RenderableType:
    """Every registered detector; one that does not import is listed with the reason."""
    made = table("detector", "measures", "needs", "one sentence")
    for name in registry.names(registry.DETECTORS):
        try:
            cls = registry.load(registry.DETECTORS, name)
            made.add_row(*cells(name, _measures(cls), _needs(cls), _sentence(cls)))
        except Exception as error:  # somebody else's package: it must not hide the others
            made.add_row(*cells(name, "", "", f"does not import: {error}"))
    return made


def detector_page(name: str) -> RenderableType:
    """What one detector measures, needs, costs, and each of its settings; raises `ConfigError` if unknown."""
    cls = registry.load(registry.DETECTORS, name)
    facts = table("", "")
    facts.show_header = False
    facts.add_row(*cells("measures", _measures(cls)))
    facts.add_row(*cells("needs", _needs(cls)))
    settings = table("setting", "type", "default", "range", "paper", "what it is")
    for spec in declared(cls).values():
        settings.add_row(
            *cells(
                spec.name, spec.type_name, spec.default, _range(spec), spec.setting.paper, spec.setting.help
            )
        )
    text = _unwrapped(inspect.getdoc(cls) or "It has no description.")
    usage = f"Set with --set {name}.SETTING=VALUE, or in the table [{name}] of a settings file."
    return Group(Text(name, style="bold"), Text(text), Text(), facts, Text(), settings, Text(), Text(usage))


def _unwrapped(text: str) -> str:
    """Paragraphs on one line each, for the terminal to wrap; indented blocks stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if "\n " in p else " ".join(p.splitlines()) for p in paragraphs)


def _sentence(cls: type) -> str:
    lines = (inspect.getdoc(cls) or "").splitlines()
    return lines[0] if lines else ""


def _measures(cls: Any) -> str:
    s = cls.statistic
    return f"{s.name} ({s.unit}), one a {s.per}, suspicious when {s.suspicious}"


def _needs(cls: Any) -> str:
    return ", ".join(sorted(str(need) for need in cls.needs)) or "nothing"


def _range(spec: Declared) -> str:
    low, high = spec.setting.low, spec.setting.high
    if low is None and high is None:
        return ""
    if high is None:
        return f"{low:g} and above"
    return f"up to {high:g}" if low is None else f"{low:g} to {high:g}"


def findings_table(findings: Iterable[Finding]) -> RenderableType:
    """The doctor's findings, each with its remedy below."""
    made = table("", "", "")
    made.show_header = False
    for finding in findings:
        mark = Text("ok", style="green") if finding.sound else Text("MEND", style="bold red")
        made.add_row(mark, *cells(finding.name, finding.value))
        if finding.remedy:
            made.add_row(Text(), Text(), Text(plain(finding.remedy), style="yellow"))
    return made
