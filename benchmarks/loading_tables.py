"""Markdown tables of what ``benchmarks.loading`` measured."""

from __future__ import annotations

from typing import Any

from benchmarks.loading_networks import CLASSES

AGREEMENT = 1e-4
"""largest difference of scores, relative to the largest one, that counts as the same network"""

ROUNDED_AGREEMENT = {"bfloat16": 5e-2, "float16": 1e-2}
"""the same for exports in 16 bits: exporters that fold batch norms into convolutions round the product once more"""

EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        "element type complex128",
        "torch's legacy exporter writes 15 for bfloat16, which in ONNX means complex128: no runtime reads the file",
    ),
    (
        "std::bad_alloc",
        "the memory of this machine (the limit was 21 GiB, which the network, its export and onnxruntime shared) was "
        "not enough to verify it; its smaller relatives load",
    ),
)
"""What is behind a failure, by words in its message."""

HEADER = """# Does every classifier load?

Printed by `python -m benchmarks.loading --out FOLDER`. Each network has random weights and 10 classes, and is written
with a batch of 2 (`fixed`: of 1), then loaded without being told what it is (timm's state dicts: with `--arch`).
`dynamo` is the default exporter of torch {torch} at its default opset, `legacy-17` the older one at opset 17, `pt` and
`safetensors` are state dicts. A cell gives the largest difference from torch's scores on 3 images, relative to the
largest score, and the processor seconds of loading, verification against onnxruntime included (one thread of a shared
machine). A network counts as loaded when the difference is below {agreement:g} and every image has an input gradient.
In 16 bits it is compared with the same rounded weights computed in float32; there {float16:g} and for bfloat16
{bfloat16:g} are allowed, because exporters that fold batch norms into convolutions round the product once more.
"""

TITLES = {
    "torchvision": "Every torchvision classifier",
    "timm": "Some of timm",
    "opsets": "Opsets",
    "forms": "Batch of one, and 16 bits",
}

Result = dict[str, Any]


def failure(case: str, measured: Result) -> str | None:
    """Why a case does not count as loaded; ``None`` when it does."""
    if "exporter_error" in measured:
        return f"not exported: {measured['exporter_error']}"
    if "error" in measured:
        return f"not loaded: {measured['error']}"
    agreement = ROUNDED_AGREEMENT.get(case.rpartition("-")[2], AGREEMENT)
    if not measured["difference"] < agreement:
        return f"scores differ by {measured['difference']:.2g}"
    if not measured["gradient_nonzero"]:
        return "no input gradient"
    if measured.get("classes", CLASSES) != CLASSES:
        return f"taken for a network of {measured['classes']} classes"
    return None


def header(torch_version: str) -> str:
    """The page's introduction."""
    return HEADER.format(torch=torch_version, agreement=AGREEMENT, **ROUNDED_AGREEMENT)


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
                reasons.append(f"- {short}, {case}: {_escaped(reason)}{_explanation(reason)}")
        size = f"{result['size']}²"
        lines.append(f"| {short} | {result['parameters'] / 1e6:.1f} M | {size} | " + " | ".join(cells) + " |")
    lines.append("| **loaded** | | | " + " | ".join(f"**{good[case]} of {len(wanted)}**" for case in cases) + " |")
    exceptions = ["", "Exceptions:", "", *reasons] if reasons else []
    return "\n".join([f"## {TITLES[table]}", "", *lines, "", _findings(results, wanted), *exceptions, ""])


def _findings(results: dict[str, Result], wanted: list[str]) -> str:
    """What ``audit inspect`` finds odd in the exports: one sentence."""
    looked, odd = 0, []
    for name in sorted(wanted):
        for case, measured in results.get(name, {}).get("cases", {}).items():
            if "findings" in measured:
                looked += 1
                odd += [f"{name.partition(':')[2]}, {case}: {_escaped(found)}" for found in measured["findings"]]
    shown = "none" if not odd else "; ".join(odd)
    return f"Findings of `audit inspect` in {looked} exports: {shown}."


def _explanation(reason: str) -> str:
    return next((f". {why[0].upper()}{why[1:]}" for words, why in EXPLANATIONS if words in reason), "")


def _cell(measured: Result) -> str:
    batch = "" if measured["fixed_batch"] is None else f", batch {measured['fixed_batch']} only"
    return f"{measured['difference']:.0e}, {measured['load_cpu']:.1f} s{batch}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
