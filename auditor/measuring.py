"""Choosing detectors, seeding them, and running one so that nothing it finished is lost."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import torch

from auditor import registry
from auditor.context import Context
from auditor.detector import Detector, Effort, Need, effort_of, expected_measurements
from auditor.errors import ConfigError, OutOfBudget
from auditor.findings import Measurement, Outcome
from auditor.request import ScanRequest
from auditor.settings import build, values_of


def choose_detectors(request: ScanRequest) -> list[tuple[str, Detector]]:
    """The detectors to run, with their settings; raises `ConfigError` for unknown names and settings."""
    known = registry.names(registry.DETECTORS)
    unknown = sorted(set(request.detector_settings) - set(known))
    if unknown:
        raise ConfigError(f"expected settings of a detector among {', '.join(known)}, got '{unknown[0]}'")
    chosen = list(dict.fromkeys(request.detectors)) if request.detectors is not None else known

    def rank(detector: Detector | type) -> int:
        return list(Effort).index(effort_of(detector))

    allowed = list(Effort).index(Effort(request.settings.effort))
    found: list[tuple[str, Detector]] = []
    for name in chosen:
        cls = registry.load(registry.DETECTORS, name)
        wanted = request.detectors is not None or name in request.detector_settings
        if wanted or rank(cls) <= allowed:
            found.append((name, build(cls, request.detector_settings.get(name, {}), where=name)))
    if request.detectors is None:  # the cheap ones first, so that an audit can end early
        found.sort(key=lambda pair: rank(pair[1]))
    return sorted(found, key=lambda pair: Need.CANDIDATES in pair[1].needs)


def generator(seed: int, name: str) -> torch.Generator:
    """A generator of its own for each detector: choosing or ordering detectors changes nothing."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def measure(name: str, detector: Detector, ctx: Context) -> tuple[Outcome, bool]:
    """Run one detector; the second value is true when the user interrupted it.

    A spent budget, an interruption or a failure inside the detector leaves an unfinished outcome with a note: what
    was yielded before is kept, and the verdict knows that something is missing.
    """
    if Need.REFERENCE in detector.needs and ctx.reference is None:
        return not_needed(name, detector, ctx, "needs a reference model (--reference)"), False
    if Need.IMAGES in detector.needs and ctx.images.made:
        return not_needed(name, detector, ctx, "needs real images (--images)"), False
    if Need.GRADIENTS in detector.needs and not ctx.differentiable:
        # not skipped but missing: without it nothing can be called clean
        return skipped(name, detector, ctx, "left out: it needs gradients, and a black box gives none"), False
    began, passes = time.monotonic(), ctx.passes
    found: list[Measurement] = []
    note, failed, stopped = "", True, False
    try:
        for measurement in detector.detect(ctx):
            found.append(measurement)
        note_of = getattr(detector, "note", None)
        note, failed = (note_of(ctx) if note_of is not None else ""), False
    except OutOfBudget:
        note = "cut short: its share of the time budget was spent"
    except KeyboardInterrupt:
        note, stopped = "interrupted by the user", True
    except Exception as error:  # a plugin may fail in any way, and the others' findings must survive it
        first = (str(error).strip().splitlines() or [""])[0]
        note = f"failed: {type(error).__name__}: {first[:200]}"
    expected = expected_measurements(detector, ctx)
    if failed:  # even one that failed after its last measurement is not finished
        expected = max(expected, len(found) + 1)
    seconds = time.monotonic() - began
    return _outcome(name, detector, ctx, found, ctx.passes - passes, seconds, note, False, expected), stopped


def not_needed(name: str, detector: Detector, ctx: Context, note: str) -> Outcome:
    """An outcome for a detector that no verdict depends on, or not any more."""
    return _outcome(name, detector, ctx, [], 0, 0.0, note, True)


def skipped(name: str, detector: Detector, ctx: Context, note: str) -> Outcome:
    """An outcome for a detector that was needed but could not be started."""
    return _outcome(name, detector, ctx, [], 0, 0.0, note, False, max(1, expected_measurements(detector, ctx)))


def _outcome(
    name: str,
    detector: Detector,
    ctx: Context,
    found: list[Measurement],
    passes: int,
    seconds: float,
    note: str,
    was_skipped: bool,
    expected: int | None = None,
) -> Outcome:
    settings: dict[str, Any] = values_of(detector)
    return Outcome(
        detector=name,
        statistic=detector.statistic,
        settings=settings,
        measurements=tuple(found),
        expected=expected_measurements(detector, ctx) if expected is None else expected,
        seconds=seconds,
        passes=passes,
        note=note,
        skipped=was_skipped,
    )
