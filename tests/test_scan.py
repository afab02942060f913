"""Whole audits, from files to verdicts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import PATCH, TARGET, NotANumber, Patched, Perceptron, Pooled, Templates, draw_images
from torch import nn

from auditor import scan
from auditor.calibrating import given_of
from auditor.calibration import Null
from auditor.classifier import Classifier, Preprocess
from auditor.demo_training import (
    BACKDOORS,
    attack_success_rate,
    load_digits,
    poison,
    save_images,
    save_onnx,
    train,
)
from auditor.errors import ConfigError, ImagesError, ModelMismatchError, NothingToScanError
from auditor.findings import Audit, Verdict
from auditor.request import ModelOptions, ScanRequest, ScanSettings
from auditor.running_statistics import Remembered
from auditor.verdict import Judgement, judge

QUICK = {
    "iscp": {"sizes": "0.028", "windows": "0.028", "steps": 40},
    "blend": {"steps": 4},
    "bias_map": {"samples": 3, "iterations": 2},
    "pairwise": {"pattern_steps": 2, "iterations": 2},
    "dominant_pattern": {"steps": 3, "seeds": 1},
}


@pytest.fixture(autouse=True)
def calibrated(nulls: dict[str, Null]) -> None:
    for name in QUICK:
        for kind in ("prominence", "gap", "value", "all-to-all index"):
            nulls[f"{name}/{kind}"] = Null(mean=0.08, count=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of a planted model and of its clean twin, and labelled images."""
    for module in (Patched(), Templates(), NotANumber()):
        torch.save(module.state_dict(), tmp_path / f"{type(module).__name__}.pt")
    torch.save(Templates(7).state_dict(), tmp_path / "Seven.pt")
    images, labels = draw_images(100)
    np.savez(tmp_path / "images.npz", x=images.numpy(), y=labels.numpy())
    return tmp_path


def options(module: str) -> ModelOptions:
    return ModelOptions(arch=f"tiny_models:{module}", input_size="3x12x12")


def audit(folder: Path, module: str, *, reference: bool = False, progress: Any = None, **more: Any) -> Audit:
    settings = {"seed": 3, "image_count": 100, "explain": "none", **more.pop("settings", {})}
    request = ScanRequest(
        model=folder / f"{module}.pt",
        model_options=options(module),
        reference=folder / "Templates.pt" if reference else None,
        reference_options=options("Templates") if reference else None,
        settings=ScanSettings(**settings),
        detector_settings=QUICK,
        **{"images": folder / "images.npz", "detectors": ("iscp",), **more},
    )
    return scan.run(request, progress=progress)


def test_a_network_without_convolution_is_judged_as_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for network in (Perceptron(), Pooled()):
        torch.save(network.state_dict(), folder / f"{type(network).__name__}.pt")
    judged_with, judge = [], scan.verdict.judge
    monkeypatch.setattr(scan.verdict, "judge", lambda *a, **k: judged_with.append(k["given"]) or judge(*a, **k))
    for module in ("Perceptron", "Pooled"):
        found = audit(folder, module, images=folder / "images.npz")
        assert found.model.density == (module == "Perceptron")
        assert given_of(found, images=True) == judged_with[-1]
        assert judged_with[-1].density == found.model.density


def test_a_suspect_and_its_parent_are_judged_as_kin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Pooled().state_dict(), folder / "Pooled.pt")
    judged_with, judge = [], scan.verdict.judge
    monkeypatch.setattr(scan.verdict, "judge", lambda *a, **k: judged_with.append(k["given"]) or judge(*a, **k))
    for module, kin in (("Templates", True), ("Pooled", False)):
        found = audit(folder, module, reference=True)
        assert (found.kin, judged_with[-1].kin) == (kin, kin)
        assert given_of(found, images=True) == judged_with[-1]


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("with_images", [False, True])
def test_a_planted_model_is_found_and_its_clean_twin_passes(folder: Path, reference: bool, with_images: bool) -> None:
    images = folder / "images.npz" if with_images else None
    found = audit(folder, "Patched", reference=reference, images=images)
    assert found.verdict is Verdict.BACKDOORED
    assert found.target_classes == (TARGET,)
    assert found.score > 0.5
    assert found.trigger is not None
    assert (found.trigger.mask * PATCH.mask().numpy()).sum() >= 3
    assert found.images.source == ("archive images.npz" if with_images else "class impressions")
    assert (found.images.clean_accuracy == 1.0) == with_images
    assert (found.reference is not None) == reference
    clean = audit(folder, "Templates", reference=reference, images=images)
    assert clean.verdict is Verdict.NO_EVIDENCE
    assert clean.score < 0.5
    assert clean.trigger is None
    assert clean.demonstrations == ()
    assert clean.kin == reference
    assert any("have the same weights" in warning for warning in clean.warnings) == reference
    said = " ".join(clean.blind_spots)
    assert ("No reference model" in said) != reference
    assert ("No images were given" in said) != with_images
    assert ("how the network was trained to see" in said) != with_images


