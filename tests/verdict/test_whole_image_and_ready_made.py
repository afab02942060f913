"""The judge on changes of the whole image, shifts inside the network and ready-made patches."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from auditor.calibration import Given, Null
from auditor.confirming import confirms
from auditor.findings import Evidence, Measurement, Outcome, Statistic, Verdict
from auditor.scoring import ALL_TO_ALL, TARGETS
from auditor.verdict import judge
from tests.verdict.outcomes import HIGH, NULL, judged, per_class, trigger, weighed, weighed_as


def test_what_is_found_inside_the_network_counts_in_the_score_only(
    monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    """An adversarially trained clean network came to 2e-5, where it would have counted by itself."""
    weighed(monkeypatch, features=1.0)
    nulls["features/prominence"] = NULL
    inside = per_class(HIGH, name="features")
    for given in (Given(), Given(images=True), Given(reference=True)):
        assert judged(inside, given=given).verdict is Verdict.NO_EVIDENCE
    agreeing = [inside, per_class(HIGH, success=0.5)]
    weighed(monkeypatch, features=2.0, search=2.0)
    result = judge(agreeing, num_classes=6, level=0.01, confirm_at=0.8, given=Given(images=True))
    assert (result.verdict, result.target_classes) == (Verdict.SUSPICIOUS, (2,))


@pytest.mark.parametrize(
    ("given", "mode", "mean", "works", "expected"),
    [
        (Given(images=True), "replace", 0.02, 0.95, Verdict.SUSPICIOUS),
        (Given(images=True), "replace", 0.02, 0.5, Verdict.NO_EVIDENCE),  # an image that does not work is no trigger
        (Given(images=True), "replace", 0.06, 0.95, Verdict.NO_EVIDENCE),  # p 2e-7: a weakly trained clean model's
        (Given(images=True), "warp", 0.06, 0.95, Verdict.SUSPICIOUS),  # but no deformation of a clean one
        (Given(images=True), "warp", 0.06, 0.5, Verdict.NO_EVIDENCE),
        (Given(images=True), "warp", 0.12, 0.95, Verdict.NO_EVIDENCE),  # p 4e-4
        (Given(), "replace", 0.02, 0.95, Verdict.SUSPICIOUS),
        (Given(), "replace", 0.06, 0.95, Verdict.NO_EVIDENCE),  # haze is an 8 to a clean network of digits
        (Given(reference=True), "replace", 0.06, 0.95, Verdict.SUSPICIOUS),
        (Given(reference=True), "warp", 0.06, 0.95, Verdict.SUSPICIOUS),
        (Given(reference=True, images=True), "replace", 0.02, 0.95, Verdict.BACKDOORED),
        (Given(reference=True, images=True), "warp", 0.02, 0.95, Verdict.BACKDOORED),
        # p 4e-4: what is searched on one clean network does often nothing to another
        (Given(reference=True, images=True), "replace", 0.12, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True), "warp", 0.12, 0.95, Verdict.NO_EVIDENCE),
        # p 1e-9: haze is an 8 to a clean network of digits, and not to another one
        (Given(reference=True, images=True, density=0.3), "replace", 0.045, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True, density=0.29), "replace", 0.045, 0.95, Verdict.BACKDOORED),
        (Given(reference=True, density=0.3), "replace", 0.045, 0.95, Verdict.NO_EVIDENCE),
        (Given(reference=True, images=True, density=0.3), "replace", 0.02, 0.95, Verdict.BACKDOORED),
    ],
)
def test_a_change_of_the_whole_image_far_from_all_clean_models_is_suspicious(
    given: Given, mode: Literal["replace", "warp"], mean: float, works: float, expected: Verdict,
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weighed(monkeypatch, search=0.5)
    nulls["search/prominence"] = Null(mean, count=1000)
    faint = per_class((0.02, 0.0, 0.95, 0.0, 0.0, 0.0), success=works)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.25, np.float32), mode=mode))
        for m in faint.measurements
    )
    found = judged(replace(faint, measurements=whole), given=given)
    assert found.verdict is expected
    if expected is Verdict.SUSPICIOUS:
        assert (found.target_classes, found.by_score) == ((2,), ("search",))  # so it is looked at again


@pytest.mark.parametrize(
    ("reference", "mean", "works", "classes", "expected"),
    [
        (False, 0.09, 0.9, 6, Verdict.SUSPICIOUS),  # p 7e-5; a planted one came to 1e-4 at most, on four seeds
        (False, 0.09, 0.7, 6, Verdict.NO_EVIDENCE),
        (False, 0.12, 0.9, 6, Verdict.NO_EVIDENCE),  # p 8e-4; clean ones come to 0.02
        (True, 0.09, 0.9, 6, Verdict.NO_EVIDENCE),  # with a reference to 3e-3
        (True, 0.07, 0.9, 6, Verdict.SUSPICIOUS),
        (False, 0.07, 0.9, 4, Verdict.INCONCLUSIVE),  # with few classes it may be a natural feature
    ],
)
def test_patterns_drawn_for_each_image_far_from_all_clean_models_are_suspicious(
    reference: bool, mean: float, works: float, classes: int, expected: Verdict,
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weighed(monkeypatch, generator=0.5)
    nulls["generator/prominence"] = Null(mean, count=1000)
    found = per_class((0.02, 0.0, 0.88, 0.0, 0.0, 0.0)[:classes], name="generator")
    told = tuple(replace(m, extras={"predictive power": works if m.value > 0.5 else 0.0}) for m in found.measurements)
    given = Given(images=True, reference=reference, num_classes=classes)
    result = judged(replace(found, measurements=told), num_classes=classes, given=given)
    assert result.verdict is expected
    if expected is Verdict.SUSPICIOUS:
        assert (result.target_classes, result.by_score) == ((2,), ("generator",))  # so it is looked at again


@pytest.mark.parametrize(
    ("statistic", "sources", "reference", "density", "confirmed"),
    [
        (TARGETS, (3, 5), False, 0.0, False),
        (TARGETS, (), False, 0.0, True),
        (TARGETS, (3, 5), True, 0.29, True),
        (TARGETS, (3, 5), True, 0.3, False),  # of a weakly trained clean network of clothes
        (TARGETS, (), True, 0.3, True),
        ("prominence of share of a source", (3, 5), False, 0.0, True),
        (ALL_TO_ALL, (3, 5), True, 0.0, False),
    ],
)
def test_a_patch_on_some_sources_does_not_confirm_what_is_said_of_most(
    statistic: str, sources: tuple[int, ...], reference: bool, density: float, confirmed: bool
) -> None:
    item = Evidence("patches", statistic, 0.5, np.nan, 1e-5, 1e-4, (2,))
    patch = replace(trigger(0.93, 0.0 if reference else None), source_classes=sources)
    given = Given(images=True, reference=reference, density=density)
    assert confirms(Measurement(0.9, 2, 3, patch), item, given, 0.8) is confirmed


@pytest.mark.parametrize(
    ("detector", "accuracy", "p_value", "confirmed"),
    [
        ("patches", 0.81, 1e-5, True),
        ("patches", 0.79, 1e-11, False),  # weak clean networks of five to eight classes came to 3e-3, 9e-5 and 5e-8
        ("patches", 0.79, 1e-13, True),
        ("iscp", 0.79, 1e-5, True),
    ],
)
def test_on_a_weak_network_a_ready_made_patch_confirms_only_far_from_clean_ones(
    detector: str, accuracy: float, p_value: float, confirmed: bool
) -> None:
    item = Evidence(detector, "prominence of share of a source", 0.8, np.nan, p_value, p_value, (2,), (3,))
    given = Given(images=True, clean_accuracy=accuracy)
    assert confirms(Measurement(0.9, 2, 3, trigger(0.9)), item, given, 0.8) is confirmed


FAR_PATCHES = (
    (0.015, 0.74, 0.0, Verdict.SUSPICIOUS),  # p 2e-13
    (0.015, 0.45, 0.0, Verdict.NO_EVIDENCE),  # it does not work
    (0.025, 0.74, 0.0, Verdict.NO_EVIDENCE),  # p 5e-8
    (0.015, 0.93, 0.0, Verdict.BACKDOORED),  # though it is for some sources, and said of most
)
WORKS_ON_THE_REFERENCE = (0.015, 0.74, 0.6, Verdict.NO_EVIDENCE)
BESIDE = Given(reference=True), Given(images=True, reference=True)


@pytest.mark.parametrize(
    ("given", "mean", "success", "reference", "verdict"),
    [
        *((given, *case) for given in (Given(images=True), *BESIDE) for case in FAR_PATCHES),
        *((given, *WORKS_ON_THE_REFERENCE) for given in BESIDE),
    ],
)
def test_a_ready_made_patch_far_from_all_clean_models_counts_by_itself(
    given: Given, mean: float, success: float, reference: float, verdict: Verdict,
    nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A planted patch was nearly the ready-made one, which turned 74 to 78 % of three sources of five."""
    keys = [f"patches/{kind}" for kind in ("prominence", ALL_TO_ALL, TARGETS)]
    weighed_as(monkeypatch, dict.fromkeys(keys, 0.1))
    nulls.update(dict.fromkeys(keys, Null(1.0, 1000)))
    nulls[f"patches/{TARGETS}"] = Null(mean, 1000)
    transferred = reference if given.reference else None
    found = [
        Measurement(0.74, 2, s, trigger(success, transferred, sources=(0, 1, 3)))
        if s in (0, 1, 3)
        else Measurement(0.0, 4, s)
        for s in (0, 1, 3, 2, 5)
    ]
    statistic = Statistic("moved", "share of images", per="source")
    outcome = Outcome("patches", statistic, {}, tuple(found), expected=5, seconds=1.0, passes=10)
    result = judged(outcome, given=given)
    assert result.verdict is verdict
    if verdict is Verdict.SUSPICIOUS:
        assert (result.target_classes, result.by_score) == ((2,), ("patches",))


