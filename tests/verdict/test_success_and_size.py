"""The judge on what works without commanding, and on larger patterns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditor.calibration import Given, Null
from auditor.findings import Outcome, Verdict
from tests.verdict.outcomes import bare, judged, larger, per_class, trigger, weighed, weighed_as


def success_known(nulls: dict[str, Null]) -> None:
    nulls["search/prominence in success"] = Null(mean=0.1, count=20)


def test_a_small_trigger_that_just_about_works_everywhere_is_a_backdoor(nulls: dict[str, Null]) -> None:
    success_known(nulls)
    outcome = bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, 0.0, 0.0, 0.02, 0.0))
    result = judged(outcome, num_classes=10, given=Given(images=True))
    assert (result.verdict, result.target_classes) == (Verdict.BACKDOORED, (2,))
    assert result.score >= 0.5
    # on class impressions natural features do as much
    alone = judged(outcome, num_classes=10, given=Given())
    assert alone.verdict is not Verdict.BACKDOORED


@pytest.mark.parametrize(
    "outcome",
    [
        bare((0.05, 0.02, 0.7, 0.1, 0.0, 0.03, *[0.0] * 4)),  # not confirmed
        bare((0.9, 0.85, 0.9, 0.88, 0.8, 0.92, *[0.85] * 4)),  # a weak model: every class is within reach
        bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, *[0.0] * 4), size=5),  # half of the image
        bare((0.05, 0.02, 0.9, 0.1, 0.0, 0.03, *[0.0] * 4), transfer=0.8),  # a natural feature
    ],
    ids=["unconfirmed", "weak", "large", "natural"],
)
def test_success_alone_is_no_backdoor(outcome: Outcome, nulls: dict[str, Null]) -> None:
    success_known(nulls)
    result = judged(outcome, num_classes=10, given=Given(images=True))
    assert result.verdict is not Verdict.BACKDOORED


def larger_known(monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null], mean: float) -> None:
    weighed_as(monkeypatch, {"search/prominence": 1.0, "search/prominence of larger patterns": 1.0}, alarm=0.9)
    nulls["search/prominence of larger patterns"] = Null(mean, count=1000)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    ("leads_by", "side", "expected"),
    [(0.97, 4, Verdict.BACKDOORED), (0.5, 4, Verdict.NO_EVIDENCE), (0.5, 1, Verdict.BACKDOORED)],
    ids=["far beyond clean ones", "one clean model in 20000 shows as much", "the same, but compact"],
)
def test_a_larger_trigger_has_to_be_far_from_clean_models(
    leads_by: float,
    side: int,
    expected: Verdict,
    images: bool,
    nulls: dict[str, Null],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Natural features work as well; a compact one may be confirmed at the level of a single statistic."""
    larger_known(monkeypatch, nulls, 0.045)
    outcome = larger((0.0, 0.0, leads_by, 0.0, 0.0, 0.0), side)
    assert judged(outcome, given=Given(images=images)).verdict is expected
    against = judged(outcome, given=Given(images=images, reference=True))
    assert against.verdict is Verdict.BACKDOORED


TWINS = [
    (0.29, False, Verdict.BACKDOORED),  # global pooling
    (0.3, True, Verdict.BACKDOORED),  # its parent
    (0.3, False, Verdict.NO_EVIDENCE),
]
"""density, whether suspect and reference are kin, the verdict on a trigger that clean networks come near"""


@pytest.mark.parametrize(("density", "kin", "expected"), TWINS)
@pytest.mark.parametrize("images", [True, False])
def test_a_reference_that_is_no_twin_need_not_share_a_weakness(
    images: bool, density: float, kin: bool, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """p 2e-5 and 5e-9: a clean network of digits came to the first beside a clean one of another architecture."""
    larger_known(monkeypatch, nulls, 0.045)
    given = Given(images=images, reference=True, density=density, kin=kin)
    assert judged(larger((0.0, 0.0, 0.5, 0.0, 0.0, 0.0), 4), given=given).verdict is expected
    assert judged(larger((0.0, 0.0, 0.9, 0.0, 0.0, 0.0), 4), given=given).verdict is Verdict.BACKDOORED


@pytest.mark.parametrize(("accuracy", "expected"), [(0.81, Verdict.BACKDOORED), (0.79, Verdict.NO_EVIDENCE)])
def test_nor_need_one_of_a_weakly_trained_suspect(
    accuracy: float, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean one that is right on 58 % gave way to 3.5 % of the pixels, and its reference did not."""
    larger_known(monkeypatch, nulls, 0.045)
    given = Given(images=True, reference=True, clean_accuracy=accuracy)
    outcome = larger((0.0, 0.0, 0.5, 0.0, 0.0, 0.0), 4)
    assert judged(outcome, given=given).verdict is expected
    assert judged(outcome, given=replace(given, kin=True)).verdict is Verdict.BACKDOORED


@pytest.mark.parametrize(("density", "kin", "expected"), TWINS)
def test_nor_what_commands_a_little(
    density: float, kin: bool, expected: Verdict, nulls: dict[str, Null], monkeypatch: pytest.MonkeyPatch
) -> None:
    """p 1e-3, where a clean network for signs came to, and 7e-9."""
    weighed(monkeypatch, search=0.5)
    nulls["search/prominence"] = Null(0.05, count=1000)
    given = Given(reference=True, density=density, kin=kin)
    for value, verdict in ((0.35, expected), (0.95, Verdict.BACKDOORED)):
        found = per_class((0.02, 0.0, value, 0.0, 0.0, 0.0), success=0.9)
        sure = tuple(replace(m, trigger=trigger(0.9 if m.target_class == 2 else 0.0)) for m in found.measurements)
        assert judged(replace(found, measurements=sure), given=given).verdict is verdict


def test_what_only_agrees_with_others_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch, nulls: dict[str, Null]
) -> None:
    """A trigger that works, of a statistic that one clean model in twenty shows, makes no suspicion a certainty."""
    weighed_as(monkeypatch, {"search/prominence": 1.0, "other/prominence": 1.0}, intercept=-1.0, alarm=0.6)
    others = per_class((0.0, 0.0, 0.3, 0.0, 0.0, 0.0), name="other")
    works = per_class((0.0, 0.0, 0.6, 0.0, 0.0, 0.0), success=0.95)
    for mean, verdict in ((0.2, Verdict.SUSPICIOUS), (0.05, Verdict.BACKDOORED)):
        nulls["search/prominence"] = Null(mean, count=1000)
        result = judged(others, works)
        assert (result.verdict, result.target_classes) == (verdict, (2,))
