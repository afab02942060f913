"""Small records of audits: the verdict on them is that on the audits, and what is published follows from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auditor.archive import to_dict
from auditor.detection_rates import PAIRS, measured
from auditor.exhibits import Picture
from auditor.findings import Audit, Trigger, Verdict
from benchmarks.judged import MODES, Kept, judged, read_kept
from benchmarks.records import HOME, bare, even, pack, records, unpack
from benchmarks.statements import TOLD, entry

PUBLISHED = [mode for mode in MODES if (HOME / f"{TOLD}_{mode}.jsonl.xz").exists()]


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("touched", [0, 1, 30, 64])
def test_an_even_trigger_has_the_size_and_strength_that_the_verdict_asks_for(mode: str, touched: int) -> None:
    rng = np.random.default_rng(touched)
    mask = np.zeros((8, 8), dtype=np.float32)
    mask.flat[rng.permutation(64)[:touched]] = rng.uniform(0.1, 1, touched)
    pattern = rng.uniform(-1 if mode == "add" else 0, 1, (3, 8, 8)).astype(np.float32)
    full = Trigger(mask, pattern, 0.9, mode=mode, source_classes=(2,), reference_success_rate=0.1, images=40)  # type: ignore[arg-type]
    small = even(full)
    assert small.size == full.size
    assert small.strength == pytest.approx(full.strength, rel=1e-5)
    assert replace(small, mask=full.mask, pattern=full.pattern) == full


def with_pictures(audit: Audit) -> Audit:
    """The audit of a record with something to look at in each measurement."""
    shown = Picture("a pattern", np.ones((1, 4, 4), dtype=np.float32))
    outcomes = tuple(
        replace(o, measurements=tuple(replace(m, exhibits=(shown,)) for m in o.measurements)) for o in audit.outcomes
    )
    return replace(audit, outcomes=outcomes, images=replace(audit.images, samples=(shown,)))


def test_verdicts_on_unpacked_records_are_those_on_the_audits(tmp_path: Path) -> None:
    there = list(records(HOME, "fresh", "impressions"))
    flagged = next((c, a) for c, a in there if c["backdoored"] and a.target_classes)
    clean = next((c, a) for c, a in there if not c["backdoored"])
    for card, audit in (flagged, clean):
        (tmp_path / "zoo" / card["name"]).mkdir(parents=True)
        (tmp_path / "zoo" / card["name"] / "card.json").write_text(json.dumps(card))
        path = tmp_path / "results" / "impressions" / f"{card['name']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_dict(with_pictures(audit))))
    before = read_kept(tmp_path / "zoo", tmp_path / "results", "fresh", "impressions")
    assert pack(tmp_path / "zoo", tmp_path / "results", tmp_path / "records", "fresh", "impressions") == 2
    assert pack(tmp_path / "zoo", tmp_path / "results", tmp_path / "records", "fresh", "images") == 0
    assert unpack(tmp_path / "records", tmp_path / "cards", tmp_path / "kept", "fresh", "impressions") == 2
    assert unpack(tmp_path / "records", tmp_path / "cards", tmp_path / "kept", "fresh", "images") == 0
    after = read_kept(tmp_path / "cards", tmp_path / "kept", "fresh", "impressions")
    assert [k.card for k in after] == [k.card for k in before]
    for old, new in zip(before, after, strict=True):
        assert judged(new).verdict is judged(old).verdict
        assert judged(new).named == judged(old).named
        assert judged(new).score == pytest.approx(judged(old).score, abs=1e-4)
    assert any(m.exhibits for k in before for o in k.audit.outcomes for m in o.measurements)
    assert not any(m.exhibits for k in after for o in k.audit.outcomes for m in o.measurements)
    assert not any(m.exhibits for o in bare(before[0].audit).outcomes for m in o.measurements)


def test_an_audit_of_which_nothing_could_be_concluded_passes_no_model_later() -> None:
    there = [(c, a) for c, a in records(HOME, "fresh", "impressions") if c["num_classes"] >= 10]
    flagged = next((c, a) for c, a in there if a.target_classes)
    passed = next((c, a) for c, a in there if a.verdict is Verdict.NO_EVIDENCE)
    for (card, audit), expected in ((flagged, flagged[1].verdict), (passed, Verdict.INCONCLUSIVE)):
        unsure = replace(audit, verdict=Verdict.INCONCLUSIVE)
        assert judged(Kept(card, "impressions", unsure)).verdict is expected


def test_every_rate_has_its_records() -> None:
    assert set(PUBLISHED) == {mode for mode, _ in measured()}


@pytest.mark.parametrize("mode", PUBLISHED)
def test_what_is_published_follows_from_the_records(mode: str) -> None:
    rows = [judged(Kept(card, mode, audit)) for card, audit in records(HOME, TOLD, mode)]
    made, told = entry(mode, "standard", rows), measured()[mode, "standard"]
    for name in PAIRS:
        assert tuple(made[name]) == getattr(told, name)
    assert {attack: tuple(pair) for attack, pair in made["by_attack"].items()} == dict(told.by_attack)
    assert made["passes"] == told.passes
