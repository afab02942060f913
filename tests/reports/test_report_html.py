"""The page: self-contained, inert whatever the model file says, and complete."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from example_audits import HOSTILE, audit, image, patch

from auditor.findings import Audit, Evidence, Measurement, Outcome, Picture, Statistic, Trigger, Verdict
from auditor.reports import figures
from auditor.reports.html import render

VOID = {"meta", "link", "img", "rect", "line", "path", "circle", "polyline"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_inert_and_needs_nothing(any_audit: Audit) -> None:
    page = Page(render(any_audit))
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "form", "base", "use"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in ("src", "href", "srcset", "action", "xlink:href"):
                assert (value or "").startswith("data:"), (tag, name, value)
    assert not re.search(r"url\(|@import|https?://", render(any_audit))


def test_the_content_security_policy_allows_this_style_sheet_only(backdoored: Audit) -> None:
    text = render(backdoored)
    policy = next(m["content"] for m in Page(text).of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy


def test_hostile_text_is_shown_and_not_obeyed(hostile: Audit) -> None:
    text = render(hostile)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = Page(text)
    assert HOSTILE[0] in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\\x1b[31mred" in page.text
    assert "\\u202etxt.exe" in page.text


def test_the_verdict_comes_first_then_the_evidence(backdoored: Audit) -> None:
    text = Page(render(backdoored)).text
    story = [
        "Backdoored",
        backdoored.reason,
        "The recovered trigger",
        "Held-out images, without and with it",
        "What was measured",
        "predictive power over pattern size",
        "bias map, suspect",
        "success rate, source → target",
        "dominant pattern",
        "Images searched on",
        "What this audit could not see",
        "Provenance",
    ]
    places = [text.index(words) for words in story]
    assert places == sorted(places)
    for facts in (
        backdoored.model.sha256,
        backdoored.blind_spots[0],
        "mask_step",
        "0.04",
        "2.10.0",
        "48.4 k",
        "113 s",
    ):
        assert facts in text


def test_demonstrations_show_both_models_answers(backdoored: Audit) -> None:
    text = Page(render(backdoored)).text
    assert "5 (class-5)" in text
    assert "reference says" in text
    assert text.count("with trigger") == 3


def test_every_picture_has_an_alternative_text(any_audit: Audit) -> None:
    pictures = Page(render(any_audit)).of("img")
    assert pictures
    assert all(picture.get("alt") for picture in pictures)


def test_a_thousand_classes_stay_a_page() -> None:
    big = audit(1000)
    text = render(big)
    assert len(text) < 2_000_000
    page = Page(text)
    assert sum((rect.get("class") or "").startswith("bar") for rect in page.of("rect")) < 150
    assert "all 1000" in page.text


def test_another_detectors_exhibits_are_rendered_too(backdoored: Audit) -> None:
    mine = Outcome(
        "somebody_elses",
        Statistic("oddness", "bits", suspicious="low"),
        {"depth": 3},
        (Measurement(0.25, 1, exhibits=(Picture("an odd picture", np.ones((4, 5, 6), np.float32)),)),),
        10,
        1.0,
        100,
        note="stopped by the budget",
    )
    text = Page(render(dataclasses.replace(backdoored, outcomes=(mine,), evidence=()))).text
    for words in (
        "somebody_elses",
        "oddness (bits)",
        "an odd picture",
        "incomplete",
        "stopped by the budget",
        "depth",
    ):
        assert words in text


def test_an_added_trigger_says_how_strong_it_is(backdoored: Audit) -> None:
    replaced = patch()
    added = Trigger(np.ones_like(replaced.mask), np.full_like(replaced.pattern, 8 / 255), 0.9, "add", images=50)
    text = Page(render(dataclasses.replace(backdoored, trigger=added))).text
    assert "added, at most 8/255 a pixel" in text
    assert "the trigger, enlarged" not in text


def test_no_trigger_says_so() -> None:
    assert "no trigger to show" in Page(render(dataclasses.replace(audit(10), trigger=None, demonstrations=()))).text


@pytest.mark.parametrize(("named", "shown"), [((3,), True), ((4,), False)])
def test_without_a_trigger_what_stands_out_is_shown(backdoored: Audit, named: tuple[int, ...], shown: bool) -> None:
    """Patterns drawn for each image are no one trigger, and yet what the verdict rests on."""
    drawn = Measurement(0.9, 3, exhibits=(Picture("drawn for each", image(5)),))
    statistic = Statistic("predictive power of drawn patterns", "share of images")
    outcome = Outcome("generator", statistic, {}, (drawn,), expected=1, seconds=1.0, passes=1)
    item = Evidence("generator", "prominence of predictive power", 0.9, 0.5, 1e-9, 1e-8, (3,), stands_out=True)
    judged = dataclasses.replace(
        backdoored, verdict=Verdict.SUSPICIOUS, trigger=None, demonstrations=(), target_classes=named,
        outcomes=(outcome,), evidence=(item,),
    )  # fmt: skip
    section = render(judged).partition("The recovered trigger</h2>")[2].partition("</section>")[0]
    assert ("What stands out was found otherwise" in section) is shown
    assert ("drawn for each" in section) is shown
    told = dataclasses.replace(judged, trigger=backdoored.trigger)
    assert "found otherwise" not in render(told)


def palettes() -> dict[str, dict[str, str]]:
    css = files("auditor.templates").joinpath("report.css").read_text(encoding="utf-8")
    light, dark, paper = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in css.split(":root {")[1:])
    return {"light": light, "dark": dark, "print": paper}


def luminance(rgb: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_meets_wcag_aa_and_graphics_three_to_one(theme: str) -> None:
    p = {name: rgb(value) for name, value in palettes()[theme].items()}
    on = {"page": ("ink", "soft"), "card": ("ink", "soft", "link", "marked")}
    on |= {f"{mood}-tint": ("ink", "soft", mood) for mood in ("good", "open", "warn", "bad")}
    for background, texts in on.items():
        for text in texts:
            assert contrast(p[text], p[background]) >= 4.5, (text, background)
    for graphic in ("bar", "marked", "limit", "heat"):
        assert contrast(p[graphic], p["card"]) >= (2.5 if graphic == "heat" else 3), graphic
    for step in range(11):  # numbers inside heat-map cells, whatever the value
        cell = tuple(step / 10 * h + (1 - step / 10) * c for h, c in zip(p["heat"], p["card"], strict=True))
        assert contrast(p["ink"], cell) >= 4.5, step


@pytest.mark.parametrize(("classes", "compared", "told"), [(3, False, True), (10, False, False), (3, True, False)])
def test_what_may_be_a_natural_feature_of_few_classes_is_shown_as_that(
    classes: int, compared: bool, told: bool
) -> None:
    inconclusive = audit(classes, Verdict.INCONCLUSIVE)
    if not compared:
        inconclusive = dataclasses.replace(inconclusive, reference=None)
    rare = dataclasses.replace(inconclusive.evidence[0], p_value=1e-5, corrected_p=1e-5, stands_out=False)
    page = Page(render(dataclasses.replace(inconclusive, evidence=(rare,), trigger=patch())))
    assert (f"with {classes} classes that can be a natural feature's" in page.text) is told
    assert "Whether it is a trigger's or a natural feature's cannot be told" in page.text


def test_a_blended_trigger_is_drawn_at_full_strength(backdoored: Audit) -> None:
    pattern = image(3)
    faint = Trigger(np.full((32, 32), 0.1, np.float32), pattern, 0.9, images=50)
    text = render(dataclasses.replace(backdoored, trigger=faint))
    assert figures.data_uri(pattern) in text
    words = Page(text).text
    assert "blended in at 10%" in words
    assert "at full strength" in words
    assert "touches the whole image, blended in at 10%" in words
    assert "the mask:" not in words


def test_nothing_measured_draws_no_empty_chart(backdoored: Audit) -> None:
    unmeasured = tuple(dataclasses.replace(m, value=float("nan")) for m in backdoored.outcomes[1].measurements)
    outcome = dataclasses.replace(backdoored.outcomes[1], measurements=unmeasured)
    page = Page(render(dataclasses.replace(backdoored, outcomes=(outcome,), evidence=())))
    assert not [t for t in page.of("table") if t.get("class") == "bars"]
    assert "Nothing was judged from it." in page.text
    assert "bias map, suspect" in page.text


def test_a_statistic_without_a_threshold_names_none(backdoored: Audit) -> None:
    found = dataclasses.replace(backdoored.evidence[0], threshold=float("nan"))
    audit = dataclasses.replace(backdoored, outcomes=backdoored.outcomes[:1], evidence=(found,), labels=())
    page = Page(render(audit))
    assert "beyond the threshold" not in page.text
    assert not [line for line in page.of("line") if line.get("class") == "limit"]
    assert sum(t.get("class") == "bars" for t in page.of("table")) == 1
    assert "class 8" in page.text


def test_a_large_picture_is_embedded_whole(backdoored: Audit) -> None:
    noise = np.random.default_rng(0).random((3, 96, 96)).astype(np.float32)
    shown = dataclasses.replace(backdoored.demonstrations[0], before=Picture("noise", noise))
    uri = figures.data_uri(noise)
    assert len(uri) > 30_000
    assert f'src="{uri}"' in render(dataclasses.replace(backdoored, demonstrations=(shown,)))


@pytest.mark.parametrize(("kinship", "said"), [(0.97, "kin: one was trained on"), (0.03, "not kin"), (None, "")])
def test_what_suspect_and_reference_have_to_do_with_each_other_is_told(kinship: float | None, said: str) -> None:
    page = render(dataclasses.replace(audit(), kinship=kinship))
    assert ("suspect and reference</th>" in page) == bool(said)
    assert said in page
    assert ("mean cosine of their weights" in page) == bool(said)
