"""The usual ways to prepare images, and what was told of which a network wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from auditor.classifier import PRESETS, VALUE_RANGES, Preprocess


@dataclass(frozen=True)
class Told:
    """What was told of a model's preparation: to be read, and why nothing can be concluded."""

    warnings: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()

    def __add__(self, other: Told) -> Told:
        return Told(self.warnings + other.warnings, self.blockers + other.blockers)


def usual_ways(own: Preprocess, channels: int, images: Tensor | None) -> Iterator[tuple[str, Preprocess]]:
    """Name, as settings call it, and preprocessing: each value range, each preset, and, where there are ``images``
    (N, C, H, W), their own mean and standard deviation."""
    plain = Preprocess(layout=own.layout)
    for value_range in VALUE_RANGES:
        yield f"range {value_range}", replace(plain, value_range=value_range)
    for preset, (mean, std) in PRESETS.items():
        if len(mean) == channels:
            yield f"preset {preset}", replace(plain, mean=mean, std=std)
    if images is None:
        return
    flat = images.transpose(0, 1).flatten(1)
    mean, std = (tuple(round(float(v), 3) for v in values) for values in (flat.mean(1), flat.std(1)))
    if min(std) > 0:
        said = " ".join(f"{name} {','.join(map(str, values))}" for name, values in (("mean", mean), ("std", std)))
        yield said, replace(plain, mean=mean, std=std)
