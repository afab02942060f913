"""An `Audit` as versioned JSON and back, and files written whole or not at all.

The JSON holds everything the reports read, so that each of them can be rendered again without scanning again:

- numbers as JSON numbers; NaN and infinities as ``null``, which reads back as NaN;
- a picture as an 8-bit PNG in base64;
- a matrix as its measured rows and columns, ``null`` where nothing was measured;
- any other array as zlib-compressed little-endian float32 in base64, with its shape.

``reports/audit.schema.json`` is its published schema. A file to be read is foreign input: it is checked field
by field, and sizes are bounded before anything is unpacked.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from auditor.array_json import REMEDY, ascii_only, kind_of, typed, unexpected
from auditor.errors import ConfigError
from auditor.findings import SCHEMA_VERSION, Audit, Curve, Evidence, Measurement, Outcome, Statistic, Trigger
from auditor.record_json import decode_record, encode, encode_record, plain

MAX_CLASS = 1_000_000
"""class numbers that are accepted from a file"""


def to_dict(audit: Audit) -> dict[str, Any]:
    """The whole audit as plain JSON values; ``detectors`` maps detector names to outcome and evidence."""
    data: dict[str, Any] = encode_record(audit)
    outcomes = data.pop("outcomes")
    data["detectors"] = {
        outcome.detector: _encode_outcome(outcome, encoded, audit)
        for outcome, encoded in zip(audit.outcomes, outcomes, strict=True)
    }
    first = ("schema_version", "verdict", "score", "target_classes", "source_classes", "reason", "warnings")
    return {key: data[key] for key in (*first, *(key for key in data if key not in first))}


def from_dict(data: Any) -> Audit:
    """The audit that `to_dict` gave; raises `ConfigError` for anything else, and for another version."""
    if not isinstance(data, Mapping) or "schema_version" not in data or "verdict" not in data:
        raise ConfigError(f"expected the JSON of an audit, got {kind_of(data)} without its fields; {REMEDY}")
    if data["schema_version"] != SCHEMA_VERSION:
        found = ascii_only(str(data["schema_version"])[:20])
        raise ConfigError(
            f"expected an audit of schema version {SCHEMA_VERSION}, got version {found}; "
            "render it with the release that wrote it, or scan again"
        )
    detectors = data.get("detectors")
    if not isinstance(detectors, Mapping):
        raise unexpected("an object", "detectors", detectors)
    outcomes = tuple(_decode_outcome(name, entry, f"detectors.{name}") for name, entry in detectors.items())
    audit: Audit = decode_record(Audit, data, "audit", given={"outcomes": outcomes})
    _check(audit)
    return audit


def to_text(audit: Audit) -> str:
    """The audit as JSON text, ending in a newline."""
    # printed, ``##vso[...]`` in a class name would be a command to some build servers; read back it is the same
    return json.dumps(to_dict(audit), indent=1, allow_nan=False).replace("##", "#\\u0023") + "\n"


def from_text(text: str) -> Audit:
    """The audit in a JSON text; raises `ConfigError` when it is damaged or holds something else."""
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"expected the JSON of an audit, got text that does not parse ({error}); {REMEDY}"
        ) from error
    return from_dict(data)


def save_text(path: Path, text: str) -> None:
    """`save_bytes` of ``text`` as UTF-8; what that cannot hold is escaped."""
    save_bytes(path, text.encode("utf-8", "backslashreplace"))


def save_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name in the same folder, then move it to ``path``.

    Whatever fails, ``path`` keeps its old content and the temporary file is removed. Raises `ConfigError`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # a device or a pipe is written to; replacing it would break it for everybody
            path.write_bytes(data)
            return
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"expected to write '{path.name}', got: {error.strerror or error}; "
            "name a file in a folder that exists and can be written to"
        ) from error


def _encode_outcome(outcome: Outcome, encoded: dict[str, Any], audit: Audit) -> dict[str, Any]:
    """Flat entry of one detector, with the strongest of its evidence beside the outcome."""
    of_detector = [found for found in audit.evidence if found.detector == outcome.detector]
    lead: Evidence | None = min(
        of_detector, key=lambda found: (found.corrected_p, found.p_value), default=None
    )
    del encoded["detector"]
    statistic = encoded.pop("statistic")
    return {
        "statistic": statistic["name"],
        "unit": statistic["unit"],
        "suspicious": statistic["suspicious"],
        "per": statistic["per"],
        "status": outcome_status(outcome),
        "value": encode(lead.value, float) if lead else None,
        "threshold": encode(lead.threshold, float) if lead else None,
        "p_value": encode(lead.p_value, float) if lead else None,
        "corrected_p": encode(lead.corrected_p, float) if lead else None,
        "stands_out": any(found.stands_out for found in of_detector),
        "target_classes": sorted(
            {c for found in of_detector if found.stands_out for c in found.target_classes}
        ),
        "values": [plain(value) for value in class_values(outcome, audit.model.num_classes)],
        **encoded,
    }


def outcome_status(outcome: Outcome) -> Literal["complete", "incomplete", "skipped"]:
    """How far the detector came."""
    if outcome.skipped:
        return "skipped"
    return "complete" if outcome.complete else "incomplete"


def class_values(outcome: Outcome, num_classes: int | None) -> list[float]:
    """(K,) the most suspicious value of each target class, NaN where none; empty for the whole model."""
    if outcome.statistic.per == "model" or not outcome.measurements:
        return []
    size = max(num_classes or 0, *(m.target_class + 1 for m in outcome.measurements), 0)
    worst = max if outcome.statistic.suspicious == "high" else min
    values = [math.nan] * size
    for m in outcome.measurements:
        if math.isfinite(m.value):
            known = values[m.target_class]
            values[m.target_class] = float(m.value) if math.isnan(known) else float(worst(known, m.value))
    return values


def _decode_outcome(name: str, entry: Any, where: str) -> Outcome:
    entry = typed(dict, entry, where, "an object")
    keys = {"name": "statistic", "unit": "unit", "suspicious": "suspicious", "per": "per"}
    statistic = decode_record(Statistic, {field: entry.get(key) for field, key in keys.items()}, where)
    outcome: Outcome = decode_record(Outcome, entry, where, given={"detector": name, "statistic": statistic})
    return outcome


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON number")


def _check(audit: Audit) -> None:
    """Refuse what the types allow and no report could draw."""
    if not 0 <= audit.score <= 1:
        raise unexpected("a number in [0, 1]", "score", audit.score)
    for where, numbers in _class_numbers(audit):
        if any(not 0 <= number < MAX_CLASS for number in numbers):
            raise unexpected(f"class numbers from 0 to {MAX_CLASS - 1}", where, None)
    for where, trigger in _triggers(audit):
        sized = trigger.mode == "tone" or trigger.pattern.shape[1:] == trigger.mask.shape
        if trigger.mask.ndim != 2 or trigger.pattern.ndim != 3 or not sized:
            raise unexpected("a mask (H, W) and a pattern (C, H, W) of one size", where, None)
    for m in _measurements(audit):
        if any(isinstance(e, Curve) and len(e.x) != len(e.y) for e in m.exhibits):
            raise unexpected("a curve with as many x as y", "measurements", None)


def _measurements(audit: Audit) -> Iterator[Measurement]:
    for outcome in audit.outcomes:
        yield from outcome.measurements


def _triggers(audit: Audit) -> Iterator[tuple[str, Trigger]]:
    if audit.trigger:
        yield "trigger", audit.trigger
    for m in _measurements(audit):
        if m.trigger:
            yield "measurements.trigger", m.trigger


def _class_numbers(audit: Audit) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "target_classes", audit.target_classes
    yield "source_classes", audit.source_classes
    yield "model.num_classes", (audit.model.num_classes or 0,)
    for found in audit.evidence:
        yield "evidence", found.target_classes + found.source_classes
    for where, trigger in _triggers(audit):
        yield where, trigger.source_classes
    for shown in audit.demonstrations:
        yield "demonstrations", (shown.answer_before, shown.answer_after, shown.reference_after or 0)
    for m in _measurements(audit):
        yield "measurements", (m.target_class, m.source_class or 0)
