"""What a command that ended well tells its caller: the exit code of a scan and of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.findings import Verdict
from auditor.guard import AT_GATE, BELOW_GATE, FAILED

if TYPE_CHECKING:
    from auditor.comparing import Comparison


def exit_code(verdict: Verdict, fail_on: str) -> int:
    """The exit code of a finished audit; an inconclusive one fails whatever the gate."""
    if verdict is Verdict.INCONCLUSIVE:
        return FAILED
    failing = {
        "suspicious": {Verdict.SUSPICIOUS, Verdict.BACKDOORED},
        "backdoored": {Verdict.BACKDOORED},
        "never": set[Verdict](),
    }
    return AT_GATE if verdict in failing[fail_on] else BELOW_GATE


def of_comparison(comparison: Comparison) -> int:
    """0 when the second verdict is no worse than the first, 1 when it is worse, 2 when either is inconclusive."""
    codes = {"better": BELOW_GATE, "equal": BELOW_GATE, "worse": AT_GATE, "inconclusive": FAILED}
    return codes[comparison.change]
