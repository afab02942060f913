"""How long an audit will take: told before it is begun."""

from __future__ import annotations

import pytest
from tiny_models import Templates, make_classifier

from auditor.detection_rates import measured
from auditor.expected_time import expected, expected_passes, in_words, pace, told


def test_passes_grow_slower_than_the_classes() -> None:
    few, more, many = (
        expected_passes(k, reference=False, images=True, effort="standard") or 0 for k in (10, 43, 1000)
    )
    assert few == pytest.approx(measured()["images", "standard"].passes, abs=500)
    assert few < more < 3 * few < many < 10 * few
    assert expected_passes(10, reference=False, images=True, effort="thorough") is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "about 10 s"), (44, "about 40 s"), (700, "about 12 min"), (9000, "about 2.5 h")]
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_pace_costs_no_passes() -> None:
    model = make_classifier(Templates())
    before = model.passes
    assert pace(model) > 100
    assert model.passes == before
    assert "with --effort quick" in told(model, images=True)
    model.differentiable = False
    assert told(model, images=True) == expected(model, reference=False, images=True, effort="quick") == ""
