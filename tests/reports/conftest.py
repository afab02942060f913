"""Audits that every report has to render."""

from __future__ import annotations

import pytest
from example_audits import audit

from auditor.findings import Audit, Verdict

CASES = {
    "backdoored of 10": lambda: audit(10),
    "backdoored of 43": lambda: audit(43),
    "suspicious of 43": lambda: audit(43, Verdict.SUSPICIOUS),
    "no evidence, grey images": lambda: audit(10, Verdict.NO_EVIDENCE, channels=1),
    "inconclusive": lambda: audit(10, Verdict.INCONCLUSIVE),
    "two classes": lambda: audit(2),
    "hostile": lambda: audit(10, hostile=True),
}


@pytest.fixture(params=CASES, ids=str)
def any_audit(request: pytest.FixtureRequest) -> Audit:
    """Each of the example audits in turn."""
    return CASES[request.param]()


@pytest.fixture
def backdoored() -> Audit:
    """A backdoored model of ten classes, target class 8."""
    return audit(10)


@pytest.fixture
def hostile() -> Audit:
    """The same with every free text trying to break out."""
    return audit(10, hostile=True)
