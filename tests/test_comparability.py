"""What two audits do not have in common beside the model: one sentence each, and none for what changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from short_audits import CLEAN, COMMAND, NAMES

from auditor.comparability import differences
from auditor.findings import Audit, FileFacts, ImageFacts, Provenance


def told(**changes: Any) -> Provenance:
    return replace(CLEAN.provenance, **changes)


def settings(**tables: Any) -> Audit:
    return replace(CLEAN, provenance=told(command={**COMMAND, **tables}))


REFERENCE = FileFacts("clean.pt", "1c" * 32, "state dict")
PICTURES = ImageFacts("folder clean/", 600, 300, labelled=True, sha256="ab" * 32)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (
            CLEAN,
            replace(CLEAN, reference=REFERENCE),
            "The second audit had a reference model and the first had none: it judged by fewer, other statistics.",
        ),
        (
            replace(CLEAN, reference=REFERENCE),
            replace(CLEAN, reference=replace(REFERENCE, sha256="2d" * 32)),
            "Reference model: clean.pt (SHA-256 1c1c1c1c…) in the first audit, "
            "clean.pt (SHA-256 2d2d2d2d…) in the second.",
        ),
        (
            CLEAN,
            replace(CLEAN, images=PICTURES),
            "Images: class impressions, without labels in the first audit, folder clean/, with labels "
            "(SHA-256 abababab…) in the second.",
        ),
        (
            CLEAN,
            replace(CLEAN, family_wise_level=0.05),
            "Family-wise level: 0.01 in the first audit, 0.05 in the second.",
        ),
        (CLEAN, replace(CLEAN, provenance=told(seed=3)), "Seed: 0 in the first audit, 3 in the second."),
        (CLEAN, replace(CLEAN, provenance=told(device="cuda")), "Device: cpu in the first audit, cuda in the second."),
        (
            CLEAN,
            replace(CLEAN, provenance=told(versions={"torch": "2.11.0", "onnx": "1.16"})),
            "Versions: torch 2.10.0 in the first and 2.11.0 in the second, "
            "onnx none in the first and 1.16 in the second.",
        ),
        (
            CLEAN,
            settings(calibration="mine.json"),
            "Calibration: the one that comes with the auditor in the first audit, mine.json in the second.",
        ),
        (
            CLEAN,
            settings(scan={**COMMAND["scan"], "effort": "quick", "budget": "90s"}),
            "Settings: effort standard in the first and quick in the second, "
            "budget not set in the first and 90s in the second.",
        ),
        (
            CLEAN,
            settings(detectors={**COMMAND["detectors"], "iscp": {"steps": 30, "starts": ["blank", "noise"]}}),
            "Settings: iscp.steps 60 in the first and 30 in the second.",
        ),
        (CLEAN, settings(detectors={"iscp": COMMAND["detectors"]["iscp"]}), "Asked of the first audit only: head."),
        (
            CLEAN,
            replace(CLEAN, model=replace(CLEAN.model, input_shape=(3, 64, 64))),
            "Input: 3 × 32 × 32 in the first audit, 3 × 64 × 64 in the second.",
        ),
        (
            CLEAN,
            replace(CLEAN, model=replace(CLEAN.model, num_classes=9)),
            "The first model tells 8 classes apart and the second 9: "
            "a class of the same number need not mean the same.",
        ),
        (
            CLEAN,
            replace(CLEAN, labels=("plane", "bird", *NAMES[2:])),
            "1 class is named otherwise, e.g. class 1: car in the first audit, bird in the second.",
        ),
        (
            CLEAN,
            replace(CLEAN, provenance=told(command={})),
            "The second audit does not tell its settings, so that they cannot be compared.",
        ),
    ],
)
def test_each_difference_is_one_sentence(first: Audit, second: Audit, sentence: str) -> None:
    assert differences(first, second) == (sentence,)
    assert len(differences(second, first)) == 1
    assert differences(second, second) == () or not second.provenance.command


def test_what_has_no_effect_on_the_verdict_is_no_difference() -> None:
    scan = {**COMMAND["scan"], "explain": "full", "seed": 0}
    other = settings(model="b.onnx", limits={"file_bytes": 11}, scan=scan)
    used = replace(PICTURES, count=590, held_out=295)  # those that the other model gets wrong are left out
    assert differences(replace(CLEAN, images=PICTURES), replace(other, images=used)) == ()


def test_settings_that_are_no_tables_are_survived() -> None:
    nested: dict[str, object] = {"a": {"b": {"c": {"d": {"e": 1}}}}}
    odd = settings(detectors=[1, None], scan="x" * 1000, **nested)
    (asked, apart) = differences(odd, CLEAN)
    assert asked == "Asked of the second audit only: iscp, head."
    assert len(apart) < 1000
