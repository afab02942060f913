"""What the accessibility check makes of what the browser says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.accessibility import (
    MAX_BYTES,
    MAX_SECONDS,
    MODES,
    Checked,
    Violation,
    keyboard_violations,
    merged,
    outside,
    standard_of,
    tables,
    violations_of,
)

FINE = Checked("r.html", 200_000, 0.4, (), 12, 3, ())
CONTRAST = Violation("dark", "WCAG 2.0 AA", "color-contrast", "serious", 4, "a | b")


def rule(name: str, tags: list[str], *targets: Any) -> dict[str, Any]:
    return {"id": name, "impact": None, "tags": tags, "nodes": [{"target": [target]} for target in targets]}


@pytest.mark.parametrize(
    ("tags", "standard"),
    [
        (["cat.color", "wcag2aa", "wcag143"], "WCAG 2.0 AA"),
        (["wcag22aa", "wcag21a"], "WCAG 2.1 A"),
        (["cat.semantics", "best-practice"], "best practice"),
        (["experimental"], "other"),
    ],
)
def test_a_rule_belongs_to_the_most_basic_standard_that_asks_for_it(tags: list[str], standard: str) -> None:
    assert standard_of(tags) == standard


def test_axe_results_become_violations_with_best_practice_after_the_standards() -> None:
    result = {
        "violations": [
            rule("heading-order", ["best-practice"], "h4", "h5"),
            rule("label", ["wcag2a"], ["#host", "input"]),
        ],
        "incomplete": [rule("color-contrast", ["wcag2aa"], "p")],
    }
    assert violations_of(result, "print") == [
        Violation("print", "WCAG 2.0 A", "label", "", 1, "input in #host"),
        Violation("print", "best practice", "heading-order", "", 2, "h4"),
    ]


def test_both_passes_count_a_rule_once_with_the_larger_number() -> None:
    more = dataclasses.replace(CONTRAST, elements=9)
    hidden = dataclasses.replace(CONTRAST, rule="label", elements=1)
    assert merged([CONTRAST], [more, hidden]) == [more, hidden]
    assert merged([more], [CONTRAST]) == [more]
    assert merged([CONTRAST], []) == [CONTRAST]


def test_what_tab_never_reaches_and_what_does_not_show_it() -> None:
    visits = [(0, True), (-1, False), (2, False), (0, True)]
    never, unseen = keyboard_violations(["summary a", "div b", "summary c"], visits, "320 px")
    assert (never.rule, never.elements, never.where) == ("keyboard", 1, "div b")
    assert (unseen.rule, unseen.elements, unseen.where) == ("focus-visible", 1, "summary c")
    assert keyboard_violations(["summary a"], [(-1, False), (0, True)], "320 px") == []
    assert keyboard_violations([], [(-1, False)], "320 px") == []


def test_only_the_page_itself_and_embedded_data_stay_inside() -> None:
    page = "file:///r.html"
    addresses = [page, f"{page}#top", "data:image/png;base64,AA", "file:///other.css", "https://example.org/x.js"]
    assert outside(addresses, page) == ("file:///other.css", "https://example.org/x.js")


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, []),
        ({"requests": ("https://example.org/x.js",)}, ["requests"]),
        ({"size": MAX_BYTES}, []),
        ({"size": MAX_BYTES + 1}, ["size"]),
        ({"seconds": MAX_SECONDS}, []),
        ({"seconds": MAX_SECONDS + 0.1}, ["time"]),
        ({"violations": (CONTRAST,)}, ["color-contrast"]),
    ],
)
def test_requests_size_and_time_fail_a_page_too(change: dict[str, Any], broken: list[str]) -> None:
    assert [v.rule for v in dataclasses.replace(FINE, **change).failures] == broken


def test_the_tables_hold_a_row_a_page_and_one_a_failure() -> None:
    lines = list(tables([FINE, dataclasses.replace(FINE, name="s.html", violations=(CONTRAST,))]))
    head, rule_line, fine, failed, gap, *failures = lines
    assert {line.count("|") for line in (head, rule_line, fine, failed)} == {7 + len(MODES)}
    assert fine == "| r.html | 200 | 0.40 | 0 | 3 | 12 | 0 | 0 | 0 | 0 |"
    assert failed == "| s.html | 200 | 0.40 | 0 | 3 | 12 | 0 | 1 | 0 | 0 |"
    assert gap == ""
    assert failures[2:] == [r"| s.html | dark | WCAG 2.0 AA | color-contrast | serious | 4 | a \| b |"]
    assert list(tables([FINE]))[-1] == "Nothing fails."
