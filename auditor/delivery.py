"""Where reports go: checked before the work starts, written under a temporary name and moved."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor import registry
from auditor.archive import save_bytes, save_text
from auditor.errors import ConfigError
from auditor.terminal import abandon, say


@dataclass(frozen=True)
class Target:
    """One report to write."""

    format: str
    path: Path | None
    """None = standard output"""
    render: Callable[[Any], str | bytes]
    """where it has a ``check()``, that is called before the work starts and may raise `ConfigError`; where its
    ``binary`` is true, it gives bytes"""


def targets(outputs: Iterable[str], inputs: Iterable[Path | None] = (), group: str = registry.REPORTS) -> list[Target]:
    """The targets of ``-o format=path``; raises `ConfigError` for one that could not be written.

    A report is never written over one of ``inputs``. ``group`` names the entry points that render what is delivered.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    found: list[Target] = []
    for text in outputs:
        name, equals, where = text.partition("=")
        if not (name and equals and where):
            raise ConfigError(f"expected -o FORMAT=FILE, such as html=report.html, got {text!a}; name both")
        render = registry.load(group, name)
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
    for target in found:
        _check_ready(target)
    return found


def _check_ready(target: Target) -> None:
    if target.path is None and getattr(target.render, "binary", False) and sys.stdout.isatty():
        raise ConfigError(
            f"expected a file or a pipe for {target.format}, got a terminal, which cannot show it; "
            f"write -o {target.format}=FILE, or redirect standard output"
        )
    check = getattr(target.render, "check", None)
    if check is not None:
        check()


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


def show(subject: Any, *, to_stderr: bool, group: str = registry.REPORTS) -> None:
    """Print the console report of an `Audit` (or what ``group`` renders), in colour where a terminal wants it."""
    from rich.console import Console

    console = Console(stderr=to_stderr)
    render = registry.load(group, "console")
    text = render(subject, colour=console.is_terminal and not console.no_color, width=console.width)
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:  # of `audit scan ... | head`, who still wants the reports and the exit code
        abandon(stream)


def deliver(subject: Any, wanted: Iterable[Target]) -> Iterator[Path]:
    """Render the reports and write them, one after the other; yields the files as they are written.

    A report that fails does not take the others with it: its error is raised when they are written.
    """
    failed: list[Exception] = []
    for target in wanted:
        try:
            _write(target, target.render(subject))
        except Exception as error:  # a scan may have taken hours: whatever is wrong with one report, the rest is kept
            failed.append(error)
        else:
            if target.path is not None:
                yield target.path
    for further in failed[1:]:
        say(f"audit: {further}")
    if failed:
        raise failed[0]


def _write(target: Target, content: str | bytes) -> None:
    if target.path is not None:
        if isinstance(content, bytes):
            save_bytes(target.path, content)
        else:
            save_text(target.path, content)
    elif isinstance(content, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(content if content.endswith("\n") else content + "\n")
        sys.stdout.flush()