@pytest.mark.parametrize("told_by", ["batch norm", "the reference", "nothing"])
def test_who_is_told_how_images_are_wanted_is_not_told_that_nothing_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    gather = scan.gather

    def gathered(request: ScanRequest, suspect: Classifier, *rest: Any, **more: Any) -> Any:
        found = gather(request, suspect, *rest, **more)
        if told_by == "batch norm":
            suspect.remembers = Remembered((0.4, 0.4, 0.4), 0.2)
        elif told_by == "the reference":
            suspect.prepare(Preprocess(value_range="-1..1"))
        return found

    monkeypatch.setattr(scan, "gather", gathered)
    said = " ".join(audit(folder, "Templates", images=None).blind_spots)
    assert ("Nothing says how the network was trained to see its images" in said) == (told_by == "nothing")


def test_the_demonstration_shows_what_the_models_answer(folder: Path) -> None:
    found = audit(folder, "Patched", reference=True)
    assert len(found.demonstrations) == 3
    for shown in found.demonstrations:
        assert shown.answer_after == TARGET != shown.answer_before
        assert shown.reference_after == shown.answer_before
        assert found.trigger is not None
        changed = np.abs(shown.after.pixels - shown.before.pixels).max(0) > 1e-6
        assert (changed <= (found.trigger.mask > 0)).all()
        assert 0 <= shown.confidence_before <= 1


def test_explanations_cost_less_than_half_and_change_nothing(folder: Path) -> None:
    plain = audit(folder, "Patched", reference=True)
    told = audit(folder, "Patched", reference=True, settings={"explain": "standard"})
    assert plain.explanations == ()
    assert (told.verdict, told.score, told.target_classes) == (plain.verdict, plain.score, plain.target_classes)
    assert told.image_passes == plain.image_passes
    assert [(e.role, e.target_class) for e in told.explanations] == [("stands out", TARGET), ("the model", None)]
    assert 0 < sum(e.passes for e in told.explanations) < told.image_passes / 2
    wrong = {"salient_pattern": {"steps": "many"}}
    with pytest.raises(ConfigError, match=r"salient_pattern\.steps"):
        audit(folder, "Patched", settings={"explain": "full"}, explanation_settings=wrong)


def test_every_detector_runs_and_the_record_is_complete(folder: Path) -> None:
    found = audit(folder, "Patched", reference=True, detectors=None, settings={"effort": "thorough"})
    assert {o.detector for o in found.outcomes} >= set(QUICK)
    assert found.outcomes[-1].detector == "pairwise"  # it wants candidates
    assert all(o.complete for o in found.outcomes)
    assert found.verdict in (Verdict.BACKDOORED, Verdict.SUSPICIOUS)
    assert found.image_passes >= sum(o.passes for o in found.outcomes) > 0
    assert found.seconds >= sum(o.seconds for o in found.outcomes)
    record = found.provenance.command
    assert found.provenance.seed == 3
    assert record["detectors"]["iscp"]["steps"] == 40
    assert record["model"] == "Patched.pt"
    assert str(folder) not in repr(record)
    assert found.model.name == "Patched.pt"
    assert len(found.model.sha256) == 64