@pytest.mark.parametrize(
    ("detector", "success", "verdict"),
    [
        ("waves", 0.61, Verdict.SUSPICIOUS),
        ("waves", 0.55, Verdict.NO_EVIDENCE),  # its interval reaches below a half
        ("blend", 0.61, Verdict.NO_EVIDENCE),  # what was searched has to work better
    ],
)
def test_a_wave_that_nobody_searched_for_has_to_turn_half(
    detector: str, success: float, verdict: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(monkeypatch, **{detector: 0.1})
    nulls[f"{detector}/prominence"] = Null(0.02, 1000)
    found = per_class((0.02, 0.0, 0.6, 0.0, 0.0, 0.0), success=success, name=detector)
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.full((10, 10), 0.25, np.float32), images=120))
        for m in found.measurements
    )
    assert judged(replace(found, measurements=whole), given=Given(images=True)).verdict is verdict


@pytest.mark.parametrize(
    ("warped", "mean", "named"),
    [
        (4, 0.04, (4,)),  # rarer than the confirmed one, and by more than any clean model
        (4, 0.06, (2,)),  # less rare than it
        (4, 0.2, (2,)),  # as clean models are
        (2, 0.04, (2,)),
    ],
)
def test_a_rarer_deformation_is_named_before_a_confirmed_patch_of_another_class(
    warped: int, mean: float, named: tuple[int, ...], nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two networks with planted warps were turned by few pixels as well, into a class of their own liking."""
    weighed(monkeypatch, search=0.1, warp=0.1)
    nulls["search/prominence"] = Null(0.05, 1000)
    nulls["warp/prominence"] = Null(mean, 1000)
    patch = per_class(HIGH, success=0.91)
    shift = per_class(tuple(0.95 if k == warped else 0.0 for k in range(6)), success=0.98, name="warp")
    whole = tuple(
        replace(m, trigger=replace(m.trigger, mask=np.ones((10, 10), np.float32), mode="warp"))
        for m in shift.measurements
    )
    found = judged(patch, replace(shift, measurements=whole), given=Given(images=True))
    assert (found.verdict, found.target_classes) == (Verdict.BACKDOORED, named)
    assert found.trigger is not None
    assert (found.trigger.mode == "warp") == (named == (4,))
