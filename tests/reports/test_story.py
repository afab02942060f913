"""Explanations on the page and in the JSON: what is said of the numbers, what is drawn, and that nothing is obeyed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from example_audits import HOSTILE, audit, image

from auditor import archive
from auditor.explanations import Explanation, Panel, Strip
from auditor.findings import Audit, Curve, Picture
from auditor.reports import html
from auditor.reports.explained import sentence
from auditor.reports.lines import lines
from auditor.reports.story import stories
from auditor.reports.wording import trigger_sentence

TARGET = 8


def strip(title: str, count: int = 2) -> Strip:
    return Strip(title, tuple(Picture(f"picture {i}", image(i)) for i in range(count)))


def takeover(image_like: tuple[float, ...], trigger_like: tuple[float, ...]) -> Panel:
    x = tuple(float(i + 1) for i in range(len(image_like)))
    return Panel(
        "takeover",
        curves=(
            Curve("suspect: likeness to the image", x, image_like, "layer", "structural similarity", (0.1,) * len(x)),
            Curve("suspect: likeness to the trigger alone", x, trigger_like, "layer", "structural similarity"),
        ),
    )


def attention(given: float, reference: float | None = None) -> Panel:
    numbers = {"suspect, without": 0.02, "suspect, with": given, "size of the trigger": 0.03}
    if reference is not None:
        numbers["reference, with"] = reference
    return Panel("attention", (strip("images"),), numbers=numbers)


def explained(panel: Panel) -> Explanation:
    return Explanation("stands out", TARGET, (panel,), 3, triggered=True)


def said(panel: Panel) -> str:
    return sentence(panel, explained(panel), str)


def with_explanations(base: Audit) -> Audit:
    panels = (
        attention(0.6, 0.05),
        Panel("salient pattern", (strip(HOSTILE[0]), strip("reference")), numbers={"place": 0.03}, note=HOSTILE[1]),
        takeover((0.9, 0.5, 0.2), (0.2, 0.6, 0.9)),
        Panel("region", note="left out: " + HOSTILE[4]),
    )
    whole = Panel("probes", curves=(Curve("answers kept", (0, 1, 5), (1, 0.9, 0.4), "blur (σ)", "share"),))
    return replace(
        base,
        explanations=(
            Explanation("stands out", TARGET, panels, 3, triggered=True, seconds=1.0),
            Explanation("the model", None, (whole,)),
        ),
    )


@pytest.mark.parametrize(
    ("panel", "drawn"),
    [(attention(0.6), True), (attention(0.05), False), (attention(0.6, 0.5), False), (attention(0.6, 0.1), True)],
)
def test_attention_is_called_drawn_only_where_it_is(panel: Panel, drawn: bool) -> None:
    assert ("draws the network's attention to itself" in said(panel)) == drawn
    assert ("says little for or against" in said(panel)) != drawn


def test_energy_is_compared_with_everything_beside_it() -> None:
    numbers = {"place": 0.03, f"suspect, class {TARGET}": 0.4, "suspect, class 3, for comparison": 0.1}
    panel = Panel("salient pattern", (strip("x"),), numbers=numbers)
    assert "40% of its energy lies at the trigger's place, which is 3.0% of the image; 10% of that of class 3" in said(
        panel
    )
    assert "part of what the network takes for class 8" in said(panel)
    alike = replace(panel, numbers={**numbers, f"reference, class {TARGET}": 0.3})
    assert "says little" in said(alike)
    assert "of that of class 8 on the reference" in said(alike)


@pytest.mark.parametrize(("reached", "easier"), [(0.9, True), (0.15, False)])
def test_a_class_that_takes_less_is_told(reached: float, easier: bool) -> None:
    numbers = {
        f"probability: suspect, class {TARGET}": reached, "probability: suspect, class 3, for comparison": 0.1,
        f"probability: reference, class {TARGET}": 0.2,
    }  # fmt: skip
    told = said(Panel("salient pattern", (strip("x"),), numbers=numbers))
    assert f"of {reached:.2f} for it, 0.10 for class 3 on the suspect, 0.20 for class 8 on the reference" in told
    assert ("takes less to pass for this class" in told) == easier
    alone = {f"probability: suspect, class {TARGET}": reached}
    assert "norm" not in said(Panel("salient pattern", (strip("x"),), numbers=alone))


def test_sensitivity_says_where_it_gathers() -> None:
    numbers = {"suspect, without": 0.03, "suspect, with": 0.5, "reference, with": 0.04}
    panel = Panel("sensitivity", (strip("x"),), numbers=numbers)
    assert "3.0% lies at the trigger's place without the trigger, 50% with it, 4.0% on the reference" in said(panel)
    assert "hangs on the trigger" in said(panel)
    assert "says little" in said(replace(panel, numbers={**numbers, "reference, with": 0.4}))
    assert said(replace(panel, numbers={})).endswith("gather at it.")


def test_takeover_names_the_layer_from_which_it_lasts() -> None:
    assert "From layer 3 of 4 on" in said(takeover((0.9, 0.1, 0.2, 0.1), (0.2, 0.05, 0.6, 0.9)))
    assert "To the last layer they resemble the image" in said(takeover((0.9, 0.1, 0.9), (0.2, 0.5, 0.6)))


PROBED = Curve("answers kept", (0, 1), (1, 0.9), "blur (σ)", "share")


@pytest.mark.parametrize(
    ("kept", "reference", "concluded"),
    [
        (0.04, None, "of networks that were not trained on attacks."),
        (0.04, 0.0, "not trained on attacks (the reference keeps 0% at ε = 8/255)."),
        (0.4, None, "trained on attacks, or sees drawings"),
        (0.4, 0.02, "the model was probably trained on attacks"),
        (0.9, 0.88, "The reference withstands as much"),
    ],
)
def test_robust_accuracy_is_put_into_words(kept: float, reference: float | None, concluded: str) -> None:
    numbers = {"PGD, ε = 8/255": kept}
    if reference is not None:
        numbers["reference: PGD, ε = 8/255"] = reference
    assert concluded in said(Panel("probes", curves=(PROBED,), numbers=numbers))


@pytest.mark.parametrize(
    ("median", "concluded"),
    [(0.8, "by shape more than the reference"), (0.3, "by texture more than"), (0.55, "as much as the reference")],
)
def test_texture_and_shape_are_told_apart_beside_a_reference(median: float, concluded: str) -> None:
    """Section 4.1: shape is what median filters leave; blur takes from both models alike."""
    numbers = {"kept under median filters": median, "kept under blur": 0.5}
    alone = said(Panel("probes", curves=(PROBED,), numbers=numbers))
    assert "only a reference beside it could tell" in alone
    numbers |= {"reference: kept under median filters": 0.55, "reference: kept under blur": 0.5}
    assert concluded in said(Panel("probes", curves=(PROBED,), numbers=numbers))


def test_the_page_tells_a_story_of_each_class() -> None:
    shown = with_explanations(audit())
    page = html.render(shown)
    assert page.index("The recovered trigger") < page.index("in detail") < page.index("What was measured")
    assert "The model as a whole" in page
    assert "Not shown: The essence of the class at the trigger" in page
    first, whole = stories(shown)
    assert [p.heading for p in first.panels] == [
        "Where it looks", "What it takes for the essence of the class", "How early the trigger takes over",
    ]  # fmt: skip
    assert first.plots, "the class's predictive power over the pattern's size"
    assert whole.panels[0].charts
    assert "in detail" not in html.render(audit())


def test_hostile_text_in_explanations_is_shown_and_not_obeyed() -> None:
    page = html.render(with_explanations(audit(hostile=True)))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "49" not in re.findall(r"left out: (.*?)\.", page)[0]
    for found in re.findall(r'<img src="(.{0,30})', page):
        assert found.startswith("data:image/png;base64,")


def test_explanations_survive_the_json() -> None:
    shown = with_explanations(audit())
    data = json.loads(archive.to_text(shown))
    schema = json.loads((Path(html.__file__).parent / "audit.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schema)
    back = archive.from_dict(data)
    assert [e.role for e in back.explanations] == ["stands out", "the model"]
    for ours, theirs in zip(shown.explanations[0].panels, back.explanations[0].panels, strict=True):
        assert (ours.kind, ours.curves, ours.numbers, ours.note) == (
            theirs.kind, theirs.curves, theirs.numbers, theirs.note,
        )  # fmt: skip
    pixels = back.explanations[0].panels[0].strips[0].pictures[0].pixels
    assert np.allclose(pixels, shown.explanations[0].panels[0].strips[0].pictures[0].pixels, atol=1 / 255)
    del data["explanations"]
    assert archive.from_dict(data).explanations == ()


def test_lines_are_told_apart_without_colour() -> None:
    curves = [Curve(f"line {i}", (0, 1, 2), (0.1 * i, 0.5, float("nan")), "x", "y") for i in range(4)]
    drawn = lines(curves)
    assert drawn is not None
    styles = re.findall(r'class="line (\w+)" points', drawn.drawing)
    assert styles == ["solid", "dashed", "dotted", "dashdot"]
    assert "line 3 goes from 0.3 at 0 to 0.5 at 1" in drawn.drawing
    assert "<polygon" not in drawn.drawing
    banded = lines([Curve("a", (0, 1), (0.2, 0.4), "x", "y", (0.1, 0.1))])
    assert banded is not None
    assert "<polygon" in banded.drawing
    assert lines([Curve("a", (0,), (0.2,), "x", "y")]) is None


def test_a_label_map_is_not_told_as_one_class() -> None:
    found = audit(10)
    assert found.trigger is not None
    assert "of them into class " in trigger_sentence(found, found.trigger)
    every = replace(found, target_classes=tuple(range(10)))
    assert "into the class that a label map gives to their own" in trigger_sentence(every, found.trigger)
