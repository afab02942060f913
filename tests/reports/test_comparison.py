"""The comparison as page, console text and JSON: inert whatever the audits say, and what changed comes first."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import math
import re

import pytest
from example_audits import HOSTILE, audit, patch
from test_report_html import Page

from auditor import record_json
from auditor.comparing import Comparison, compare
from auditor.findings import Audit, Verdict
from auditor.registry import load, names
from auditor.reports import (
    comparison,
    comparison_console,
    comparison_json,
    dumbbells,
    figures,
    html,
    page,
    side_by_side,
)

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(params=["after a backdoored one", "before a hostile one"])
def any_pair(request: pytest.FixtureRequest, any_audit: Audit) -> Comparison:
    """Each of the example audits, with another one before or after it."""
    first = request.param.startswith("before")
    return compare(any_audit, audit(10, hostile=True)) if first else compare(audit(10), any_audit)


def fixed() -> tuple[Audit, Audit]:
    """A backdoored model, and another file that shows nothing."""
    clean = audit(10, Verdict.NO_EVIDENCE)
    model = dataclasses.replace(clean.model, name="fixed.onnx", sha256="7" * 64)
    return audit(10), dataclasses.replace(clean, model=model)


def test_the_page_is_inert_and_needs_nothing(any_pair: Comparison) -> None:
    text = comparison.render(any_pair)
    seen = Page(text)
    assert not {tag for tag, _ in seen.tags} & {"script", "iframe", "object", "embed", "form", "base", "use"}
    for tag, attributes in seen.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in ("src", "href", "srcset", "action", "xlink:href"):
                assert (value or "").startswith("data:"), (tag, name, value)
    assert not re.search(r"url\(|@import|https?://", text)
    assert all(picture.get("alt") for picture in seen.of("img"))


def test_the_policy_is_that_of_the_other_page_with_this_style_sheet(backdoored: Audit) -> None:
    text = comparison.render(compare(*fixed()))
    policies = [
        next(m["content"] for m in Page(t).of("meta") if m.get("http-equiv") == "Content-Security-Policy") or ""
        for t in (text, html.render(backdoored))
    ]
    digests = [re.search(r"'sha256-([^']+)'", policy) for policy in policies]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert digests[0] is not None
    assert digests[1] is not None
    assert digests[0][1] == base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies[0].replace(digests[0][1], "") == policies[1].replace(digests[1][1], "")
    assert page.style("report.css")["css"] + page.style("comparison.css")["css"] == style


def test_hostile_text_is_shown_and_not_obeyed(hostile: Audit) -> None:
    for pair in ((hostile, hostile), (audit(10), hostile), (hostile, audit(10))):
        text = comparison.render(compare(*pair))
        assert "<script" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        words = Page(text).text
        assert HOSTILE[0] in words
        assert "{{ 7*7 }}" in words
        assert "\\x1b[31mred" in words
        assert "\\u202etxt.exe" in words


def test_every_difference_of_a_hostile_audit_is_escaped(hostile: Audit) -> None:
    found = compare(audit(10), hostile)
    assert any("<script" in caveat for caveat in found.caveats)
    shown = Page(comparison.render(found)).text
    for caveat in found.caveats:
        assert caveat.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e") in shown


def test_only_rich_writes_escapes(any_pair: Comparison) -> None:
    plain = comparison_console.render(any_pair)
    assert plain == comparison_console.render(any_pair)
    coloured = comparison_console.render(any_pair, colour=True)
    assert "\x1b[" in coloured
    for text in (plain, ESCAPE.sub("", coloured)):
        assert all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_console_keeps_to_the_width(any_pair: Comparison, width: int) -> None:
    for colour in (False, True):
        lines = ESCAPE.sub("", comparison_console.render(any_pair, colour=colour, width=width)).splitlines()
        assert max(map(len, lines)) <= width


def test_the_console_says_what_changed() -> None:
    text = comparison_console.render(compare(*fixed()), width=180)
    for words in (
        "[-] A milder verdict\n",
        "no evidence of the backdoor that the first one named (class 8)",
        "[o] No evidence of a backdoor",
        "0.08  (−0.89)",
        "none recovered",
        "turns 98.5% of 500 images",
        "fixed.onnx",
        "warning of the second  clean accuracy is 54 %",
    ):
        assert words in text
    line = next(line for line in text.splitlines() if "iscp" in line)
    assert re.search(r"no longer stands out: class 8 \(class-8\) +iscp +largest .* 0\.698 +0\.00044 +0\.0294 +1$", line)
    assert text.index("no longer stands out") < text.index("in neither")
    assert "hard to compare" not in text


def test_the_page_tells_the_conclusion_then_verdicts_then_changes() -> None:
    first, second = fixed()
    second = dataclasses.replace(second, reference=None)
    found = compare(first, second)
    text = Page(comparison.render(found)).text
    story = [
        "model.onnx",
        "fixed.onnx",
        "A milder verdict",
        found.conclusion,
        "First audit",
        "Backdoored",
        first.reason,
        "Second audit",
        "No evidence of a backdoor",
        "What makes them hard to compare",
        "The first audit had a reference model",
        "What changed",
        "no longer stands out: class 8 (class-8)",
        "2 that stand out in neither",
        "The recovered triggers",
        "None was recovered.",
        "Files and settings",
        "What this comparison cannot say",
    ]
    after = 0
    for words in story:
        after = text.index(words, after)
    assert "Target class named by the first audit only: 8 (class-8)" in " ".join(text.split())
    assert first.blind_spots[0] in text


def test_both_triggers_are_drawn(backdoored: Audit) -> None:
    other = dataclasses.replace(backdoored, trigger=patch(side=5, success=0.9))
    text = comparison.render(compare(backdoored, other))
    for made in (backdoored, other):
        assert made.trigger is not None
        assert figures.data_uri(figures.on_grey(made.trigger)) in text
    assert "turns 98.5% of them" in text
    assert "turns 90% of them" in text


def test_another_class_of_the_same_statistic_is_seen(backdoored: Audit) -> None:
    moved = dataclasses.replace(backdoored.evidence[0], target_classes=(3,))
    other = dataclasses.replace(backdoored, target_classes=(3,), evidence=(moved, *backdoored.evidence[1:]))
    found = compare(backdoored, other)
    words = {row.detector: row.words for row in side_by_side.rows(found)}
    assert words["iscp"] == "stands out in both: class 8 (class-8), then class 3 (class-3)"
    assert words["bias_map"] == "stands out in both: class 8 (class-8)"
    assert side_by_side.moves(found) == [
        ("named by the second audit only", "3 (class-3)"),
        ("named by the first audit only", "8 (class-8)"),
    ]


def test_the_score_difference_is_that_of_the_scores_shown(backdoored: Audit) -> None:
    def between(a: float, b: float) -> str:
        first, second = (dataclasses.replace(backdoored, score=score) for score in (a, b))
        return side_by_side.score_difference(compare(first, second))

    assert between(0.2, 0.95) == "+0.75"
    assert between(0.504, 0.496) == "±0.00"
    assert between(0.506, 0.494) == "−0.02"  # 0.51 and 0.49 are shown


def test_files_are_said_to_be_alike_as_far_as_known() -> None:
    first, second = fixed()
    assert side_by_side.same_files(compare(first, first)) == "Both audits are of the same file."
    said = "Two files of the same architecture, number of classes and input size."
    assert side_by_side.same_files(compare(first, second)) == said
    wider = dataclasses.replace(second, model=dataclasses.replace(second.model, architecture="vgg11"))
    said = "Two files of the same number of classes and input size, but of another architecture."
    assert side_by_side.same_files(compare(first, wider)) == said


def test_dots_stand_where_their_p_values_are() -> None:
    on = dumbbells.axis([1.0, 0.0004, 1e-12], [0.01])
    assert on.decades == 8  # at most
    axis = dumbbells.axis([1.0, 0.002], [0.01])
    assert axis.decades == 3
    assert axis.ticks == (1, 0.1, 0.01, 0.001)
    # 2 per cent are kept free at either end, and a decade is a third of the rest
    assert [round(axis.at(p), 6) for p in (1.0, 0.1, 0.001)] == [2, 34, 98]
    assert axis.at(0.0) == axis.at(1e-9) == 98
    drawn = str(dumbbells.dumbbell(axis, 0.1, 0.001, marked=(False, True)))
    assert re.findall(r'class="dot ([^"]+)" cx="([\d.]+)%"', drawn) == [("before", "34.00"), ("after marked", "98.00")]
    assert 'class="way" x1="34.00%" x2="98.00%"' in drawn
    assert f'class="limit" x1="{axis.at(0.01):.2f}%"' in drawn
    alone = str(dumbbells.dumbbell(axis, None, 0.5, marked=(False, False)))
    assert alone.count("<circle") == 1
    assert "way" not in alone


def test_numbers_that_are_missing_are_survived(backdoored: Audit) -> None:
    gone = dataclasses.replace(backdoored.evidence[0], corrected_p=math.nan, value=math.nan)
    bare = dataclasses.replace(backdoored, evidence=(gone,), outcomes=(), family_wise_level=math.nan)
    empty = dataclasses.replace(bare, evidence=(), labels=(), trigger=None)
    for first, second in itertools.product((bare, empty, backdoored), repeat=2):
        found = compare(first, second)
        Page(comparison.render(found))
        assert comparison_console.render(found)
        json.loads(comparison_json.render(found), parse_constant=pytest.fail)
    assert "Neither audit judged any statistic." in Page(comparison.render(compare(empty, empty))).text


def test_the_json_says_it_all(any_pair: Comparison) -> None:
    text = comparison_json.render(any_pair)
    assert text.isascii()
    assert "##" not in text
    data = json.loads(text)
    assert data["conclusion"] == any_pair.conclusion
    assert data["change"] == any_pair.change.value
    assert data["score_difference"] == pytest.approx(any_pair.second.score - any_pair.first.score)
    assert data["caveats"] == list(any_pair.caveats)
    assert data["files"] == dataclasses.asdict(any_pair.files)
    for entry, pair in zip(data["statistics"], any_pair.statistics, strict=True):
        assert (entry["detector"], entry["statistic"]) == (pair.detector, pair.statistic)
        assert entry["shift"] == pair.shift.value
        for side, e in ((entry["first"], pair.first), (entry["second"], pair.second)):
            assert (side is None) == (e is None)
            if e is not None:
                kept = ("value", "threshold", "p_value", "corrected_p", "stands_out", "target_classes")
                assert {key: side[key] for key in kept} == {
                    key: value for key, value in record_json.encode_record(e).items() if key in kept
                }
    for side, made in ((data["first"], any_pair.first), (data["second"], any_pair.second)):
        assert side["model"]["sha256"] == made.model.sha256
        assert side["verdict"] == made.verdict.value
        assert "samples" not in side["images"]
        if made.trigger is not None:
            assert side["trigger"]["size"] == pytest.approx(9 / 1024)


def test_nothing_in_it_is_a_command_to_a_build_server(backdoored: Audit) -> None:
    attack = "##vso[task.setvariable variable=x]y ::error file=x::z"
    other = dataclasses.replace(backdoored, reason=attack, warnings=(attack,), labels=(attack,) * 10)
    found = compare(backdoored, other)
    text = comparison_json.render(found)
    assert "##" not in text
    assert json.loads(text)["second"]["reason"] == attack  # nothing is lost
    shown = comparison_console.render(found, width=180)
    assert "##" not in shown
    assert "vso[task.setvariable" in shown
    assert "::error" not in shown


def test_comparisons_are_found_by_their_entry_points() -> None:
    assert {"console", "html", "json"} <= set(names("auditor.comparisons"))
    for name in ("console", "html", "json"):
        assert isinstance(load("auditor.comparisons", name)(compare(*fixed())), str)
