"""Rates, reliability and statements from verdicts that are written down here."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest

from auditor.calibration import Given as Kind
from auditor.detection_rates import parse
from auditor.findings import Verdict
from benchmarks import statements
from benchmarks.fitting import balanced, fit_null
from benchmarks.judged import Judged
from benchmarks.rates import Share, auroc, brier, by, rates, reliability
from benchmarks.statements import entry


def verdict(score: float, targets: tuple[int, ...] = (), named: tuple[int, ...] = (), kind: str = "BadNets") -> Judged:
    found = Verdict.BACKDOORED if score > 0.9 else Verdict.SUSPICIOUS if score > 0.5 else Verdict.NO_EVIDENCE
    card = {"name": kind, "target_classes": list(targets), "attack": kind if targets else None}
    return Judged(card=card, verdict=found, score=score, named=named, success=None, passes=100, seconds=1.0)


ROWS = [
    verdict(0.95, (3,), (3,)),
    verdict(0.6, (1,), (2,), "WaNet"),
    verdict(0.2, (1,), kind="WaNet"),
    verdict(0.1),
    verdict(0.7, named=(4,)),
]


def test_rates_count_what_they_say() -> None:
    found = rates(ROWS)
    assert (found.detected, found.right_target, found.confirmed) == (Share(2, 3), Share(1, 2), Share(1, 3))
    assert (found.false_alarms, found.false_confirmations) == (Share(1, 2), Share(0, 2))
    assert (found.passed_wrongly, found.passed_rightly) == (Share(1, 3), Share(1, 2))
    assert found.auroc == pytest.approx((2 + 1 + 1) / 6)
    assert found.brier == pytest.approx(((0.05**2 + 0.4**2 + 0.8**2) / 3 + (0.1**2 + 0.7**2) / 2) / 2)


def test_auroc_counts_ties_half() -> None:
    assert auroc([0.5, 0.9], [0.5, 0.1]) == pytest.approx(3.5 / 4)
    assert auroc([], [0.1]) != auroc([], [0.1])  # NaN


def test_reliability_is_at_even_prior_odds() -> None:
    """One clean model among three backdoored counts three times."""
    rows = [verdict(0.55, (1,)), verdict(0.55, (1,)), verdict(0.55, (1,)), verdict(0.55)]
    ((mean, share, count),) = reliability(rows)
    assert (mean, share, count) == (pytest.approx(0.55), pytest.approx(0.5), 4)
    assert brier(rows) == pytest.approx((0.45**2 + 0.55**2) / 2)


def test_statements_are_the_rates() -> None:
    made = entry("images", "standard", ROWS)
    assert made["detected"] == [2, 3]
    assert made["by_attack"] == {"BadNets": [1, 1], "WaNet": [1, 2]}
    assert sorted(by(ROWS, lambda r: str(r.card["attack"]))) == ["BadNets", "None", "WaNet"]


def test_attacks_count_alike_and_clean_models_half() -> None:
    weights = balanced(["", "", "a", "a", "a", "b"])
    assert weights.sum() == pytest.approx(1)
    assert weights[:2].sum() == pytest.approx(0.5)
    assert weights[2:5].sum() == pytest.approx(weights[5])


def test_a_nulls_mean_follows_the_kind_of_model() -> None:
    small, large = Kind(num_classes=10), Kind(num_classes=100)
    null = fit_null([0.1] * 20 + [0.4] * 20, [small] * 20 + [large] * 20, groups=4, ridge=0.01)
    assert null.at(small).mean == pytest.approx(0.1, rel=0.1)
    assert null.at(large).mean == pytest.approx(0.4, rel=0.1)
    assert null.count == 4


def test_the_readme_is_told_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "RATES", tmp_path / "rates.json")
    monkeypatch.setattr(statements, "ROOT", tmp_path)
    kept = entry("images", "quick", ROWS)
    monkeypatch.setattr(statements, "measured", lru_cache(lambda: {("images", "quick"): parse(kept)}))
    (tmp_path / "README.md").write_text("a\n<!-- detection rates -->\nold\n<!-- end of detection rates -->\nb\n")
    statements.write([kept])
    assert json.loads(statements.RATES.read_text(encoding="utf-8"))["rates"] == [kept]
    first, *_, last = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()
    assert (first, last) == ("a", "b")
    assert "| quick | 2 of 3 = " in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "old" not in (tmp_path / "README.md").read_text(encoding="utf-8")
