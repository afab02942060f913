"""``audit compare``: exit codes, where reports go, and files that hold no audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from short_audits import BAD, CLEAN, ODD, OPEN

from auditor import archive
from auditor.cli import run
from auditor.findings import Audit


def save(folder: Path, **audits: Audit) -> None:
    for name, made in audits.items():
        (folder / f"{name}.json").write_text(archive.to_text(made), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(tmp_path, clean=CLEAN, bad=BAD, odd=ODD, open=OPEN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("bad", "clean", 0),
        ("bad", "bad", 0),
        ("bad", "odd", 0),
        ("clean", "odd", 1),
        ("odd", "bad", 1),
        ("open", "clean", 2),
        ("bad", "open", 2),
        ("open", "open", 2),
    ],
)
def test_the_exit_code(folder: Path, capsys: pytest.CaptureFixture[str], first: str, second: str, code: int) -> None:
    assert run(["compare", f"{first}.json", f"{second}.json"]) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    words = "cannot be compared" if code == 2 else "udit"
    assert words in shown.out
    assert run(["compare", f"{first}.json", f"{second}.json", "--quiet"]) == code
    assert capsys.readouterr().out == ""


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "exit codes: 0 the second is no worse than the first, 1 it is worse, 2 either is inconclusive" in told


def test_reports_are_written_and_one_may_go_to_standard_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", "bad.json", "clean.json", "-o", "html=c.html", "-o", "json=-"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["change"] == "better"
    assert "A milder verdict" in shown.err
    assert "wrote c.html" in shown.err
    assert (folder / "c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bad.json"], "missing argument"),
        (["bad.json", "missing.json"], "expected an audit at 'missing.json', got: "),
        (["broken.json", "bad.json"], "expected the JSON of an audit"),
        (["bad.json", "other.json"], "expected the JSON of an audit, got a list"),
        (["bad.json", "bytes.json"], "got: it is not UTF-8 text"),
        (["bad.json", "."], "expected an audit at ''"),
        (["bad.json", "clean.json", "-o", "docx=x"], "expected a comparison among console, html, json"),
        (["bad.json", "clean.json", "-o", "html=clean.json"], "as an input"),
        (["bad.json", "clean.json", "-o", "html=none/x.html"], "expected an existing folder"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text("[]")
    (folder / "bytes.json").write_bytes(b"\xff")
    before = sorted(folder.iterdir())
    assert run(["compare", *arguments]) == 4
    shown = capsys.readouterr()
    assert sentence in shown.err.lower() or sentence in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(folder.iterdir()) == before
