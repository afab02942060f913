"""Audits with little in them, for what compares two of them: a clean, a suspicious, a backdoored and an open one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from auditor.findings import (
    Audit,
    Evidence,
    FileFacts,
    ImageFacts,
    Measurement,
    Outcome,
    Provenance,
    Statistic,
    Trigger,
    Verdict,
)

COMMAND: dict[str, Any] = {
    "model": "a.onnx",
    "calibration": None,
    "scan": {"seed": 0, "effort": "standard", "budget": None, "level": 0.01, "explain": "standard"},
    "limits": {"file_bytes": 10},
    "model options": {"preprocess": "none"},
    "detectors": {"iscp": {"steps": 60, "starts": ("blank", "noise")}, "head": {}},
}
NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse")


def evidence(detector: str = "iscp", value: float = 0.7, p: float = 1e-4, *targets: int) -> Evidence:
    return Evidence(detector, "prominence", value, 0.3, p / 2, p, targets or (7,), stands_out=p <= 0.01)


def outcome(detector: str, **fields: Any) -> Outcome:
    return replace(Outcome(detector, Statistic("power", "share"), {}, (), 0, 1.0, 10), **fields)


def audit(verdict: Verdict = Verdict.NO_EVIDENCE, *targets: int, **fields: Any) -> Audit:
    """An audit of a file of its own; ``fields`` replace what it says."""
    made = Audit(
        verdict=verdict,
        score=0.9 if targets else 0.1,
        reason="because",
        target_classes=targets,
        source_classes=(),
        warnings=(),
        evidence=(evidence(p=1e-4 if targets else 0.5),),
        outcomes=(outcome("iscp"),),
        model=FileFacts("model.onnx", f"{verdict.value}{targets}", "onnx", "resnet18", 8, (3, 32, 32)),
        reference=None,
        images=ImageFacts("class impressions", 600, 300, labelled=False),
        provenance=Provenance(0, "cpu", {"torch": "2.10.0"}, "2026-01-05T10:00:00Z", COMMAND),
        seconds=1.0,
        image_passes=100,
        family_wise_level=0.01,
        labels=NAMES,
    )
    return replace(made, **fields)


CLEAN, BAD = audit(), audit(Verdict.BACKDOORED, 7)
ODD, OPEN = audit(Verdict.SUSPICIOUS, 7), audit(Verdict.INCONCLUSIVE)
RANKED = {Verdict.NO_EVIDENCE: CLEAN, Verdict.SUSPICIOUS: ODD, Verdict.BACKDOORED: BAD}


def of_a_natural_pattern() -> Audit:
    """What `iscp` tells of a clean network of which a few pixels of a class's own look turn most images into it."""
    dot, ones = np.zeros((10, 10), np.float32), np.ones((3, 10, 10), np.float32)
    dot[0, 0] = 1
    extras = [{"resemblance": 0.9 if k == 2 else 0.5} for k in range(8)]
    found = (
        Measurement(0.31 * (k == 2), k, trigger=Trigger(dot, ones, 0.98 * (k == 2), images=80), extras=extras[k])
        for k in range(8)
    )
    return audit(outcomes=(outcome("iscp", measurements=tuple(found), expected=8),))
