"""A comparison as JSON: what changed, and what either audit says in short. Their pictures are in their own files."""

from __future__ import annotations

import json
from typing import Any

from auditor.comparing import Comparison, StatisticPair
from auditor.findings import Audit, Evidence, Trigger
from auditor.record_json import encode, encode_record, plain

VERSION = 1
"""of this file's fields"""


def render(comparison: Comparison) -> str:
    """JSON text, ending in a newline."""
    data = {
        "comparison_version": VERSION,
        "change": comparison.change.value,
        "conclusion": comparison.conclusion,
        "score_difference": plain(comparison.score_difference),
        "targets_gained": list(comparison.targets_gained),
        "targets_lost": list(comparison.targets_lost),
        "files": encode_record(comparison.files),
        "caveats": list(comparison.caveats),
        "statistics": [_pair(pair) for pair in comparison.statistics],
        "first": _audit(comparison.first),
        "second": _audit(comparison.second),
    }
    # printed, ``##vso[...]`` in a class name would be a command to some build servers; read back it is the same
    return json.dumps(data, indent=1, allow_nan=False).replace("##", "#\\u0023") + "\n"


def _pair(pair: StatisticPair) -> dict[str, Any]:
    return {
        "detector": pair.detector,
        "statistic": pair.statistic,
        "shift": pair.shift.value,
        "status": list(pair.status),
        "first": _evidence(pair.first),
        "second": _evidence(pair.second),
    }


def _evidence(e: Evidence | None) -> dict[str, Any] | None:
    if e is None:
        return None
    return {name: value for name, value in encode_record(e).items() if name not in ("detector", "statistic", "scores")}


def _audit(audit: Audit) -> dict[str, Any]:
    images = encode_record(audit.images)
    del images["samples"]
    return {
        "verdict": audit.verdict.value,
        "score": encode(audit.score, float),
        "reason": audit.reason,
        "target_classes": list(audit.target_classes),
        "source_classes": list(audit.source_classes),
        "warnings": list(audit.warnings),
        "trigger": _trigger(audit.trigger),
        "model": encode_record(audit.model),
        "reference": encode_record(audit.reference) if audit.reference else None,
        "images": images,
        "provenance": encode_record(audit.provenance),
        "family_wise_level": encode(audit.family_wise_level, float),
        "seconds": encode(audit.seconds, float),
        "image_passes": audit.image_passes,
    }


def _trigger(trigger: Trigger | None) -> dict[str, Any] | None:
    if trigger is None:
        return None
    return {
        "mode": trigger.mode,
        "success_rate": encode(trigger.success_rate, float),
        "reference_success_rate": plain(trigger.reference_success_rate),
        "images": trigger.images,
        "source_classes": list(trigger.source_classes),
        "size": plain(trigger.size),
        "strength": plain(trigger.strength),
    }
