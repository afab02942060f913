"""What worker and command say to each other: one JSON object a line, every field checked by the reader.

Towards the worker, once: ``{"task", "request"}``, and ``question`` for an explanation. From the worker, in this order:
``progress`` (label, done, total) and ``checkpoint`` (an audit as it would end here, ``concluded`` when its verdict is
final), any number of times; then one of ``done`` (the result), ``error`` (what the user is told) or ``interrupted``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auditor import errors
from auditor.errors import AuditError
from auditor.loading.limits import Limits
from auditor.request import Confinement, ModelOptions, Question, ScanRequest, ScanSettings
from auditor.settings import build

KINDS = frozenset({"progress", "checkpoint", "done", "error", "interrupted"})

MOST_BYTES = 512 << 20
"""of one message; a longer one ends the worker"""


class ProtocolError(Exception):
    """A line that is no message: the worker is broken or was taken over."""


@dataclass(frozen=True)
class Message:
    """One line of the worker's."""

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)


class Unexpected(Exception):
    """An exception inside the worker that nobody foresaw; ``traceback`` is its text."""

    def __init__(self, name: str, message: str, traceback: str) -> None:
        super().__init__(message)
        self.name, self.traceback = name, traceback


def write(kind: str, body: Mapping[str, Any]) -> bytes:
    """A message as one line of ASCII."""
    return json.dumps({"kind": kind, **body}, allow_nan=False).encode("ascii") + b"\n"


def read(line: bytes) -> Message:
    """The message on a line; raises `ProtocolError`."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line that is not JSON") from None
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        raise ProtocolError("a message of no known kind")
    return Message(str(data.pop("kind")), data)


def progress_of(body: Mapping[str, Any]) -> tuple[str, int, int]:
    """Label, done and total of a ``progress`` message."""
    label, done, total = body.get("label"), body.get("done"), body.get("total")
    if not isinstance(label, str) or not isinstance(done, int) or not isinstance(total, int):
        raise ProtocolError("progress without label and numbers")
    return label[:200], done, total


def error_of(body: Mapping[str, Any]) -> Exception:
    """The exception that an ``error`` message stands for: one of `auditor.errors`, or `Unexpected`."""
    name, message = str(body.get("name", "")), str(body.get("message", ""))[:10_000]
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AuditError):
        return kind(message)
    return Unexpected(name[:100], message, str(body.get("traceback", ""))[:100_000])


def encode_request(request: ScanRequest) -> dict[str, Any]:
    """A scan as JSON values."""
    return {
        "model": str(request.model),
        "reference": _text(request.reference),
        "images": _text(request.images),
        "classes": _text(request.classes),
        "calibration": _text(request.calibration),
        "model_options": asdict(request.model_options),
        "reference_options": asdict(request.reference_options) if request.reference_options else None,
        "settings": asdict(request.settings),
        "detectors": request.detectors,
        "detector_settings": {name: dict(values) for name, values in request.detector_settings.items()},
        "explanation_settings": {name: dict(values) for name, values in request.explanation_settings.items()},
        "limits": asdict(request.limits),
        "worker": asdict(request.worker),
    }


def decode_request(data: Mapping[str, Any]) -> ScanRequest:
    """The scan that `encode_request` was given."""
    theirs = data["reference_options"]
    return ScanRequest(
        model=Path(data["model"]),
        reference=_path(data["reference"]),
        images=_path(data["images"]),
        classes=_path(data["classes"]),
        calibration=_path(data["calibration"]),
        model_options=build(ModelOptions, data["model_options"], where="model"),
        reference_options=build(ModelOptions, theirs, where="reference") if theirs is not None else None,
        settings=build(ScanSettings, data["settings"], where="scan"),
        detectors=tuple(data["detectors"]) if data["detectors"] is not None else None,
        detector_settings=data["detector_settings"],
        explanation_settings=data["explanation_settings"],
        limits=build(Limits, data["limits"], where="limits"),
        worker=build(Confinement, data["worker"], where="worker"),
    )


def encode_question(question: Question) -> dict[str, Any]:
    """What ``audit explain`` asks, as JSON values."""
    return {
        "target": question.target,
        "audit": _text(question.audit),
        "seed_image": _text(question.seed_image),
        "mask": _text(question.mask),
    }


def decode_question(data: Mapping[str, Any]) -> Question:
    """The question that `encode_question` was given."""
    return Question(
        target=data["target"],
        audit=_path(data["audit"]),
        seed_image=_path(data["seed_image"]),
        mask=_path(data["mask"]),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
