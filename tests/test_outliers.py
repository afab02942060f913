"""Statistics, against values worked out by hand and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student_t

from auditor.outliers import anomaly_index, holm, leading_gap, standard_error, surprises


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


def test_surprise_at_one_value_by_hand() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    rest = values[:-1]
    distance = (9 - rest.mean()) / (rest.std(ddof=1) * np.sqrt(1 + 1 / 4))
    chance = 1 - (1 - student_t.sf(distance, 3)) ** 5
    assert surprises(values)[4] == pytest.approx(-np.log10(chance))
    assert surprises(values)[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("classes", [4, 10, 43])
@pytest.mark.parametrize("covariates", [0, 1])
def test_surprise_at_the_largest_is_as_large_however_many_there_are(classes: int, covariates: int) -> None:
    draw = np.random.default_rng(classes)
    beside = [draw.standard_normal(classes) for _ in range(covariates)]
    most = [surprises(draw.standard_normal(classes), *beside).max() for _ in range(2000)]
    if classes == 4 and covariates:
        assert most == [0.0] * len(most)  # a line through three of four leaves one of them nothing to differ by
    else:
        assert np.mean(most) == pytest.approx(0.49, abs=0.06)
        assert np.mean(np.array(most) > 2) < 0.02


def test_what_a_covariate_foretells_is_no_surprise() -> None:
    draw = np.random.default_rng(0)
    known = np.array([0.0] * 11 + [8.0])
    values = known + draw.normal(0, 0.3, 12)
    assert surprises(values)[11] > 5
    assert surprises(values, known)[11] < 1


@pytest.mark.parametrize("values", [[1.0], [1.0] * 10, [1.0, np.nan] * 5, [1.0, 2.0, 3.0]])
def test_without_spread_or_enough_values_nothing_surprises(values: list[float]) -> None:
    assert surprises(values).tolist() == [0.0] * len(values)


def test_a_surprise_has_an_end() -> None:
    assert surprises([*np.linspace(0, 1e-6, 60), 1.0])[-1] <= 30
