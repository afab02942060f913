"""What becomes of reports whose reader goes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from short_audits import CLEAN

import auditor.worker
from auditor import archive
from auditor.cli import run


@contextmanager
def unread(patch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """Inside, standard output, or what is named, is a pipe that nobody reads.

    Pytest would end a fixture's patch before the test.
    """
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, patch.context() as patched:
        for name in names or ("stdout",):
            patched.setattr(f"sys.{name}", stream)
        patched.setattr(auditor.worker, "scan", lambda *_, **__: CLEAN)
        yield


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_whoever_reads_no_further_still_gets_the_reports(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unread(monkeypatch, which):
        assert run(["scan", "m.onnx", "-o", f"json={tmp_path / 'a.json'}"]) == 0
    assert archive.from_text((tmp_path / "a.json").read_text()).model == CLEAN.model


def test_a_report_for_nobody_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with unread(monkeypatch):
        assert run(["scan", "m.onnx", "-o", "json=-"]) == 2
