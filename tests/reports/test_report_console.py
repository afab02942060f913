"""The console report: plain and stable off a terminal, and nothing in it steers one."""

from __future__ import annotations

import dataclasses
import re

import pytest

from auditor.findings import Audit
from auditor.reports.console import render

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def test_plain_text_has_no_control_characters(any_audit: Audit) -> None:
    text = render(any_audit)
    assert text == render(any_audit)
    assert all(character == "\n" or character.isprintable() for character in text)


def test_only_rich_writes_escapes(hostile: Audit) -> None:
    text = render(hostile, colour=True)
    assert "\x1b[" in text
    assert all(character == "\n" or character.isprintable() for character in ESCAPE.sub("", text))
    assert "\\x1b[31mred" in render(hostile, width=200)
    assert "[bold]" in render(hostile, width=200)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_it_keeps_to_the_width(any_audit: Audit, width: int) -> None:
    for colour in (False, True):
        lines = ESCAPE.sub("", render(any_audit, colour=colour, width=width)).splitlines()
        assert max(map(len, lines)) <= width


def test_it_says_what_was_found(backdoored: Audit) -> None:
    text = render(backdoored, width=160)
    for words in (
        "[X] Backdoored",
        "model.onnx",
        "target class 8 (class-8)",
        "score 0.97",
        "dominant_pattern",
        "0.00044",
        "33.1 k",
        "98.5% of them",
        "clean.pt",
        backdoored.model.sha256,
    ):
        assert words in text
    assert re.search(r"iscp +largest step down among the leading classes +class 8 \(class-8\) +0\.698 +0\.31 ", text)


def test_warnings_and_unfinished_detectors_show(backdoored: Audit) -> None:
    cut = dataclasses.replace(backdoored.outcomes[0], measurements=(), note="stopped by the budget")
    audit = dataclasses.replace(
        backdoored,
        outcomes=(cut, *backdoored.outcomes[1:]),
        evidence=backdoored.evidence[1:],
        warnings=("mind this",),
    )
    text = render(audit, width=160)
    assert "iscp is incomplete: stopped by the budget" in text
    assert "mind this" in text


def test_the_trigger_is_drawn_only_in_colour(backdoored: Audit) -> None:
    assert "▀" in render(backdoored, colour=True)
    assert "▀" not in render(backdoored)
    drawn = [line for line in render(backdoored, colour=True).splitlines() if "▀" in line]
    assert 4 <= len(drawn) <= 16
    assert any("255;178;102" in line for line in drawn)


def test_detectors_that_share_a_reason_share_a_note(backdoored: Audit) -> None:
    reason = "not run: a confirmed trigger had decided the verdict"
    first = backdoored.outcomes[0]
    others = [
        dataclasses.replace(first, detector=name, skipped=True, note=reason, measurements=())
        for name in ("blend", "head", "warp")
    ]
    audit = dataclasses.replace(backdoored, outcomes=(*backdoored.outcomes, *others))
    text = " ".join(render(audit, width=200).split())
    assert f"note blend, head and warp are skipped: {reason}" in text
    assert text.count(reason) == 1
    assert text.count("warp") == 1, "no row of its own"
