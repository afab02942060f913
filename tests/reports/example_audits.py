"""Audits written by hand, as a scan would give them, with hostile text in every string on demand."""

from __future__ import annotations

import dataclasses

import numpy as np

from auditor.findings import (
    Audit,
    Curve,
    Demonstration,
    Evidence,
    FileFacts,
    FileFinding,
    ImageFacts,
    Matrix,
    Measurement,
    Outcome,
    Picture,
    Provenance,
    Statistic,
    Trigger,
    Verdict,
)

HOSTILE = (
    "</td><script>alert(1)</script>",
    "\x1b[31mred\x1b[0m",
    "\u202etxt.exe",
    '" onload="alert(2)',
    "{{ 7*7 }}",
    "[bold]",
)
SIZES = (0.0025, 0.005, 0.01, 0.02, 0.05)


def image(seed: int, channels: int = 3, size: int = 32) -> np.ndarray:
    """A natural-looking picture (C, H, W): a few soft discs on a gradient."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    pixels = np.stack([0.35 + 0.3 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) for _ in range(channels)])
    for _ in range(7):
        cy, cx, r = [*rng.uniform(0, 1, 2).tolist(), rng.uniform(0.08, 0.3)]
        soft = 1 / (1 + np.exp(((x - cx) ** 2 + (y - cy) ** 2 - r**2) * 120))
        pixels += soft * (rng.uniform(0, 1, (channels, 1, 1)) - pixels) * 0.8
    return np.clip(pixels, 0, 1).astype(np.float32)


def patch(channels: int = 3, size: int = 32, side: int = 3, success: float = 0.985, reference: float | None = 0.02):
    """A coloured checker patch near the lower right corner."""
    mask = np.zeros((size, size), np.float32)
    at = slice(size - side - 2, size - 2)
    mask[at, at] = 1
    pattern = np.full((channels, size, size), 0.5, np.float32)
    checker = (np.indices((side, side)).sum(0) % 2).astype(np.float32)
    pattern[:, at, at] = checker[None] * np.linspace(1, 0.4, channels, dtype=np.float32)[:, None, None]
    return Trigger(mask, pattern, success, reference_success_rate=reference, images=500)


def iscp(
    k: int, target: int | None, channels: int, seconds: float = 61.4, leads: tuple[float, ...] = ()
) -> tuple[Outcome, Evidence]:
    """Predictive power a class: one class far ahead, or none."""
    rng = np.random.default_rng(k)
    scores = rng.beta(2, 12, k)
    if target is not None:
        scores[target] = 0.93
    order = np.argsort(-scores)
    gap = float(scores[order[0]] - scores[order[1]])
    measurements = []
    for c in range(k):
        y = tuple(float(scores[c] ** (0.01 / s) ** 0.5) for s in SIZES)
        measurements.append(
            Measurement(
                value=float(scores[c]),
                target_class=c,
                trigger=patch(channels, success=float(scores[c])) if c == target else None,
                extras={"canvas": 2.0, "threshold γ": 0.41},
                exhibits=(
                    Curve("predictive power over pattern size", SIZES, y, "share of pixels", "share of images"),
                    Picture(f"strongest pattern for class {c}", image(100 + c, channels)),
                ),
            )
        )
    outcome = Outcome(
        "iscp",
        Statistic("predictive power", "share of images"),
        {
            "steps": 60,
            "mask_step": 0.04,
            "canvases": ("white", "black", "positive", "negative"),
            "alpha": 0.2,
        },
        tuple(measurements),
        k,
        seconds,
        33_120,
    )
    found = Evidence(
        "iscp",
        "largest step down among the leading classes",
        gap,
        0.31,
        0.00011 if target is not None else 0.42,
        0.00044 if target is not None else 1.0,
        (target,) if target is not None else (int(order[0]),),
        scores=tuple(float(s) for s in scores),
        stands_out=target is not None,
    )
    return outcome, found


def bias_map(k: int, target: int | None, channels: int) -> tuple[Outcome, Evidence]:
    """Distances of class maps, and the maps of suspect, reference and difference for every class."""
    rng = np.random.default_rng(k + 1)
    scores = rng.gamma(9, 0.002, k)
    if target is not None:
        scores[target] = 0.058
    measurements = []
    for c in range(k):
        suspect, reference = image(300 + c, channels), image(600 + c, channels)
        shown = (
            Picture("bias map, suspect", suspect),
            Picture("bias map, reference", reference),
            Picture("bias map, suspect minus reference (grey = equal)", 0.5 + 0.5 * (suspect - reference)),
        )
        extras = {"images filed": 90.0 + c, "raw distance": float(scores[c] * 1.3)}
        measurements.append(Measurement(float(scores[c]), c, extras=extras, exhibits=shown))
    order = np.argsort(-scores)
    outcome = Outcome(
        "bias_map",
        Statistic("bias-map distance", "root mean square difference per pixel"),
        {"epsilons": (0.1, 0.5, 0.9), "samples": 12, "starts": ("blank", "noise", "data")},
        tuple(measurements),
        k,
        12.0,
        4_320,
    )
    value = float(scores[order[0]] - scores[order[1]])
    p = 0.003 if target is not None else 0.6
    found = Evidence(
        "bias_map",
        "largest step down",
        value,
        0.0142,
        p,
        min(1, 3 * p),
        (int(order[0]),),
        (),
        tuple(map(float, scores)),
        target is not None,
    )
    return outcome, found


def pairwise(k: int, target: int | None) -> tuple[Outcome, Evidence]:
    """Success of every source → target pair; for many classes only some columns."""
    rng = np.random.default_rng(k + 2)
    values = rng.beta(2, 9, (k, k)).astype(np.float32)
    if target is not None:
        values[:, target] = np.clip(values[:, target] + 0.5, 0, 1)
    np.fill_diagonal(values, np.nan)
    if k > 20:
        left_out = np.ones((k, k), bool)
        for c in (target or 0, 3):
            left_out[c] = left_out[:, c] = False
        values[left_out] = np.nan
    matrix = Matrix("success rate, source → target", values, "share of images")
    flat = [(int(s), int(t)) for s, t in np.argwhere(np.isfinite(values))]
    measurements = [
        Measurement(float(values[s, t]), t, s, exhibits=(matrix,) if i == 0 else ()) for i, (s, t) in enumerate(flat)
    ]
    outcome = Outcome(
        "pairwise",
        Statistic("pair success", "share of images", per="pair"),
        {"epsilon": 0.1, "starts": ("blank", "noise", "data")},
        tuple(measurements),
        len(flat),
        33.0,
        9_000,
        note="" if k <= 20 else "only the rows and columns of classes 3 and 8 were measured",
    )
    found = Evidence("pairwise", "strongest pair over its row and column", 0.22, 0.44, 0.08, 0.16, (target or 0,), (1,))
    return outcome, found


def dominant_pattern(k: int, channels: int, ratio: float = 0.31) -> tuple[Outcome, Evidence]:
    """One number for the whole model."""
    shown = Picture("dominant pattern, ±10/255 shown as black to white", image(77, channels))
    measurement = Measurement(ratio, 2, extras={"fooling rate": 0.4, "top-3 ratio": 0.66}, exhibits=(shown,))
    outcome = Outcome(
        "dominant_pattern",
        Statistic("dominance ratio", "share of images", per="model"),
        {"epsilon": 10 / 255, "loss": "cos", "seeds": 3},
        (measurement,),
        1,
        4.2,
        2_000,
    )
    return outcome, Evidence("dominant_pattern", "dominance ratio", ratio, 0.72, 0.31, 0.31, (2,))


def demonstrations(trigger: Trigger, target: int, channels: int) -> tuple[Demonstration, ...]:
    """Three images with and without the trigger."""
    shown = []
    for i, seen in enumerate((1, 5, 3)):
        before = image(40 + i, channels)
        after = (1 - trigger.mask) * before + trigger.mask * trigger.pattern
        shown.append(
            Demonstration(
                Picture(f"held-out image {i}", before),
                Picture(f"held-out image {i} with the trigger", after.astype(np.float32)),
                seen,
                target,
                0.97 - 0.01 * i,
                0.999,
                seen,
            )
        )
    return tuple(shown)


def audit(k: int = 10, verdict: Verdict = Verdict.BACKDOORED, *, channels: int = 3, hostile: bool = False) -> Audit:
    """A whole audit of ``k`` classes; with ``hostile`` every free text tries to break out."""
    caught = verdict in (Verdict.BACKDOORED, Verdict.SUSPICIOUS)
    target = min(8, k - 1) if caught else None
    pieces = [
        iscp(k, target, channels),
        bias_map(k, target, channels),
        pairwise(k, target),
        dominant_pattern(k, channels),
    ]
    labels = tuple(f"class-{c}" for c in range(k))
    trigger = patch(channels) if verdict is Verdict.BACKDOORED else None
    finished = Audit(
        verdict=verdict,
        score=0.97 if caught else 0.08,
        reason="Class 8 (class-8): predictive power stands 0.71 above the next class, and a 3×3 trigger "
        "turns 98 % of held-out images into it."
        if caught
        else "No statistic stands out among the classes at the family-wise level of 0.01.",
        target_classes=(target,) if target is not None else (),
        source_classes=(),
        warnings=() if caught else ("clean accuracy is 54 %, below 60 %; is the preprocessing right?",),
        evidence=tuple(e for _, e in pieces),
        outcomes=tuple(o for o, _ in pieces),
        model=FileFacts("model.onnx", "9f" * 32, "onnx", "resnet18", k, (channels, 32, 32)),
        reference=FileFacts("clean.pt", "1c" * 32, "state dict", "resnet18", k, (channels, 32, 32)),
        images=ImageFacts(
            "class impressions",
            600,
            300,
            False,
            "ab" * 32,
            tuple(Picture(f"class {c}", image(900 + c, channels)) for c in range(8)),
            None,
        ),
        provenance=Provenance(
            0,
            "cpu",
            {"auditor": "0.1.0", "torch": "2.10.0", "python": "3.11.9"},
            "2026-01-05T10:00:00Z",
            {"seed": 0, "device": "auto", "level": 0.01, "budget": None},
        ),
        seconds=112.6,
        image_passes=48_440,
        family_wise_level=0.01,
        trigger=trigger,
        demonstrations=demonstrations(trigger, 8, channels) if trigger else (),
        labels=labels,
        blind_spots=(
            "A trigger that differs from image to image leaves no common pattern to find.",
            "A source-specific backdoor that blends in faintly shows only against a clean reference.",
        ),
    )
    return poisoned(finished) if hostile else finished


def poisoned(clean: Audit) -> Audit:
    """The same audit with hostile text in every string that a file or a plugin can influence."""
    bad = " ".join(HOSTILE)
    outcome = clean.outcomes[0]
    exhibits = (
        Picture(bad, image(1)),
        Curve(bad, (0.1, 1.0), (0.2, 0.9), bad, bad),
        Matrix(bad, np.eye(3, dtype=np.float32), bad),
    )
    measurement = dataclasses.replace(outcome.measurements[0], extras={bad: 1.0}, exhibits=exhibits)
    evil = dataclasses.replace(
        outcome,
        detector=bad,
        statistic=Statistic(bad, bad),
        settings={bad: bad},
        measurements=(measurement, *outcome.measurements[1:]),
        note=bad,
    )
    return dataclasses.replace(
        clean,
        reason=bad,
        warnings=(bad,),
        blind_spots=(bad,),
        file_findings=tuple(FileFinding(bad, severity, bad, bad) for severity in ("info", "warning", "danger")),
        labels=tuple(HOSTILE[i % len(HOSTILE)] for i in range(len(clean.labels))),
        outcomes=(evil, *clean.outcomes[1:]),
        evidence=(dataclasses.replace(clean.evidence[0], detector=bad, statistic=bad), *clean.evidence[1:]),
        model=FileFacts(bad, bad, bad, bad, len(clean.labels), (3, 32, 32)),
        images=dataclasses.replace(clean.images, source=bad, samples=(Picture(bad, image(5)),)),
        provenance=Provenance(0, bad, {bad: bad}, bad, {bad: bad}),
    )
