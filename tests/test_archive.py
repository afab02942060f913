"""The archive: what is written reads back, and what was not written by it is refused in one sentence."""

from __future__ import annotations

import base64
import json
import math
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.archive import class_values, from_dict, from_text, save_text, to_dict, to_text
from auditor.errors import ConfigError
from auditor.findings import (
    Audit,
    Curve,
    Demonstration,
    Evidence,
    FileFacts,
    ImageFacts,
    Matrix,
    Measurement,
    Outcome,
    Picture,
    Provenance,
    Statistic,
    Trigger,
    Verdict,
)


def small_audit() -> Audit:
    """Three classes, one detector, one of everything."""
    rng = np.random.default_rng(0)
    picture = Picture("grey", rng.random((1, 4, 5)).astype(np.float32))
    table = np.array([[np.nan, 0.1, 0.2], [0.3, np.nan, np.inf], [np.nan, np.nan, np.nan]], dtype=np.float32)
    trigger = Trigger(
        (rng.random((4, 5)) > 0.5).astype(np.float32),
        rng.uniform(-1, 1, (3, 4, 5)).astype(np.float32),
        0.875,
        "add",
        (0, 2),
        None,
        40,
    )
    measurements = (
        Measurement(0.25, 1, 0, trigger, {"index": 3.5}, (picture, Matrix("m", table, "share"))),
        Measurement(math.nan, 2, exhibits=(Curve("c", (1.0, 2.0), (0.5, math.nan), "px", "share"),)),
        Measurement(0.75, 1, 2),
    )
    return Audit(
        verdict=Verdict.SUSPICIOUS,
        score=0.5,
        reason="because \ud800 é",
        target_classes=(1,),
        source_classes=(0, 2),
        warnings=("w",),
        evidence=(Evidence("d", "gap", 0.5, math.inf, 0.01, 0.02, (1,), (0,), (0.1, 0.75, math.nan), True),),
        outcomes=(
            Outcome(
                "d",
                Statistic("power", "share", per="pair"),
                {"eps": (0.1, 0.5)},
                measurements,
                6,
                1.5,
                90,
                "cut",
            ),
            Outcome(
                "e", Statistic("x", "y", "low", "model"), {}, (), 1, 0.0, 0, "no reference", skipped=True
            ),
        ),
        model=FileFacts("a.onnx", "0" * 64, "onnx", None, 3, (3, 4, 5)),
        reference=None,
        images=ImageFacts("folder", 10, 5, True, None, (picture,), 0.5),
        provenance=Provenance(7, "cpu", {"torch": "2"}, "2026-01-01T00:00:00Z", {"seed": 7, "budget": None}),
        seconds=2.0,
        image_passes=90,
        family_wise_level=0.01,
        trigger=trigger,
        demonstrations=(Demonstration(picture, picture, 0, 1, 0.9, 0.8, 0),),
        labels=("a", "\x1b[31m", "</td>"),
        blind_spots=("s",),
    )


def test_arrays_and_numbers_survive() -> None:
    audit = small_audit()
    again = from_text(to_text(audit))
    assert to_text(again) == to_text(audit)
    first, first_again = audit.outcomes[0].measurements[0], again.outcomes[0].measurements[0]
    assert first.trigger is not None
    assert first_again.trigger is not None
    np.testing.assert_array_equal(first_again.trigger.mask, first.trigger.mask)
    np.testing.assert_array_equal(first_again.trigger.pattern, first.trigger.pattern)
    assert (first_again.trigger.mode, first_again.trigger.source_classes) == ("add", (0, 2))
    picture, matrix = first_again.exhibits
    assert isinstance(picture, Picture)
    assert isinstance(matrix, Matrix)
    np.testing.assert_allclose(picture.pixels, first.exhibits[0].pixels, atol=0.5 / 255 + 1e-6)
    expected = first.exhibits[1].values
    np.testing.assert_array_equal(matrix.values, np.where(np.isfinite(expected), expected, np.nan))
    assert matrix.values.dtype == np.float32
    assert math.isnan(again.evidence[0].threshold)
    assert again.evidence[0].scores[:2] == (0.1, 0.75)
    assert again.verdict is Verdict.SUSPICIOUS
    for name in (
        "reason",
        "labels",
        "warnings",
        "model",
        "reference",
        "provenance",
        "source_classes",
        "score",
    ):
        assert getattr(again, name) == getattr(audit, name)
    assert [(o.detector, o.note, o.skipped, o.expected, o.complete) for o in again.outcomes] == [
        ("d", "cut", False, 6, False),
        ("e", "no reference", True, 1, False),
    ]


