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


@cache
def nulls() -> dict[str, Null]:
    """Statistic key (``detector/what``) → its clean distribution."""
    data = json.loads(files("auditor").joinpath("calibration.json").read_text(encoding="utf-8"))
    return {key: Null(entry["mean"], entry["count"]) for key, entry in data["statistics"].items()}
