"""What becomes of reports whose reader goes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from short_audits import CLEAN

import auditor.worker
from auditor import archive
from auditor.cli import run


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Standard output is a pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        yield
        monkeypatch.undo()


def test_whoever_reads_no_further_still_gets_the_reports(
    unread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor.worker, "scan", lambda *_, **__: CLEAN)
    assert run(["scan", "m.onnx", "-o", f"json={tmp_path / 'a.json'}"]) == 0
    assert archive.from_text((tmp_path / "a.json").read_text()).model == CLEAN.model


def test_a_report_for_nobody_has_failed(unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor.worker, "scan", lambda *_, **__: CLEAN)
    assert run(["scan", "m.onnx", "-o", "json=-"]) == 2