def numbers(found: Audit) -> str:
    values = [(m.value, m.target_class, m.source_class, m.extras) for o in found.outcomes for m in o.measurements]
    return repr((found.verdict, found.score, found.reason, found.target_classes, found.evidence, values))


def test_the_same_seed_gives_the_same_audit(folder: Path) -> None:
    some = {"detectors": ("iscp", "dominant_pattern"), "images": None}
    first = audit(folder, "Patched", **some)
    torch.rand(7)
    again = audit(folder, "Patched", **some)
    other = audit(folder, "Patched", settings={"seed": 4}, **some)
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)
    assert not np.array_equal(first.images.samples[0].pixels, other.images.samples[0].pixels)


def test_choosing_fewer_detectors_changes_none_of_their_numbers(folder: Path) -> None:
    alone = audit(folder, "Patched", detectors=("iscp",)).outcomes[0]
    (among,) = [o for o in audit(folder, "Patched", detectors=None).outcomes if o.detector == "iscp"]
    assert [m.value for m in alone.measurements] == [m.value for m in among.measurements]


def test_a_spent_budget_is_inconclusive(folder: Path) -> None:
    found = audit(folder, "Templates", detectors=None, settings={"budget": "0.001s"})
    assert found.verdict is Verdict.INCONCLUSIVE
    measurable = [o for o in found.outcomes if o.expected]  # this network has no layers to look into
    assert len(measurable) > 6
    assert not any(o.complete for o in measurable)
    assert all("budget" in o.note for o in measurable)
    assert "not everything was measured" in found.reason


def test_a_budget_bounds_the_class_impressions_too(folder: Path) -> None:
    found = audit(folder, "Templates", images=None, settings={"budget": "0.001s"})
    assert "the time budget ended the making of class impressions early" in found.warnings
    assert found.verdict is Verdict.INCONCLUSIVE


def test_the_whole_audit_has_a_bar_of_its_own(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    audit(folder, "Templates", detectors=("iscp", "blend"), progress=lambda *step: told.append(step))
    whole = [step for step in told if step[0].startswith("whole audit, about ")]
    assert [step[1:] for step in whole] == [(0, 2), (1, 2), (2, 2)]


def test_it_ends_once_a_confirmed_trigger_has_decided_the_verdict(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.scan.DECIDED", 1e-3)  # to a perceptron a single pixel can do what this one does
    stopped = audit(folder, "Patched", detectors=("iscp", "blend"))
    assert (stopped.verdict, stopped.target_classes) == (Verdict.BACKDOORED, (TARGET,))
    first, second = stopped.outcomes
    assert (first.detector, first.complete, second.skipped, second.passes) == ("iscp", True, True, 0)
    assert "decided" in second.note
    whole = audit(folder, "Patched", detectors=("iscp", "blend"), settings={"early_stop": False})
    assert whole.verdict is Verdict.BACKDOORED
    assert all(o.complete for o in whole.outcomes)


@pytest.mark.parametrize(("rarest", "ended"), [(1e-6, True), (2e-6, False)])
def test_what_clean_models_might_do_does_not_end_an_audit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rarest: float, ended: bool
) -> None:
    """One with a planted warp was turned into bags by 1 % of the pixels (5e-6), before the warp was looked for."""

    def rare(*outcomes: Any, level: float, **rest: Any) -> Judgement:
        found = judge(*outcomes, level=0.01, **rest)
        return found if level >= rarest else replace(found, verdict=Verdict.SUSPICIOUS)

    monkeypatch.setattr("auditor.scan.verdict.judge", rare)
    found = audit(folder, "Patched", detectors=("iscp", "blend"))
    assert found.verdict is Verdict.BACKDOORED
    assert [o.skipped for o in found.outcomes] == [False, ended]


def test_ctrl_c_keeps_what_is_finished(folder: Path) -> None:
    def press(label: str, done: int, total: int) -> None:
        if label == "untargeted: pattern without a target" and done == 2:
            raise KeyboardInterrupt

    found = audit(folder, "Templates", detectors=None, progress=press)
    by_name = {o.detector: o for o in found.outcomes}
    assert found.verdict is Verdict.INCONCLUSIVE
    assert by_name["iscp"].complete
    assert by_name["untargeted"].note == "interrupted by the user"
    for name in ("blend", "pairwise"):
        assert by_name[name].measurements == ()
        assert not by_name[name].complete
        assert "interrupted" in by_name[name].note
    assert "interrupted by the user" in found.warnings


def test_a_model_that_cannot_be_measured_is_inconclusive(folder: Path) -> None:
    found = audit(folder, "NotANumber", images=None)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "NaN" in found.reason
    assert all(not o.measurements and o.note.startswith("not run") for o in found.outcomes)


@pytest.mark.parametrize(("detector", "made"), [("untargeted", True), ("iscp", False)])
def test_robust_impressions_are_made_only_where_a_detector_searches_on_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, detector: str, made: bool
) -> None:
    asked = []
    monkeypatch.setattr("auditor.search_images._robust_impressions", lambda *_: asked.append(True))
    audit(folder, "Templates", images=None, detectors=(detector,))
    assert bool(asked) is made


