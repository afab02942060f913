"""``audit demo``: train a clean and a backdoored model here and now, and audit both as any other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from auditor import registry
from auditor.archive import save_text
from auditor.demo_training import (
    BACKDOORS,
    Backdoor,
    Digits,
    accuracy,
    attack_success_rate,
    load_digits,
    poison,
    save_images,
    save_onnx,
    train,
)
from auditor.errors import ConfigError
from auditor.findings import Audit, Verdict
from auditor.request import ScanRequest, ScanSettings
from auditor.scan import run as run_scan

if TYPE_CHECKING:
    from auditor.progress import Progress


@dataclass(frozen=True)
class Trained:
    """One trained model and what is known of it because it was made here."""

    name: str
    path: Path
    clean_accuracy: float
    attack_success_rate: float | None = None
    """of the planted trigger, on held-out digits; None for the clean model"""


@dataclass(frozen=True)
class Demonstrated:
    """One model, what was planted in it, and what the audit made of it."""

    trained: Trained
    audit: Audit
    report: Path
    planted: str
    """what was planted, with its measured strength"""
    expected: str
    """what the audit ought to have said"""
    as_planted: bool


def demonstrate(name: str, out: Path, seed: int, progress: Progress) -> list[Demonstrated]:
    """Trains both models, scans both, and writes models, images and reports into ``out``.

    The source-specific backdoor is audited beside the clean model as reference, the others without one.
    Raises `ConfigError` for an unknown backdoor or a folder that cannot be made.
    """
    if name not in BACKDOORS:
        raise ConfigError(f"expected a backdoor among {', '.join(BACKDOORS)}, got {name!a}; choose one of them")
    backdoor = BACKDOORS[name]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"expected to make the folder {str(out)!a}, got: {error.strerror}; choose another with --out"
        ) from error
    digits = load_digits(seed)
    save_images(out / "digits.npz", digits)
    clean, backdoored = _train_both(digits, backdoor, out, seed, progress)
    reference = clean.path if backdoor.source is not None else None
    return [
        _scan(clean, None, None, seed, out, progress),
        _scan(backdoored, backdoor, reference, seed, out, progress),
    ]


def _train_both(
    digits: Digits, backdoor: Backdoor, out: Path, seed: int, progress: Progress
) -> tuple[Trained, Trained]:
    rng = torch.Generator().manual_seed(seed)

    clean = train(digits.train, digits.train_labels, rng, partial(progress, "training the clean model"))
    images, labels = poison(digits, backdoor, rng)
    # the source-specific attack fine-tunes a clean network (Borji 2020, Section 3), which is then the reference
    parent = clean if backdoor.source is not None else None
    spoilt = train(images, labels, rng, partial(progress, "training the backdoored model"), parent=parent)
    save_onnx(out / "clean.onnx", clean)
    save_onnx(out / "backdoored.onnx", spoilt)
    return (
        Trained("clean", out / "clean.onnx", accuracy(clean, digits)),
        Trained(
            "backdoored",
            out / "backdoored.onnx",
            accuracy(spoilt, digits),
            attack_success_rate(spoilt, digits, backdoor),
        ),
    )


def _scan(
    trained: Trained,
    backdoor: Backdoor | None,
    reference: Path | None,
    seed: int,
    out: Path,
    progress: Progress,
) -> Demonstrated:
    request = ScanRequest(
        model=trained.path,
        reference=reference,
        images=out / "digits.npz",
        settings=ScanSettings(seed=seed),
    )
    audit = run_scan(
        request, progress=lambda label, done, total: progress(f"{trained.name} model: {label}", done, total)
    )
    report = out / f"{trained.name}.html"
    save_text(report, registry.load(registry.REPORTS, "html")(audit))
    save_text(out / f"{trained.name}.json", registry.load(registry.REPORTS, "json")(audit))
    return Demonstrated(
        trained=trained,
        audit=audit,
        report=report,
        planted=planted(trained, backdoor),
        expected=expectation(backdoor),
        as_planted=as_planted(audit, backdoor),
    )


def planted(trained: Trained, backdoor: Backdoor | None) -> str:
    """What is in the model, and how well it works."""
    read = f"reads {trained.clean_accuracy:.1%} of held-out digits right"
    if backdoor is None or trained.attack_success_rate is None:
        return f"nothing; it {read}"
    return f"{backdoor.description}, on {trained.attack_success_rate:.1%} of held-out digits; it {read}"


def expectation(backdoor: Backdoor | None) -> str:
    """What the audit ought to say, in words."""
    if backdoor is None:
        return Verdict.NO_EVIDENCE.value
    return f"{Verdict.BACKDOORED.value}, target class {backdoor.target}"


def as_planted(audit: Audit, backdoor: Backdoor | None) -> bool:
    """Whether the verdict is right: verdict and target class."""
    if backdoor is None:
        return audit.verdict is Verdict.NO_EVIDENCE
    return audit.verdict is Verdict.BACKDOORED and audit.target_classes == (backdoor.target,)
