"""``audit calibrate``: nulls move towards one's own models, and the file is one that scan takes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from short_audits import of_a_natural_pattern

from auditor.calibrating import PRIOR, Sample, adapted, as_json, sample_of
from auditor.calibration import Calibration, Given, Null, Weights, parse, read
from auditor.cli import run
from auditor.demo_training import network, save_onnx
from auditor.findings import Evidence

BIG = Given(images=True, num_classes=100, input_values=3072)
KEY = "blend/prominence on images"


def evidence(value: float, detector: str = "blend") -> Evidence:
    return Evidence(
        detector=detector, statistic="prominence of x", value=value, threshold=0.0, p_value=1.0, corrected_p=1.0,
        target_classes=(1,),
    )  # fmt: skip


def calibration(mean: float, **slopes: float) -> Calibration:
    return Calibration({KEY: Null(mean, 50, slopes)}, Weights(of={"blend/prominence": 1.0}))


def test_own_models_move_a_null_and_its_certainty_is_theirs() -> None:
    seen = [Sample(BIG, (evidence(0.5),))] * 8
    null = adapted(calibration(0.1), seen).nulls[KEY]
    assert null.mean == pytest.approx((PRIOR * 0.1 + 8 * 0.5) / (PRIOR + 8))
    assert null.count == PRIOR + 8
    assert null.p_value(0.6) > Null(0.1, 50).p_value(0.6)


def test_slopes_are_kept_and_taken_out_of_the_values() -> None:
    null = adapted(calibration(0.1, classes=1.0), [Sample(BIG, (evidence(0.1 * 2.718281828),))] * 6).nulls[KEY]
    assert null.mean == pytest.approx(0.1)
    assert null.slopes == {"classes": 1.0}


def test_a_statistic_without_a_null_gets_its_own_and_no_null_is_lost() -> None:
    new = adapted(calibration(0.1), [Sample(BIG, (evidence(0.3, "plugin"), evidence(0.0)))] * 3)
    assert new.nulls["plugin/prominence on images"] == Null(pytest.approx(0.3), 3)  # type: ignore[arg-type]
    assert new.nulls[KEY].mean < 0.1


def test_shares_are_taken_on_their_own_scale() -> None:
    seen = [Sample(BIG, (evidence(0.9, "plugin"),), frozenset({"plugin"}))] * 3
    null = adapted(calibration(0.1), seen).nulls["plugin/prominence on images"]
    assert (null.mean, null.shares) == (pytest.approx(math.log(10)), True)
    assert parse(json.loads(json.dumps(as_json(adapted(calibration(0.1), seen), {}))), "x").nulls[
        "plugin/prominence on images"
    ].shares


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    made = adapted(calibration(0.1, size=2.0), [Sample(BIG, (evidence(0.25),))])
    again = parse(json.loads(json.dumps(as_json(made, {"clean audits": 1}))), "x")
    assert again.weights == made.weights
    assert again.nulls[KEY].slopes == {"size": 2.0}
    assert again.nulls[KEY].mean == pytest.approx(made.nulls[KEY].mean, abs=1e-5)


def test_a_null_is_of_natural_patterns_though_a_verdict_leaves_them_out() -> None:
    """Networks of which nobody asks show them too; of the truth about one's own models nothing is explained away."""
    audit = of_a_natural_pattern()
    assert sample_of(audit, images=True).evidence[0].value > 0.3
    assert sample_of(audit, images=True, explained=True).evidence[0].value < 0.05


def test_the_command_writes_a_file_that_a_scan_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, seeded = torch.Generator().manual_seed(0), network()  # by chance an untrained one has a single answer
    for parameter in seeded.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    save_onnx(tmp_path / "clean.onnx", seeded)
    out = tmp_path / "own.json"
    options = ["--set", "iscp.steps=3", "--set", "margin.steps=3"]
    assert run(["calibrate", str(tmp_path / "clean.onnx"), "--out", str(out), "--effort", "quick", "-q", *options]) == 0
    assert "1 of 1 models" in capsys.readouterr().err
    assert read(out).nulls["margin/prominence on impressions"].count == PRIOR + 1
    audit = tmp_path / "audit.json"
    scan = ["scan", str(tmp_path / "clean.onnx"), "--calibration", str(out), "--detector", "margin", *options[2:], "-q"]
    assert run([*scan, "-o", f"json={audit}"]) in (0, 1)
    assert json.loads(audit.read_text())["provenance"]["command"]["calibration"] == "own.json"


def test_a_model_that_does_not_open_is_left_out_and_none_left_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    assert run(["calibrate", str(tmp_path / "broken.onnx"), "--out", str(tmp_path / "own.json"), "-q"]) == 2
    told = capsys.readouterr().err
    assert "broken.onnx: left out: " in told
    assert "nothing was written" in told
    assert not (tmp_path / "own.json").exists()


def test_a_calibration_that_is_none_is_refused_before_the_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.json").write_text("{}")
    assert run(["scan", str(tmp_path / "absent.onnx"), "--calibration", str(tmp_path / "own.json")]) == 4
    assert "audit calibrate wrote" in capsys.readouterr().err