@pytest.mark.parametrize("others", [0, 2])
def test_images_of_one_class_alone_pass_no_model(folder: Path, others: int) -> None:
    images, labels = draw_images(800)
    kept = torch.cat([(labels == 2).nonzero().flatten()[:120], (labels == 1).nonzero().flatten()[:others]])
    np.savez(folder / "one.npz", x=images[kept].numpy(), y=labels[kept].numpy())
    found = audit(folder, "Templates", images=folder / "one.npz", settings={"image_count": 200})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "show 1 of 5 classes" in found.reason
    assert audit(folder, "Patched", images=folder / "one.npz").verdict is Verdict.BACKDOORED


def test_what_cannot_be_audited_is_refused(folder: Path) -> None:
    with pytest.raises(NothingToScanError, match="at least one detector"):
        audit(folder, "Templates", detectors=())
    few, labels = draw_images(10)
    np.savez(folder / "few.npz", x=few.numpy(), y=labels.numpy())
    with pytest.raises(ImagesError, match="at least 20 images"):
        audit(folder, "Templates", images=folder / "few.npz")
    seven = ScanRequest(
        model=folder / "Templates.pt",
        model_options=options("Templates"),
        reference=folder / "Seven.pt",
        reference_options=options("seven"),
    )
    with pytest.raises(ModelMismatchError, match="5 classes like the suspect, got 7"):
        scan.run(seven)


def test_time_is_shared_equally() -> None:
    import time

    now = time.monotonic()
    assert scan.share_of_time(None, 3) is None
    share = scan.share_of_time(now + 9, 3)
    assert share is not None
    assert share - now == pytest.approx(3, abs=0.1)
    late = scan.share_of_time(now - 5, 2)
    assert late is not None
    assert late <= time.monotonic()


@cache
def trained(backdoored: bool) -> nn.Sequential:
    """The demonstration's CNN, trained here for a few epochs."""
    digits, backdoor = load_digits(0), BACKDOORS["patch"]
    rng = torch.Generator().manual_seed(0)
    images, labels = poison(digits, backdoor, rng) if backdoored else (digits.train, digits.train_labels)
    return train(images, labels, rng, lambda done, total: None, epochs=6)


def test_a_trained_backdoor_is_found_and_the_clean_twin_passes(tmp_path: Path) -> None:
    digits, backdoor = load_digits(0), BACKDOORS["patch"]
    assert attack_success_rate(trained(True), digits, backdoor) > 0.9
    save_images(tmp_path / "digits.npz", digits)
    verdicts = {}
    for backdoored in (True, False):
        path = tmp_path / f"model{backdoored}.onnx"
        save_onnx(path, trained(backdoored))
        request = ScanRequest(
            model=path,
            images=tmp_path / "digits.npz",
            settings=ScanSettings(image_count=300),
            detectors=("iscp",),
            detector_settings={"iscp": {"steps": 40}},
        )
        verdicts[backdoored] = scan.run(request)
    assert verdicts[True].verdict is Verdict.BACKDOORED
    assert verdicts[True].target_classes == (backdoor.target,)
    assert verdicts[False].verdict is Verdict.NO_EVIDENCE
    assert verdicts[True].score > verdicts[False].score
