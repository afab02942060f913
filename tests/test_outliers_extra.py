"""Statistics that the verdict reads: prominence, the all-to-all index, the leader's p-value."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.outliers import all_to_all_index, leader_p_value, prominence


def test_prominence_by_hand() -> None:
    rise, leaders = prominence([0.1, 0.9, 0.1, 0.0, 0.05, 0.1])
    assert rise == pytest.approx((0.8 * 0.9) ** 0.5)
    assert leaders == (1,)
    rise, leaders = prominence([0.9, 0.1, 0.8, 0.0, 0.0, 0.0])
    assert rise == pytest.approx(max((0.1 * 0.9) ** 0.5, (0.7 / 2 * 0.85) ** 0.5))
    assert leaders == (0, 2)


def test_prominence_wants_a_step_and_a_height() -> None:
    planted = prominence([0.95, 0.1, 0.05, 0.1, 0.0, 0.02])[0]
    dragged = prominence([0.95, 0.6, 0.05, 0.1, 0.0, 0.02])[0]  # a similar class comes along
    weak = prominence([0.95, 0.9, 0.85, 0.8, 0.75, 0.7])[0]  # everything is within reach
    low = prominence([0.12, 0.0, 0.0, 0.0, 0.0, 0.0])[0]
    assert planted > dragged > 2 * weak
    assert low < 0.15 * 1.01


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan, 0.1], [-0.4, -0.5, -0.6, -0.7]])
def test_prominence_of_nothing(values: list[float]) -> None:
    assert prominence(values)[0] == 0.0


def test_prominence_ignores_the_order_of_classes() -> None:
    values = np.random.default_rng(0).random(10)
    order = np.random.default_rng(1).permutation(10)
    rise, leaders = prominence(values)
    moved, moved_leaders = prominence(values[order])
    assert moved == pytest.approx(rise)
    assert [int(order[i]) for i in moved_leaders] == list(leaders)


def shifted(k: int, value: float, rest: float = 0.02) -> np.ndarray:
    matrix = np.full((k, k), rest)
    matrix[np.arange(k), (np.arange(k) + 1) % k] = value
    np.fill_diagonal(matrix, np.nan)
    return matrix


def test_all_to_all_index_by_hand() -> None:
    assert all_to_all_index(shifted(6, 0.9)) == (pytest.approx(0.9), (0, 1, 2, 3, 4, 5))
    one_target = np.full((6, 6), 0.02)
    one_target[:, 3] = 0.9
    index, targets = all_to_all_index(one_target)
    assert 3 in targets
    assert index == pytest.approx(0.9 * 2 / 6)  # class 3 itself goes elsewhere
    assert all_to_all_index(np.full((6, 6), 0.02))[0] <= 0.02


def test_all_to_all_index_leaves_the_matrix_and_its_diagonal_alone() -> None:
    matrix = shifted(5, 0.5)
    np.fill_diagonal(matrix, 1.0)
    before = matrix.copy()
    assert all_to_all_index(matrix)[0] == pytest.approx(0.5)
    np.testing.assert_array_equal(matrix, before)


def test_all_to_all_needs_every_source() -> None:
    missing = shifted(6, 0.9)
    missing[2] = np.nan
    assert all_to_all_index(missing) == (0.0, ())
    assert all_to_all_index(shifted(2, 0.9)) == (0.0, ())


def test_leader_p_value_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    alarms = np.mean([leader_p_value(rng.normal(size=10)) < 0.05 for _ in range(3000)])
    assert 0.02 < alarms < 0.07


def test_leader_p_value_sees_a_leader_and_no_scale_or_shift() -> None:
    values = np.array([0.1, 0.12, 0.09, 0.11, 0.1, 0.9])
    p = leader_p_value(values)
    assert p < 1e-4
    assert leader_p_value(values * 7 - 3) == pytest.approx(p)
    assert leader_p_value(-values) > 0.05


@pytest.mark.parametrize("values", [[], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 5.0], [0.1, np.nan, 0.2, 0.3, 0.9]])
def test_leader_p_value_without_grounds_is_one(values: list[float]) -> None:
    assert leader_p_value(values) == 1.0
