"""How large each judged statistic gets on clean models: read from ``calibration.json``, which benchmarks write.

The file is made by ``python -m benchmarks.calibrate`` from scans of clean models of the develop split; nothing in it
comes from models that results are reported on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from auditor.outliers import exponential_p_value, exponential_threshold


@dataclass(frozen=True)
class Null:
    """The clean distribution of one statistic: exponential, scale estimated from ``count`` models."""

    mean: float
    count: int

    def p_value(self, value: float) -> float:
        """Chance of at least ``value`` on a clean model."""
        return exponential_p_value(value, self.mean, self.count)

    def threshold(self, p: float) -> float:
        """The value with that chance."""
        return exponential_threshold(p, self.mean, self.count)


@dataclass(frozen=True)
class Given:
    """What an audit was given besides the suspect: clean models show other values on their own impressions than on real
    images, and smaller ones where a reference's are taken off."""

    reference: bool = False
    images: bool = False

    def keys(self, detector: str, kind: str) -> tuple[str, ...]:
        """Names of a statistic in the calibration, the fitting one first, then those that are cautious stand-ins."""
        name = f"{detector}/{kind}"
        source = "images" if self.images else "impressions"
        fitting = f"{name} on {source}" + (" against a reference" if self.reference else "")
        alone, other = f"{name} on {source}", f"{name} on impressions against a reference"
        return (fitting, alone, other, name) if self.reference else (fitting, name)


ALONE = Given()
"""the suspect and nothing else"""


@cache
def nulls() -> dict[str, Null]:
    """Statistic key (``detector/what``) → its clean distribution."""
    data = json.loads(files("auditor").joinpath("calibration.json").read_text(encoding="utf-8"))
    return {key: Null(entry["mean"], entry["count"]) for key, entry in data["statistics"].items()}
