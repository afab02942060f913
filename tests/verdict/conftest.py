"""Nulls that every test of the verdict judges by."""

from __future__ import annotations

import pytest

from auditor.calibration import Null
from tests.verdict.outcomes import NULL


@pytest.fixture(autouse=True)
def calibrated(nulls: dict[str, Null]) -> None:
    keys = "search/prominence", "other/prominence", "search/gap", "pairs/prominence", "pairs/all-to-all index"
    for what in (*keys, "whole/value"):
        nulls[what] = NULL