def test_json_is_strict_and_keeps_the_promised_top_level() -> None:
    data = json.loads(to_text(small_audit()), parse_constant=pytest.fail)
    assert list(data)[:7] == [
        "schema_version",
        "verdict",
        "score",
        "target_classes",
        "source_classes",
        "reason",
        "warnings",
    ]
    assert data["detectors"]["d"]["values"] == [None, 0.75, None]
    assert data["detectors"]["d"]["threshold"] is None
    assert data["detectors"]["d"]["status"] == "incomplete"
    assert data["detectors"]["e"]["status"] == "skipped"
    assert data["model"]["name"] == "a.onnx"


def test_class_values_keep_the_most_suspicious() -> None:
    pairs = tuple(Measurement(value, 0, source) for source, value in ((1, 0.3), (2, 0.1)))
    for side, worst in (("high", 0.3), ("low", 0.1)):
        outcome = Outcome("d", Statistic("s", "u", side, "pair"), {}, pairs, 2, 0.0, 0)  # type: ignore[arg-type]
        values = class_values(outcome, 2)
        assert values[0] == worst
        assert math.isnan(values[1])


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(data: dict[str, Any]) -> None:
        place: Any = data
        for key in path[:-1]:
            place = place[key]
        if to is KeyError:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return apply


MEASURED = ("detectors", "d", "measurements", 0)
BOMB = base64.b64encode(zlib.compress(bytes(10_000_000))).decode()
DAMAGE = {
    "another version": (change("schema_version", to=2), "schema version 1, got version 2"),
    "no version": (change("schema_version", to=KeyError), "the JSON of an audit"),
    "unknown verdict": (change("verdict", to="clean"), "one of no_evidence"),
    "score above one": (change("score", to=7), "a number in [0, 1]"),
    "score is null": (change("score", to=None), "a number in [0, 1]"),
    "huge number": (change("score", to=10**400), "a number in [0, 1]"),
    "a bool for a number": (change("seconds", to=True), "a number at 'audit.seconds'"),
    "text for a list": (change("warnings", to="w"), "a list at 'audit.warnings'"),
    "missing field": (change("model", "sha256", to=KeyError), "a field at 'audit.model.sha256'"),
    "detectors is a list": (change("detectors", to=[]), "an object at 'detectors'"),
    "negative class": (change(*MEASURED, "target_class", to=-1), "class numbers from 0"),
    "enormous class": (change(*MEASURED, "target_class", to=10**12), "class numbers from 0"),
    "no such exhibit": (
        change(*MEASURED, "exhibits", 0, "kind", to="video"),
        "one of picture, matrix, curve",
    ),
    "not a PNG": (change(*MEASURED, "exhibits", 0, "png", to="R0lGODlhAQABAAAAACw="), "a PNG picture"),
    "not base64": (change(*MEASURED, "exhibits", 0, "png", to="<>"), "text in base64"),
    "matrix too large": (change(*MEASURED, "exhibits", 1, "classes", to=10**9), "1 to 4096 classes"),
    "matrix row outside": (change(*MEASURED, "exhibits", 1, "rows", to=[0, 9]), "class numbers below 3"),
    "matrix row missing": (change(*MEASURED, "exhibits", 1, "values", to=[]), "2 × 3 numbers"),
    "array too large": (change("trigger", "mask", "shape", to=[10**6, 10**6]), "one to four sizes"),
    "array of another size": (change("trigger", "mask", "shape", to=[4, 4]), "16 numbers"),
    "array that unpacks too far": (change("trigger", "mask", "float32_zlib", to=BOMB), "20 numbers"),
    "mask beside the pattern": (change("trigger", "mask", to={}), "shape"),
    "curve cut short": (
        change("detectors", "d", "measurements", 1, "exhibits", 0, "x", to=[1]),
        "as many x as y",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_audit_is_refused_in_one_sentence(name: str) -> None:
    damage, message = DAMAGE[name]
    data = to_dict(small_audit())
    damage(data)
    with pytest.raises(ConfigError) as error:
        from_text(json.dumps(data))
    assert message in str(error.value)
    assert str(error.value).startswith("expected ")
    assert "; " in str(error.value)
    assert error.value.exit_code == 4
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 1}', '{"score": NaN}', "[" * 100_000, "\x00"], ids=range(8)
)
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected the JSON of an audit"):
        from_text(text)


def test_unknown_fields_are_ignored() -> None:
    data = to_dict(small_audit())
    data["later"] = data["model"]["later"] = 1
    assert from_dict(data).model == small_audit().model


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    save_text(target, "né\n")
    assert target.read_bytes() == "né\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"report\.html.*No space left"):
        save_text(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_text_that_utf8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    save_text(tmp_path / "a.txt", "\ud800")
    assert (tmp_path / "a.txt").read_text() == "\\ud800"


@pytest.mark.parametrize("place", ["missing/report.html", "folder"])
def test_an_impossible_place_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="expected to write"):
        save_text(tmp_path / place, "x")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["folder"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    save_text(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()


def test_the_archive_imports_no_torch() -> None:
    code = "import sys, auditor.archive; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
