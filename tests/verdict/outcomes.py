"""Outcomes made by hand, and verdicts on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.calibration import Null, Weights
from auditor.confirming import LARGE_POWER
from auditor.findings import Measurement, Outcome, Statistic, Trigger
from auditor.verdict import Judgement, judge

LOW = (0.02, 0.0, 0.03, 0.01, 0.0, 0.02)
HIGH = (0.02, 0.0, 0.95, 0.01, 0.0, 0.02)
CLASS = Statistic("power", "share")
PAIR = Statistic("pair power", "share", per="pair")
MODEL = Statistic("dominance", "share", per="model")
NULL = Null(mean=0.05, count=20)


def trigger(success: float, reference: float | None = None, sources: tuple[int, ...] = ()) -> Trigger:
    mask = np.zeros((10, 10), np.float32)
    mask[0, :1] = 1
    ones = np.ones((3, 10, 10), np.float32)
    return Trigger(mask, ones, success, source_classes=sources, reference_success_rate=reference, images=77)


def per_class(
    values: tuple[float, ...], *, success: float | None = None, reference: float | None = None, name: str = "search"
) -> Outcome:
    found = tuple(
        Measurement(v, k, trigger=None if success is None else trigger(success if v > 0.5 else 0.01, reference))
        for k, v in enumerate(values)
    )
    return Outcome(name, CLASS, {}, found, expected=len(values), seconds=1.0, passes=10)


def per_pair(matrix: np.ndarray, **options: float) -> Outcome:
    k = len(matrix)
    found = tuple(
        Measurement(float(matrix[s, t]), t, s, trigger(**options, sources=(s,)) if options else None)
        for s in range(k) for t in range(k) if s != t
    )  # fmt: skip
    return Outcome("pairs", PAIR, {}, found, expected=k * (k - 1), seconds=1.0, passes=10)


def judged(
    *outcomes: Outcome, num_classes: int = 6, level: float = 0.01, confirm_at: float = 0.8, **options: object
) -> Judgement:
    return judge(outcomes, num_classes=num_classes, level=level, confirm_at=confirm_at, **options)  # type: ignore[arg-type]


ALARM = 0.7


def weighed(monkeypatch: pytest.MonkeyPatch, **of: float) -> None:
    """Give the statistics of these detectors weights, as the shipped calibration gives ours."""
    weighed_as(monkeypatch, {f"{name}/prominence": weight for name, weight in of.items()})


def weighed_as(
    monkeypatch: pytest.MonkeyPatch, of: dict[str, float], intercept: float = -3.0, alarm: float = ALARM
) -> None:
    """Give weights to statistics by their keys."""
    known = Weights(intercept, of, cap=3.0, alarm=alarm)
    monkeypatch.setattr("auditor.case.weights", lambda given: known)


def bare(power: tuple[float, ...], *, size: int = 3, transfer: float | None = None) -> Outcome:
    """Hardly commanding, but successful triggers of ``size`` rows of ten pixels or of three pixels."""
    found = []
    for k, share in enumerate(power):
        mask = np.zeros((10, 10), np.float32)
        mask[: size if size > 3 else 1, : 10 if size > 3 else 3] = 1
        made = replace(trigger(share, transfer), mask=mask)
        extras = {"predictive power": share}
        if transfer is not None:
            extras["predictive power on the reference"] = transfer
        found.append(Measurement(0.0, k, trigger=made, extras=extras))
    return Outcome("search", CLASS, {}, tuple(found), expected=len(power), seconds=1.0, passes=10)


def larger(power: tuple[float, ...], side: int, success: float = 0.95) -> Outcome:
    """Nothing compact, but larger patterns command; triggers of ``side`` pixels on 100 confirm it."""
    found = []
    for k, share in enumerate(power):
        mask = np.zeros((10, 10), np.float32)
        mask[0, :side] = 1
        made = replace(trigger(success), mask=mask)
        found.append(Measurement(0.0, k, trigger=made, extras={LARGE_POWER: share}))
    return Outcome("search", CLASS, {}, tuple(found), expected=len(power), seconds=1.0, passes=10)


def few(compact: float, larger: float = 0.0, side: int = 3) -> Outcome:
    """Two classes; what compact and larger patterns of the second command, its trigger ``side`` pixels of 100."""
    mask = np.zeros((10, 10), np.float32)
    mask[0, :side] = 1
    found = tuple(
        Measurement(
            compact * k, k, trigger=replace(trigger(0.95 if k else 0.1), mask=mask), extras={LARGE_POWER: larger * k}
        )
        for k in range(2)
    )
    return Outcome("search", CLASS, {}, found, expected=2, seconds=1.0, passes=10)
