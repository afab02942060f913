"""What the command line shows on standard error: one-sentence errors and, on a terminal, progress."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from auditor.progress import PASSES

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from auditor.progress import Progress as Report

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, reorder text or show nothing"""


COMMANDS = re.compile(r"##(?=\w*\[)|(?<!\w)::(?=\w)|::(?=[\w-]+[^\n]*?::)")
"""what a build server obeys when it is printed: ``::name::`` and ``##[name]`` (GitHub), ``##vso[name]`` (Azure)"""


def plain(text: str) -> str:
    """``text`` on one line with everything escaped that a terminal or a build server would obey instead of showing."""
    shown = "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in HIDDEN else c for c in text
    )
    return COMMANDS.sub(lambda found: f"{found[0][0]}\\x{ord(found[0][1]):02x}", shown)


def say(text: str) -> None:
    """One line on standard error, escaped, whatever the terminal's encoding; nowhere when nobody reads it."""
    encoding = sys.stderr.encoding or "ascii"
    try:
        print(plain(text).encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)
    except BrokenPipeError:  # of `audit scan ... 2>&1 | head`
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Let what is still written to ``stream``, whose reader went away, vanish; else it would raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Report | None]:
    """A callback (label, done, total) that draws bars on standard error; None where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[passes]}", style="dim"),
        TimeElapsedColumn(),
        TextColumn("left:", style="dim"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bars(bar)


class _Bars:
    """One bar for each label, with the image passes that were spent while it was the current one."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._current: TaskID | None = None
        self._began = -1
        """image passes when the current bar began; below 0 until they are told"""

    def __call__(self, label: str, done: int, total: int) -> None:
        if label.endswith(PASSES):
            self._spent(done)
            return
        shown = plain(label)
        if shown not in self._tasks:
            self._current = self._tasks[shown] = self._bar.add_task(shown, total=total or None, passes="")
            self._began = -1
        self._bar.update(self._tasks[shown], completed=done, total=total or None)

    def _spent(self, passes: int) -> None:
        if self._current is None:
            return
        if self._began < 0:
            self._began = passes
        self._bar.update(self._current, passes=f"{passes - self._began:,} passes")
