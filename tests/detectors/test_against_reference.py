"""What the reference reaches as well is taken off, and classes it was not asked about gain nothing by that."""

from __future__ import annotations

import pytest

from auditor.detectors.against_reference import net


def test_the_references_share_is_taken_off_and_never_more() -> None:
    assert net({0: 0.9, 1: 0.3}, {0: 0.4, 1: 0.5}) == {0: pytest.approx(0.5), 1: 0.0}


def test_a_class_not_searched_on_the_reference_keeps_no_more_than_the_least_that_is_left() -> None:
    ours = {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.1}
    assert net(ours, {0: 0.1, 1: 0.5}) == {0: pytest.approx(0.8), 1: pytest.approx(0.3), 2: pytest.approx(0.3), 3: 0.1}
    assert net(ours, {0: 0.1, 1: 0.8})[2] == 0.0


def test_without_a_search_on_the_reference_nothing_is_taken_off() -> None:
    assert net({0: 0.9, 1: 0.3}, {}) == {0: 0.9, 1: 0.3}
