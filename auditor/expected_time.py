"""How long an audit of a model will take here: the passes that audits like it took, at the pace the model runs at."""

from __future__ import annotations

import math
import time

import torch

from auditor.classifier import Classifier
from auditor.detection_rates import measured, mode_of

GROWTH = 0.44
"""passes grow with the number of classes to this power (``benchmarks/results/scaling.md``: 139,000 at 43, 561,000 at
1,000)"""

MEASURED_CLASSES = 10
"""classes of most models whose audits the medians are of"""

_PIXELS = 64 * 32 * 32
"""of the batch that the pace is measured with"""


def expected_passes(num_classes: int, *, reference: bool, images: bool, effort: str) -> int | None:
    """Image passes of an audit, from the median of measured ones; ``None`` for efforts that were not measured."""
    rates = measured().get((mode_of(reference=reference, images=images), effort))
    if rates is None:
        return None
    return int(round(rates.passes * (num_classes / MEASURED_CLASSES) ** GROWTH, -3))


def pace(model: Classifier) -> float:
    """Image passes (forward and backward) a second, the faster of two small batches; not counted as passes."""
    _, height, width = model.input_shape
    count = min(64, max(4, _PIXELS // (height * width)))
    images = torch.rand(count, *model.input_shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    spent, seconds = model.gradient_images, math.inf
    with model.fast():
        for _ in range(2):
            began = time.monotonic()
            x = images.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(model.logits(x).logsumexp(1).sum(), x)
            float(gradient.abs().max())  # a GPU has to be waited for
            seconds = min(seconds, time.monotonic() - began)
    model.gradient_images = spent
    return count / max(seconds, 1e-9)


def in_words(seconds: float) -> str:
    """``about 40 s``, ``about 12 min``, ``about 3.5 h``."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def expected(model: Classifier, *, reference: bool, images: bool, effort: str) -> str:
    """How long, in words; empty where nobody knows."""
    count = expected_passes(model.num_classes, reference=reference, images=images, effort=effort)
    return in_words(count / pace(model)) if count is not None and model.differentiable else ""


def told(model: Classifier, *, images: bool) -> str:
    """One line on standard and quick audits without a reference; empty for a model without gradients."""
    if not model.differentiable:
        return ""
    standard, quick = (
        expected_passes(model.num_classes, reference=False, images=images, effort=effort) or 0
        for effort in ("standard", "quick")
    )
    rate = pace(model)
    return (
        f"{in_words(standard / rate)}, {in_words(quick / rate)} with --effort quick "
        f"({standard:,} image passes at {rate:,.0f} a second)"
    )
