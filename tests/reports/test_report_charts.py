"""Axes, limits and heat maps."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from example_audits import patch

from auditor.findings import Audit, Curve, Evidence, Measurement, Outcome, Statistic
from auditor.reports.charts import bars, curves, nice_scale
from auditor.reports.figures import data_uri, on_grey, window
from auditor.reports.heat_map import heat_map
from auditor.reports.sections import class_limit, detector_sections
from auditor.reports.wording import clean, duration, number, passes, percent, probability


@pytest.mark.parametrize("values", [[0.93, 0.2], [0.0], [-3.0, 12.0], [1e-7], [4e6, 5], [float("nan")], []])
def test_a_scale_holds_its_values_between_round_ticks(values: list[float]) -> None:
    scale = nice_scale(values)
    finite = [v for v in values if v == v]
    assert scale.low <= min([0, *finite])
    assert scale.high >= max([0, *finite])
    assert 2 <= len(scale.ticks) <= 8
    assert scale.ticks[0] == pytest.approx(scale.low)
    assert scale.at(scale.high) == 100


def test_bars_are_ordered_and_leave_out_what_is_not_measured() -> None:
    chart = bars(["a", "b", "c"], [0.2, float("nan"), 0.7], label="x", limit=0.5, limit_text="half", marked=(2,))
    assert [row.name for row in chart.rows] == ["c", "a"]
    assert [row.stands_out for row in chart.rows] == [True, False]
    (at,) = re.findall(r'class="limit" x1="([\d.]+)%"', chart.rows[0].drawing)
    (width,) = re.findall(r'class="bar marked" x="0.00%" y="5" width="([\d.]+)%"', chart.rows[0].drawing)
    assert float(at) / float(width) == pytest.approx(0.5 / 0.7, rel=1e-2)


def test_many_classes_become_fifteen_bars_and_a_strip() -> None:
    chart = bars([str(i) for i in range(43)], list(np.linspace(0, 1, 43)), label="x", marked=(42,))
    assert len(chart.rows) == 15
    assert chart.left_out == 28
    assert chart.strip is not None
    assert chart.strip.count('class="rug"') == 43
    assert chart.strip.count('class="rug marked"') == 1


def evidence(value: float, threshold: float, targets: tuple[int, ...], scores: tuple[float, ...]) -> Evidence:
    return Evidence("d", "s", value, threshold, 0.1, 0.1, targets, scores=scores)


def test_the_threshold_is_drawn_where_the_leaders_had_to_end() -> None:
    assert class_limit(evidence(0.9, 0.5, (1,), (0.1, 0.9, 0.3)))[0] == 0.5  # judged: the class's own score
    assert class_limit(evidence(0.6, 0.25, (1,), (0.1, 0.9, 0.3)))[0] == pytest.approx(0.55)  # the step down
    assert class_limit(evidence(0.25, 0.2, (1, 3), (0.1, 0.9, 0.3, 0.8)))[0] == pytest.approx(0.7)  # two leaders
    assert class_limit(evidence(0.4, 0.2, (1,), (0.9, 0.1, 0.5)), low=True)[0] == pytest.approx(0.3)
    assert class_limit(evidence(7.0, 2.0, (1,), (0.1, 0.9, 0.3)))[0] is None  # something else was judged
    assert class_limit(evidence(0.9, float("inf"), (1,), (0.1, 0.9, 0.3)))[0] is None
    assert class_limit(evidence(0.9, 0.5, (1,), ()))[0] is None


def test_curves_need_two_points_and_escape_their_units() -> None:
    assert curves([(Curve("t", (1.0,), (2.0,), "x", "y"), True)]) == ""
    drawn = curves([(Curve("t", (0.01, 0.1, float("nan")), (0.0, 1.0, 2.0), 'share of "pixels"', "<y>"), True)])
    assert 'points="0.0,200.0 1000.0,0.0"' in drawn
    assert "&lt;y&gt;" in drawn
    assert ">10%<" in drawn


def test_a_heat_map_names_its_strongest_pairs() -> None:
    values = np.zeros((5, 5), np.float32)
    values[2, 4] = 0.9
    np.fill_diagonal(values, np.nan)
    shown = heat_map(values, "t", marked=(4,))
    assert shown is not None
    assert shown.strongest[0] == (2, 4, pytest.approx(0.9))
    assert shown.drawing.count('class="heat-cell"') == 20
    assert shown.drawing.count('class="unmeasured"') == 5
    assert shown.drawing.count('class="outline"') == 1
    assert heat_map(np.full((3, 3), np.nan, np.float32), "t") is None


def test_a_partly_measured_table_becomes_lines_and_a_large_one_is_cut() -> None:
    values = np.full((43, 43), np.nan, np.float32)
    values[:, 8] = 0.5
    values[3, :] = 0.1
    drawn = heat_map(values, "t")
    assert drawn is not None
    assert "→ 8" in drawn.drawing
    assert "3 →" in drawn.drawing
    assert drawn.drawing.count('class="heat-cell"') == 2 * 43
    big = heat_map(np.random.default_rng(0).random((300, 300)).astype(np.float32), "t", marked=(299,))
    assert big is not None
    assert big.drawing.count('class="heat-cell"') == 40 * 40
    assert ">299<" in big.drawing
    assert "40 classes of 300" in big.left_out


def test_the_trigger_on_grey() -> None:
    trigger = patch(side=3)
    shown = on_grey(trigger)
    assert shown[:, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert shown[0, 27, 28] == pytest.approx(1.0)
    rows, columns = window(trigger) or (slice(0), slice(0))
    assert (rows.start, rows.stop, columns.start, columns.stop) == (25, 32, 25, 32)
    assert data_uri(np.zeros((2, 3, 3), np.float32)).startswith("data:image/png;base64,")


def test_words_for_numbers() -> None:
    assert [number(v) for v in (0.0, -0.0, 0.5, 1234.6, 2.1e-5, float("nan"), None)] == [
        "0",
        "0",
        "0.5",
        "1,230",
        "2.1e-05",
        "–",
        "–",
    ]
    assert [percent(v) for v in (0.0, 0.0004, 0.02, 0.5, 0.985, 0.9999, 1.0)] == [
        "0%", "<0.1%", "2.0%", "50%", "98.5%", ">99.9%", "100%",
    ]  # fmt: skip
    assert [duration(v) for v in (4.2, 61, 185, 7800)] == ["4.2 s", "61 s", "3 min 05 s", "2 h 10 min"]
    assert [passes(v) for v in (812, 33_040, 1_200_000)] == ["812", "33.0 k", "1.2 M"]
    assert [probability(v) for v in (2e-24, 0.00044, 0.31, 1.0)] == ["<1e-06", "0.00044", "0.31", "1"]


def test_clean_shows_what_hides() -> None:
    assert clean("a\x1b[31m\n\u202e\ud800é漢\U0001f600") == "a\\x1b[31m\\n\\u202e\\ud800é漢\U0001f600"
    assert clean("x" * 50, 10) == "x" * 10 + "…"


def test_negated_scores_of_a_low_statistic_are_drawn_as_measured(backdoored: Audit) -> None:
    values = (0.9, 0.1, 0.5)
    measured = tuple(Measurement(v, c) for c, v in enumerate(values))
    outcome = Outcome("d", Statistic("mask size", "pixels", "low"), {}, measured, 3, 1.0, 1)
    found = Evidence("d", "gap", 0.4, 0.2, 1e-4, 1e-3, (1,), (), tuple(-v for v in values), True)
    audit = dataclasses.replace(
        backdoored,
        outcomes=(outcome,),
        evidence=(found,),
        model=dataclasses.replace(backdoored.model, num_classes=3),
    )
    (section,) = detector_sections(audit)
    (chart,) = section.bars
    assert [(row.value, row.stands_out) for row in chart.rows] == [
        ("0.1", True),
        ("0.5", False),
        ("0.9", False),
    ]
    assert chart.label == "mask size (pixels)"
    assert "0.3" in chart.limit
