"""The clean distributions that statistics are judged by; nothing here knows the shipped numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import WEAK, Given, Null, nulls, weights
from auditor.findings import Evidence
from auditor.outliers import exponential_p_value
from auditor.scoring import LARGER, combine


def test_the_shipped_calibration_is_readable_and_sane() -> None:
    for key, null in nulls().items():
        detector, slash, what = key.partition("/")
        assert detector
        assert slash
        assert what
        assert 0 < null.mean < 10
        assert null.count >= 1


@pytest.mark.parametrize("p", [0.2, 0.01, 1e-4])
def test_threshold_and_p_value_are_inverse(p: float) -> None:
    null = Null(mean=0.07, count=12)
    assert null.p_value(null.threshold(p)) == pytest.approx(p)


def test_p_values_fall_with_the_value_and_start_at_one() -> None:
    null = Null(mean=0.1, count=10)
    p = [null.p_value(v) for v in (-1.0, 0.0, 0.05, 0.2, 1.0)]
    assert p[:2] == [1.0, 1.0]
    assert p == sorted(p, reverse=True)
    assert len(set(p[1:])) == 4


def test_shares_end_at_one_and_so_do_their_thresholds() -> None:
    null = Null(mean=0.2, count=20, shares=True)
    assert null.p_value(null.threshold(1e-3)) == pytest.approx(1e-3)
    assert null.threshold(1e-12) < 1
    assert null.p_value(0.02) == pytest.approx(Null(mean=0.2, count=20).p_value(0.02), rel=0.01)
    assert null.p_value(0.98) < 1e-3 * null.p_value(0.65)
    assert null.p_value(1.0) == null.p_value(0.999) > 0
    assert null.at(Given(num_classes=43)).shares


def test_few_models_make_for_caution() -> None:
    assert Null(0.1, 5).p_value(0.5) > Null(0.1, 50).p_value(0.5) > math.exp(-5)
    assert Null(0.1, 10**6).p_value(0.5) == pytest.approx(math.exp(-5), rel=1e-3)


def test_the_p_value_is_uniform_when_the_scale_is_estimated() -> None:
    """Scale and new value both drawn from the same exponential: alarms at 5 % come about 5 % of the time."""
    rng = np.random.default_rng(0)
    alarms = np.mean(
        [exponential_p_value(rng.exponential(3.0), rng.exponential(3.0, 8).mean(), 8) <= 0.05 for _ in range(6000)]
    )
    assert 0.04 < alarms < 0.06


@pytest.mark.parametrize(("images", "times"), [(False, 4), (True, 100)])
def test_a_network_without_convolution_may_show_more_before_it_is_rare(images: bool, times: int) -> None:
    """Perceptrons trained on drawings answered to larger patterns, and 13 of 24 clean ones were flagged for it.

    Alone, other networks with dense layers on whole maps come near.
    """
    usual, dense = (
        Given(images=images, density=density).null(nulls(), "iscp", LARGER) for density in (0.0, 1.0)
    )
    assert usual is not None
    assert dense is not None
    assert dense.mean > 2 * usual.mean
    assert dense.p_value(0.25) > times * usual.p_value(0.25)


def test_of_five_to_nine_classes_a_model_is_judged_as_of_ten() -> None:
    """Carried on, slopes ask less of fewer classes: a clean network of five was suspicious of a smooth pattern."""
    assert {Given(num_classes=k).traits["classes"] for k in range(5, 11)} == {0.0}
    assert Given(num_classes=3).traits["classes"] < 0 < Given(num_classes=11).traits["classes"]


def test_the_more_places_dense_layers_see_the_more_they_may_show_beyond_lenets() -> None:
    seen = [Given(density=d).traits["dense"] for d in (0.0, 0.42, 0.52, 0.746, 1.0)]
    assert seen[:3] == [0.0, 0.0, 0.0]
    assert seen[3:] == pytest.approx([0.471, 1.0], abs=1e-3)


def test_large_models_are_judged_as_the_largest_that_were_measured() -> None:
    """A slope carried on from small images would ask of photos for values that no share of images reaches."""
    photos = Given(num_classes=1000, input_values=3 * 224 * 224, clean_accuracy=0.1)
    assert photos.traits == pytest.approx(
        {"classes": 1.0, "size": math.log10(3072 / 784), "weakness": 0.5, "dense": 0.0}
    )
    for images in (False, True):
        for classes in (2, 10, 1000):
            given = Given(images=images, num_classes=classes, input_values=3 * 224 * 224)
            null = given.null(nulls(), "iscp", "prominence")
            assert null is not None
            assert null.threshold(0.01 / 12) < 0.8


def test_of_a_weakly_trained_model_the_score_asks_for_more() -> None:
    told = [
        Evidence(
            detector=name, statistic="prominence of x", value=0.5, threshold=1.0, p_value=1e-3, corrected_p=1.0,
            target_classes=(2,),
        )
        for name in ("iscp", "blend", "features")
    ]  # fmt: skip
    strong, usual, weak = (weights(Given(images=True, clean_accuracy=a)) for a in (0.99, None, 0.6))
    assert strong == usual == replace(weak, handicap=0.0)
    assert weak.handicap == pytest.approx(WEAK * 0.3)
    assert 0 < combine(told, weak).score < combine(told, usual).score
    odds = [math.log(s / (1 - s)) for s in (combine(told, usual).score, combine(told, weak).score)]
    assert odds[0] - odds[1] == pytest.approx(weak.handicap)


def test_a_network_that_is_never_sure_counts_as_weak() -> None:
    assert Given(unsure=True).traits == {**Given().traits, "weakness": 0.5}
    assert weights(Given(unsure=True)).handicap == pytest.approx(0.5 * WEAK)
