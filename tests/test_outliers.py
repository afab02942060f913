"""Statistics, against values worked out by hand and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.outliers import anomaly_index, holm, leading_gap, standard_error


def test_anomaly_index_by_hand() -> None:
    index = anomaly_index([1.0, 2.0, 3.0, 4.0, 100.0])  # median 3, deviations 2 1 0 1 97, MAD 1
    assert index == pytest.approx(np.array([-2, -1, 0, 1, 97]) / 1.4826)


def test_without_spread_there_is_no_index() -> None:
    assert np.isnan(anomaly_index([0.5] * 9 + [1.0])).all()


def test_one_target_stands_clear() -> None:
    gap, leaders = leading_gap([0.1, 0.15, 0.95, 0.2, 0.1, 0.05])
    assert gap == pytest.approx(0.75)
    assert leaders == (2,)


def test_two_targets_stand_clear_together() -> None:
    gap, leaders = leading_gap([0.1, 0.9, 0.15, 0.95, 0.2, 0.1, 0.1, 0.1])
    assert set(leaders) == {1, 3}
    assert gap == pytest.approx(0.7 / 2)


def test_a_gradual_rise_is_no_gap() -> None:
    gap, _ = leading_gap(np.linspace(0, 1, 11))
    assert gap == pytest.approx(0.1)


def test_gap_ignores_the_order_and_the_offset_of_classes() -> None:
    values = np.random.default_rng(0).random(10)
    gap, leaders = leading_gap(values)
    shuffled = np.random.default_rng(1).permutation(10)
    moved, moved_leaders = leading_gap(values[shuffled] + 5)
    assert moved == pytest.approx(gap)
    assert [int(shuffled[i]) for i in moved_leaders] == list(leaders)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan, 0.5], [np.inf, 0.0, 0.0]])
def test_gap_of_nothing(values: list[float]) -> None:
    assert leading_gap(values) == (0.0, ())


def test_never_more_leaders_than_half_of_the_classes() -> None:
    gap, leaders = leading_gap([1.0, 0.0])
    assert (gap, leaders) == (1.0, (0,))
    _, leaders = leading_gap([0.9, 0.9, 0.9, 0.0])
    assert len(leaders) <= 2


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_holm_keeps_the_family_wise_level() -> None:
    rng = np.random.default_rng(0)
    alarms = np.mean([holm(rng.random(5)).min() < 0.1 for _ in range(4000)])
    assert 0.07 < alarms < 0.115


def test_standard_error_never_vanishes_and_shrinks_with_images() -> None:
    assert standard_error(1.0, 100) > 0
    assert standard_error(0.5, 400) < standard_error(0.5, 100)
    assert standard_error(0.5, 10_000) == pytest.approx(0.005, rel=0.01)
