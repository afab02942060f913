"""What README and reports say about detection rates, written from the tables of fresh models.

``auditor/detection_rates.json`` is what an audit's blind spots are told from; the README's table is made of it.
`benchmarks.tables` writes both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.blind_spots import told_of
from auditor.detection_rates import PAIRS, Measured, measured
from benchmarks.judged import Judged
from benchmarks.rates import Share, by, rates

TOLD = "fresh"
"""the split that is reported"""

SAID = (
    "Fresh models: networks, seeds and triggers that no weight was fitted to, though what was missed of them has "
    "prompted some of the searches. Models of two to four classes are among them; what is neither detected nor passes "
    "is `inconclusive`"
)

ROOT = Path(__file__).parents[1]
RATES = ROOT / "auditor" / "detection_rates.json"
BLOCK = re.compile(r"(<!-- detection rates -->\n)(.*?)(<!-- end of detection rates -->)", re.DOTALL)


def entry(mode: str, effort: str, rows: Sequence[Judged]) -> dict[str, Any]:
    """The rates of one mode and effort as JSON values."""
    found = rates(rows)
    attacks = by([r for r in rows if r.backdoored], lambda r: r.card["attack"])
    return {
        "mode": mode,
        "effort": effort,
        **{name: [getattr(found, name).hits, getattr(found, name).count] for name in PAIRS},
        "by_attack": {name: [sum(r.flagged for r in group), len(group)] for name, group in attacks.items()},
        "passes": round(found.passes),
    }


def write(entries: Sequence[Mapping[str, Any]]) -> None:
    """The file of rates, and the README's table."""
    made = {"made_by": "python -m benchmarks.tables", "split": TOLD, "rates": list(entries)}
    RATES.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    measured.cache_clear()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(lambda found: found[1] + block(measured()) + found[3], text), encoding="utf-8")


def block(known: Mapping[tuple[str, str], Measured]) -> str:
    """The README's table of rates, in Markdown."""
    return f"{SAID}:\n\n{_table(known)}"


def _table(known: Mapping[tuple[str, str], Measured]) -> str:
    lines = [
        "| audits | effort | detected | right target | false alarms | clean called `backdoored` "
        "| backdoored that pass | clean that pass | median passes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (mode, effort), found in known.items():
        shares = [Share(*found.detected), Share(*found.right_target), Share(*found.false_alarms)]
        counts = (found.false_confirmations, found.passed_wrongly, found.passed_rightly)
        few = " | ".join(f"{hits} of {count}" for hits, count in counts)
        lines.append(f"| {told_of(mode)} | {effort} | {' | '.join(map(str, shares))} | {few} | {found.passes:,} |")
    return "\n".join(lines) + "\n"
