"""Where reports go: checked before the work starts, written under a temporary name and moved."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from auditor import registry
from auditor.archive import save_text
from auditor.errors import ConfigError
from auditor.findings import Audit


@dataclass(frozen=True)
class Target:
    """One report to write."""

    format: str
    path: Path | None
    """None = standard output"""
    render: Callable[[Audit], str]


def targets(outputs: Iterable[str], inputs: Iterable[Path | None] = ()) -> list[Target]:
    """The targets of ``-o format=path``; raises `ConfigError` for one that could not be written.

    A report is never written over one of ``inputs``.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    found: list[Target] = []
    for text in outputs:
        name, equals, where = text.partition("=")
        if not (name and equals and where):
            raise ConfigError(f"expected -o FORMAT=FILE, such as html=report.html, got {text!a}; name both")
        render = registry.load(registry.REPORTS, name)
        path = None if where == "-" else Path(where)
        if path is None and any(target.path is None for target in found):
            raise ConfigError("expected one report on standard output, got two; give the other a file")
        if path is not None:
            check_writable(path)
            if path.resolve() in taken:
                raise ConfigError(
                    f"expected a file of its own for each report, got {where!a} twice or as an input"
                )
            taken.add(path.resolve())
        found.append(Target(name, path, render))
    return found


def check_writable(path: Path) -> None:
    """Raises `ConfigError` when a file could not be written there."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ConfigError(
            f"expected an existing folder for {path.name!a}, got {str(path.parent)!a}; create it first"
        )
    if path.is_dir():
        raise ConfigError(
            f"expected a file to write the report to, got the folder {str(path)!a}; add a file name"
        )
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ConfigError(
            f"expected to be allowed to write {str(path)!a}, got no permission; choose another folder"
        )


def show(audit: Audit, *, to_stderr: bool) -> None:
    """Print the console report, in colour where a terminal wants it."""
    from rich.console import Console

    console = Console(stderr=to_stderr)
    render = registry.load(registry.REPORTS, "console")
    text = render(audit, colour=console.is_terminal and not console.no_color, width=console.width)
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def deliver(audit: Audit, wanted: Iterable[Target]) -> list[Path]:
    """Render all reports, then write them; returns the files written."""
    rendered = [(target, target.render(audit)) for target in wanted]
    written = []
    for target, text in rendered:
        if target.path is None:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
        else:
            save_text(target.path, text)
            written.append(target.path)
    return written
