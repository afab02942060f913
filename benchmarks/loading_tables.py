"""Markdown tables of what ``benchmarks.loading`` measured."""

from __future__ import annotations

from typing import Any

AGREEMENT = 1e-4
"""largest difference of scores, relative to the largest one, that counts as the same network"""

HALF_AGREEMENT = 1e-2
"""the same for exports in 16 bits, where the exporter itself rounds what it folds together"""

Result = dict[str, Any]


def failure(case: str, measured: Result) -> str | None:
    """Why a case does not count as loaded; ``None`` when it does."""
    if "exporter_error" in measured:
        return f"not exported: {measured['exporter_error']}"
    if "error" in measured:
        return f"not loaded: {measured['error']}"
    agreement = HALF_AGREEMENT if "float16" in case else AGREEMENT
    if not measured["difference"] < agreement:
        return f"scores differ by {measured['difference']:.2g}"
    if not measured["gradient_nonzero"]:
        return "no input gradient"
    return None


def markdown(table: str, cases: tuple[str, ...], results: dict[str, Result], wanted: list[str]) -> str:
    """One row an architecture: relative difference of the scores and seconds of loading for each case."""
    head = "| architecture | parameters | image | " + " | ".join(cases) + " |"
    lines = [head, "|---|---:|---:|" + "---:|" * len(cases)]
    reasons: list[str] = []
    good = dict.fromkeys(cases, 0)
    for name in sorted(wanted):
        short = name.partition(":")[2]
        result = results.get(name)
        if result is None:
            lines.append(f"| {short} | | |" + " not measured |" * len(cases))
            continue
        if "error" in result:
            lines.append(f"| {short} | | |" + " – |" * len(cases))
            reasons.append(f"- {short}: {_escaped(result['error'])}")
            continue
        cells = []
        for case in cases:
            measured = result["cases"][case]
            reason = failure(case, measured)
            good[case] += reason is None
            cells.append(_cell(measured) if reason is None else "**no**")
            if reason is not None:
                reasons.append(f"- {short}, {case}: {_escaped(reason)}")
        size = f"{result['size']}²"
        lines.append(f"| {short} | {result['parameters'] / 1e6:.1f} M | {size} | " + " | ".join(cells) + " |")
    lines.append("| **loaded** | | | " + " | ".join(f"**{good[case]} of {len(wanted)}**" for case in cases) + " |")
    exceptions = ["", "Exceptions:", "", *reasons] if reasons else []
    return "\n".join([f"## {table}", "", *lines, *exceptions, ""])


def _cell(measured: Result) -> str:
    batch = "" if measured["fixed_batch"] is None else f", batch {measured['fixed_batch']} only"
    return f"{measured['difference']:.0e}, {measured['load_cpu']:.1f} s{batch}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
