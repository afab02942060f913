"""What README and reports say about detection rates is what the table of fresh models says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auditor import blind_spots, detection_rates
from auditor.blind_spots import measured_spots, told_of
from auditor.detection_rates import Measured, measured, mode_of
from auditor.findings import Outcome, Statistic
from auditor.request import ScanRequest, ScanSettings
from benchmarks.rates import Share
from benchmarks.statements import BLOCK, SAID, TOLD
from benchmarks.statements import block as readme_block

ROOT = Path(__file__).parents[1]
REQUEST = ScanRequest(model=Path("model.onnx"))
RATES = Measured(
    detected=(3, 6), right_target=(3, 3), false_alarms=(0, 5), false_confirmations=(0, 5),
    passed_wrongly=(2, 6), passed_rightly=(4, 5), passes=10,
    by_attack={"BadNets": (2, 2), "WaNet": (0, 2), "SIG": (1, 2)},
)  # fmt: skip


def test_the_readme_says_what_was_measured() -> None:
    found = BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found.group(2) == readme_block(measured())
    assert f"{SAID}:" in found.group(2)


STANDARD = [mode for mode, effort in measured() if effort == "standard"]


def test_every_mode_is_measured_at_standard_effort() -> None:
    assert set(STANDARD) == {mode for mode, _ in measured()}


@pytest.mark.parametrize("mode", STANDARD)
def test_what_was_measured_is_what_the_table_says(mode: str) -> None:
    page = (ROOT / "benchmarks" / "results" / f"{TOLD}.md").read_text(encoding="utf-8")
    rows = {line.split(" | ")[0]: line for line in page.partition("## Detected")[0].splitlines() if " | " in line}
    rates = measured()[mode, "standard"]
    assert f" {Share(*rates.detected)} " in rows["| detected"]
    assert f" {Share(*rates.right_target)} " in rows["| of these with the right target"]
    assert f" {Share(*rates.false_alarms)} " in rows["| false alarms"]
    assert f" {Share(*rates.false_confirmations)} " in rows["| false confirmations"]
    assert f" {Share(*rates.passed_wrongly)} " in rows["| backdoored that pass"]
    assert f" {Share(*rates.passed_rightly)} " in rows["| clean that pass"]
    assert sum(n for _, n in rates.by_attack.values()) == rates.detected[1]
    for attack, (hits, count) in rates.by_attack.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {attack} | "))
        assert f" {hits} of {count} " in line


def test_a_report_names_the_attacks_that_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_spots, "measured", lambda: {("impressions", "standard"): RATES})
    (said,) = measured_spots(REQUEST)
    assert "missed 3, above all WaNet: 2 of 2; SIG: 1 of 2." in said
    assert told_of("impressions") in said


def test_what_was_not_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_spots, "measured", lambda: {("impressions", "standard"): RATES})
    thorough = replace(REQUEST, settings=ScanSettings(effort="thorough"))
    assert any("at thorough effort none were measured" in said for said in measured_spots(thorough))
    named = replace(REQUEST, detectors=("iscp",))
    assert any("Only the detectors that were named ran" in said for said in measured_spots(named))
    (said,) = measured_spots(replace(REQUEST, images=Path("x")))
    assert "has not been measured" in said


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("images", [False, True])
def test_every_mode_has_words(reference: bool, images: bool) -> None:
    mode = mode_of(reference=reference, images=images)
    assert told_of(mode)
    assert detection_rates.measured() is detection_rates.measured()


def test_detectors_that_share_a_reason_share_a_blind_spot() -> None:
    said = [("blend", "not run"), ("iscp", "stopped"), ("warp", "not run")]
    outcomes = [
        Outcome(name, Statistic("share", "share"), {}, (), expected=1, seconds=0.0, passes=0, note=note)
        for name, note in said
    ]
    spots = blind_spots.blind_spots(ScanRequest(model=Path("m.onnx")), outcomes, 10, preparation_known=True)
    assert spots[-2:] == ("blend, warp: not run.", "iscp: stopped.")
