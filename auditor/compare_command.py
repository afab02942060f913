"""``audit compare``: the command; `auditor.cli` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor import flags, registry
from auditor.exit_codes import of_comparison
from auditor.terminal import say

COMPARED = "exit codes: 0 the second is no worse than the first, 1 it is worse, 2 either is inconclusive"
"""what the command's exit codes mean, for its help"""


def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST.JSON", help="before, or one candidate", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND.JSON", help="after, or the other", show_default=False)],
    output: flags.Outputs = None,
    quiet: flags.Quiet = False,
    no_color: flags.NoColor = False,
) -> int:
    """Set two audits that -o json= wrote side by side, without scanning."""
    from auditor import comparing, delivery
    from auditor.audit_file import read_audit

    targets = delivery.targets(output or [], (first, second), registry.COMPARISONS)
    comparison = comparing.compare(read_audit(first), read_audit(second))
    if not quiet:
        to_stderr = any(target.path is None for target in targets)
        delivery.show(comparison, to_stderr=to_stderr, group=registry.COMPARISONS)
    for path in delivery.deliver(comparison, targets):
        say(f"wrote {path}")
    return of_comparison(comparison)
