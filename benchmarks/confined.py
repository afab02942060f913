"""Open model files one after another in a process confined like a scan's worker, and tell how each went.

Starting a worker takes seconds, so a corpus of hundreds of files shares one. The process that opens them has the same
limits, environment and seal as the worker (`auditor.worker.confinement`); a file that ends it is told from one that is
refused, and the rest is opened by a new process. `confined_opener` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 20.0
"""that one file may take"""

MEMORY_GIB = 3.0
"""that the process may take"""

@dataclass(frozen=True)
class Job:
    """One file to open, with options of `auditor.loading.load_network`."""

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one file went."""

    ending: str
    """``loaded``, the name of the exception, ``died`` or ``too slow``"""
    refused: bool
    """whether the exception is one of `auditor.errors`"""
    message: str
    seconds: float
    trespasses: tuple[str, ...] = ()
    """audit events that opening a model never needs, as they were tried"""
    watched: tuple[str, ...] = ()
    """imports by a pickle, imports of bait modules, and opened files among those that must stay closed"""
    peak_mib: float = 0.0
    """resident memory of the whole process at its highest while this file was open"""
    examined: str = ""
    """what the examination without loading raised, if it did: it should never"""
    findings: tuple[str, ...] = ()
    """what that examination found, as ``severity id``"""
    legible: bool = True
    """whether every text of it can be printed as it is"""

    @property
    def sound(self) -> bool:
        """Loaded or refused in a sentence, examined without fail, and nothing tried."""
        ended = (self.ending == "loaded" or self.refused) and not self.examined and self.legible
        return ended and not self.trespasses and not self.watched


def open_all(
    jobs: Sequence[Job],
    *,
    closed: Sequence[str] = (),
    bait: Sequence[str] = (),
    python_path: Sequence[str] = (),
    seconds: float = SECONDS,
    memory_gib: float = MEMORY_GIB,
) -> list[Outcome]:
    """One outcome for each job.

    ``closed`` are paths, or folders, that nothing may open; ``bait`` are modules that nothing may import, found in the
    folders of ``python_path``.
    """
    order = {"memory_gib": memory_gib, "closed": [str(path) for path in closed], "bait": list(bait)}
    found: list[Outcome] = []
    while len(found) < len(jobs):
        with _Opener(order, python_path) as opener:
            for job in jobs[len(found) :]:
                found.append(opener.open(job, seconds))
                if opener.gone:
                    break
    return found


class _Opener:
    """The process that opens files."""

    def __init__(self, order: Mapping[str, Any], python_path: Sequence[str]) -> None:
        from auditor.worker.confinement import environment

        variables = environment(os.environ)
        paths = [*python_path, *filter(None, [variables.get("PYTHONPATH")])]
        variables["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths)
        variables.setdefault("OMP_NUM_THREADS", "1")
        self.gone = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("confined_opener.py").resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._errors = bytearray()
        for target in (self._listen, self._overhear):
            threading.Thread(target=target, daemon=True).start()
        self._say(order)
        ready = self._answers.get(timeout=120)
        if ready != b"ready\n":
            raise RuntimeError(f"the opening process did not start: {self._last_words()}")

    def __enter__(self) -> _Opener:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()

    def open(self, job: Job, seconds: float) -> Outcome:
        """The outcome; `gone` is set when the process did not survive it."""
        began = time.monotonic()
        self._say(asdict(job))
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.gone = True
            return Outcome("too slow", False, f"no answer after {seconds:g} s", seconds)
        if not line:
            self.gone = True
            code = self._process.wait(timeout=10)
            return Outcome("died", False, f"code {code}: {self._last_words()}", time.monotonic() - began)
        answer: dict[str, Any] = json.loads(line)
        lists = {key: tuple(value) for key, value in answer.items() if isinstance(value, list)}
        return Outcome(**{**answer, **lists})

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            self._answers.put(line)
        self._answers.put(b"")

    def _overhear(self) -> None:
        assert self._process.stderr
        while piece := self._process.stderr.read1(4096):  # type: ignore[attr-defined]
            self._errors += piece

    def _last_words(self) -> str:
        time.sleep(0.2)
        return self._errors[-1500:].decode("utf-8", "replace")
