"""The operator tests that ship with onnx, converted and compared with their stored outputs.

    python -m benchmarks.operators [--write] [--only REGEX]

Every case counts whose operations a classifier could use and that has a float input, or is quantised
(``node_cases.OUTSIDE`` lists the others with the reason). The others are run as well: none may disagree either.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import onnx
import torch

from benchmarks.node_cases import Fate, NodeCase, by_onnx2torch, fate_of, node_cases

RESULT = Path(__file__).parent / "results" / "operators.md"
AGREE: tuple[Fate, ...] = ("agree", "agree with constants")
Fates = dict[str, Counter[str]]


def run(cases: Iterable[NodeCase]) -> str:
    """Convert all cases with the auditor and with onnx2torch alone; the report as Markdown."""
    ours: Fates = defaultdict(Counter)
    stock: Fates = defaultdict(Counter)
    outside: Fates = defaultdict(Counter)
    stock_outside: Counter[str] = Counter()
    constants, refusals, disagreements = [], [], []
    for case in cases:
        fate, why = fate_of(case)
        if fate == "disagree":
            disagreements.append(f"- {case.name}: {why}")
        theirs, _ = fate_of(case, by_onnx2torch)
        if case.outside is not None:
            outside[case.outside][fate] += 1
            stock_outside[theirs] += 1
            continue
        ours[case.operation][fate] += 1
        stock[case.operation][theirs] += 1
        if fate == "agree with constants":
            constants.append(case.name)
        if fate == "refused":
            refusals.append((case.operation, _reason(why)))
    return "\n".join(
        [
            f"Made by `python -m benchmarks.operators --write`: onnx {onnx.__version__}, torch {torch.__version__}.",
            "",
            *_totals(ours, stock, outside, stock_outside),
            "",
            *disagreements,
            "## Refused",
            "",
            *(f"- {operation}, {count}×: {why}" for (operation, why), count in sorted(Counter(refusals).items())),
            "",
            "Inputs are fed as an image would be. Where the converter needs constants, all but the first float input "
            f"are stored in the file, which is so for {', '.join(constants) or 'none'}.",
            "",
            "## Cases that count, by operation",
            "",
            *_table(ours, stock),
            "",
            "## Cases that do not count",
            "",
            "| reason | cases | agree | refused | disagree |",
            "|---|---:|---:|---:|---:|",
            *(f"| {reason} | {_row(fates)} |" for reason, fates in sorted(outside.items())),
            "",
        ]
    )


def _totals(ours: Fates, stock: Fates, outside: Fates, stock_outside: Counter[str]) -> list[str]:
    total, theirs, others = (sum(fates.values(), Counter()) for fates in (ours, stock, outside))
    counted = total.total()
    agree, stock_agree = _agreeing(total), _agreeing(theirs)
    return [
        f"{counted + others.total()} cases, of which {counted} count: operations that a classifier could use, with a "
        "float input or quantised. Float results agree within 1e-3 relative and 1e-5 absolute (float16 within 5e-3 and "
        "2e-3, bfloat16 2e-2 and 1e-2, both computed in float32 here), all others exactly.",
        "",
        f"- **auditor: {agree} of {counted} convert and agree ({agree / max(counted, 1):.1%})**, "
        f"{total['refused']} are refused, {total['disagree']} convert and disagree.",
        f"- onnx2torch alone: {stock_agree} convert and agree ({stock_agree / max(counted, 1):.1%}), "
        f"{theirs['refused']} are refused, {theirs['disagree']} convert and disagree.",
        f"- of the {others.total()} that do not count, {_agreeing(others)} agree as well, {others['refused']} are "
        f"refused, {others['disagree']} convert and disagree; of onnx2torch's {_agreeing(stock_outside)} agree and "
        f"{stock_outside['disagree']} convert and disagree.",
    ]


def _table(ours: Fates, stock: Fates) -> list[str]:
    lines = [
        "| operation | cases | agree | refused | disagree | onnx2torch: agree | refused | disagree |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for operation in sorted(ours, key=str.lower):
        theirs = _row(stock[operation]).partition(" | ")[2]
        lines.append(f"| {operation} | {_row(ours[operation])} | {theirs} |")
    return lines


def _row(fates: Counter[str]) -> str:
    return f"{fates.total()} | {_agreeing(fates)} | {fates['refused']} | {fates['disagree']}"


def _agreeing(fates: Counter[str]) -> int:
    return sum(fates[fate] for fate in AGREE)


def _reason(why: str) -> str:
    """The part of a refusal that says what was met."""
    return why.partition(", got ")[2].partition("; export")[0].strip("'") or why


def main() -> None:
    """Print the report, or write it."""
    options = argparse.ArgumentParser(description="The operator tests of onnx, converted and compared.")
    options.add_argument("--write", action="store_true", help=f"write {RESULT.name} instead of printing")
    options.add_argument("--only", default="", metavar="REGEX", help="only the cases whose name matches")
    given = options.parse_args()
    torch.set_num_threads(1)
    report = run(case for case in node_cases() if re.search(given.only, case.name))
    if given.write:
        RESULT.write_text(report)
    else:
        print(report)


if __name__ == "__main__":
    main()
