"""Being here puts this folder on the path, so that every test can import `tiny_models`; and shared fixtures."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: as many threads as workers, not their product
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from auditor import weighing
from auditor.calibration import Null


@pytest.fixture
def nulls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Null]:
    """A calibration that tests may fill: nothing here depends on the one that is shipped."""
    chosen: dict[str, Null] = {}
    monkeypatch.setattr(weighing, "nulls", lambda: chosen)
    return chosen
