"""A trick: how its file is made, where it was described, and how it must end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.confined import MEMORY_GIB, SECONDS, Job, Outcome, open_all

REFUSED = ("UnsafeFileError", "ModelFileError", "ArchitectureError", "UnsupportedOperatorsError")
"""ways to refuse a file"""

UNSAFE = ("UnsafeFileError",)
"""the file could only be opened by executing it, or by reading what it must not read"""

OPEN = ("loaded",)

RESIDENT_MIB = 1024 * MEMORY_GIB


@dataclass(frozen=True)
class Trick:
    """One hostile file."""

    name: str
    source: str
    """CVE, advisory, or where the technique was described"""
    build: Callable[[Path], Path]
    """makes the file in an empty folder, and returns its path"""
    endings: Sequence[str] = REFUSED
    says: Sequence[str] = ()
    """words of the message"""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """What became of the tricks of one test module."""

    outcomes: Mapping[str, Outcome]
    canaries: Sequence[Path]
    """paths that the payloads would create"""

    def check(self, trick: Trick) -> Outcome:
        """Nothing executed, one sentence, in time, within the memory."""
        outcome = self.outcomes[trick.name]
        assert outcome.trespasses == (), outcome
        assert outcome.watched == (), outcome
        assert outcome.ending in trick.endings, outcome
        assert outcome.seconds < SECONDS
        assert outcome.peak_mib < RESIDENT_MIB
        if outcome.refused:
            check_sentence(outcome.message)
        assert not outcome.examined, outcome
        assert outcome.legible, outcome
        if trick.endings == UNSAFE:  # what is refused as unsafe is no surprise to who examined it first
            assert [one for one in outcome.findings if one.startswith(("danger", "warning"))], outcome
        if trick.source == "control" and trick.endings == OPEN:
            assert not [one for one in outcome.findings if one.startswith("danger")], outcome
        for word in trick.says:
            assert word in outcome.message
        for canary in self.canaries:
            assert not canary.exists()
        return outcome


def check_sentence(message: str) -> None:
    """Expected, got, remedy, on one line of what every terminal shows as it is."""
    assert message.startswith("expected "), message
    assert " got" in message, message
    assert message.isprintable(), message
    assert "Traceback" not in message
    assert len(message) < 2000


def open_tricks(tricks: Sequence[Trick], folder: Path, canaries: Sequence[Path] = (), **watch: Any) -> Opened:
    """Build all files, each in a folder of its own, and open them one after another in one confined process."""
    assert len({trick.name for trick in tricks}) == len(tricks)
    jobs = []
    for index, trick in enumerate(tricks):
        own = folder / f"trick{index}"
        own.mkdir()
        jobs.append(Job(str(trick.build(own)), trick.options))
    outcomes = open_all(jobs, **watch)
    return Opened({trick.name: outcome for trick, outcome in zip(tricks, outcomes, strict=True)}, canaries)


def names(tricks: Sequence[Trick]) -> list[str]:
    """Test ids."""
    return [trick.name for trick in tricks]
