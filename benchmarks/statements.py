"""What README and reports say about detection rates, written from the tables of fresh models.

``auditor/detection_rates.json`` is what an audit's blind spots are told from; the README's table is made of it.

    python -m benchmarks.statements --split fresh --drop reference

takes back what was said of one mode, where a change has outdated it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.blind_spots import told_of
from auditor.detection_rates import Measured, by_split
from benchmarks.judged import MODES, Judged
from benchmarks.rates import Share, by, rates

TOLD = {
    "fresh": "Fresh models: networks, seeds and triggers that no weight was fitted to, though what was missed of them "
    "has prompted some of the searches",
}
"""splits that are reported, and what is said of them"""

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
        **{
            name: [share.hits, share.count]
            for name, share in (
                ("detected", found.detected),
                ("right_target", found.right_target),
                ("false_alarms", found.false_alarms),
                ("false_confirmations", found.false_confirmations),
            )
        },
        "by_attack": {name: [sum(r.flagged for r in group), len(group)] for name, group in attacks.items()},
        "passes": round(found.passes),
    }


def write(split: str, entries: Sequence[Mapping[str, Any]], *, drop: Collection[str] = ()) -> None:
    """One split's rates in the file of rates, and the README's tables.

    Modes of the split that ``entries`` do not hold stay as they were, but for those to ``drop``.
    """
    splits = {name: json.loads(RATES.read_text(encoding="utf-8"))["splits"].get(name, []) for name in TOLD}
    new = {str(e["mode"]) for e in entries} | set(drop)
    splits[split] = [*(e for e in splits[split] if e["mode"] not in new), *entries]
    splits[split].sort(key=lambda e: MODES.index(e["mode"]))
    made = {"made_by": "python -m benchmarks.tables", "splits": splits}
    RATES.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    by_split.cache_clear()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(lambda found: found[1] + block(by_split()) + found[3], text), encoding="utf-8")


def block(known: Mapping[str, Mapping[tuple[str, str], Measured]]) -> str:
    """The README's tables of rates, in Markdown."""
    return "\n".join(f"{TOLD[split]}:\n\n{_table(rows)}" for split, rows in known.items() if rows)


def _table(known: Mapping[tuple[str, str], Measured]) -> str:
    lines = [
        "| audits | effort | detected | right target | false alarms | clean called `backdoored` | median passes |",
        "|---|---|---|---|---|---|---|",
    ]
    for (mode, effort), found in known.items():
        shares = [Share(*found.detected), Share(*found.right_target), Share(*found.false_alarms)]
        wrong = "{} of {}".format(*found.false_confirmations)
        lines.append(
            f"| {told_of(mode)} | {effort} | {' | '.join(map(str, shares))} | {wrong} | {found.passes:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Take back what is no longer so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=tuple(TOLD), required=True)
    parser.add_argument("--drop", choices=MODES, action="append", required=True, help="repeatable")
    options = parser.parse_args()
    write(options.split, [], drop=options.drop)


if __name__ == "__main__":
    main()
