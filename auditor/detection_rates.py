"""What audits like this one detected of models that no weight was fitted to: the measured rates of a release.

``detection_rates.json`` is written by ``python -m benchmarks.tables`` from the table of the fresh models: other
networks, seeds and triggers than those that weights were fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PAIRS = ("detected", "right_target", "false_alarms", "false_confirmations", "passed_wrongly", "passed_rightly")
"""the rates that are pairs of (hits, models); `benchmarks.rates.Rates` has them by the same names"""


@dataclass(frozen=True)
class Measured:
    """Rates of one mode (what a scan was given) at one effort; pairs are (hits, models)."""

    detected: tuple[int, int]
    right_target: tuple[int, int]
    false_alarms: tuple[int, int]
    false_confirmations: tuple[int, int]
    passed_wrongly: tuple[int, int]
    """backdoored ones of which there is no evidence; the rest of those that are not detected is inconclusive"""
    passed_rightly: tuple[int, int]
    by_attack: Mapping[str, tuple[int, int]]
    """attack → (detected, models)"""
    passes: int
    """median"""


def mode_of(*, reference: bool, images: bool) -> str:
    """The name of what a scan was given."""
    if reference:
        return "reference+images" if images else "reference"
    return "images" if images else "impressions"


@cache
def measured() -> Mapping[tuple[str, str], Measured]:
    """(mode, effort) → rates; combinations that were not measured are missing."""
    data = json.loads(files("auditor").joinpath("detection_rates.json").read_text(encoding="utf-8"))
    return {(row["mode"], row["effort"]): parse(row) for row in data["rates"]}


def parse(row: Mapping[str, object]) -> Measured:
    """One entry of the file."""
    pairs = {name: _pair(row[name]) for name in PAIRS}
    attacks = row["by_attack"]
    assert isinstance(attacks, dict)
    return Measured(
        **pairs, by_attack={str(k): _pair(v) for k, v in attacks.items()}, passes=int(str(row["passes"]))
    )


def _pair(value: object) -> tuple[int, int]:
    assert isinstance(value, list)
    hits, count = value
    return int(hits), int(count)
