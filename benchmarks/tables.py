"""Write the tables and figures of ``benchmarks/results`` from kept audits.

    python -m benchmarks.tables --zoo zoo --results results --split fresh

For the fresh split it also writes what README and reports say of it (`benchmarks.statements`).

``SPLIT.md`` holds the rates: over all, by attack, label map, architecture, kind of clean model, effort, without each
detector. ``SPLIT_peers.md`` holds the peers on the same models (``--peers``), ``SPLIT_models.md`` every verdict;
``SPLIT_*.svg`` are the figures.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from auditor import registry
from auditor.detector import Effort, effort_of
from auditor.findings import Outcome
from benchmarks import statements
from benchmarks.catalogue import SPLITS
from benchmarks.judged import MODES, Judged, Kept, all_judged, cards, in_short, read_kept
from benchmarks.peers.result import PeerResult
from benchmarks.plots import draw
from benchmarks.rates import Share, auroc, by, rates, reliability

Rows = Mapping[str, Sequence[Judged]]
"""mode → verdicts"""

TITLES = {
    "images": "real images",
    "impressions": "the suspect alone",
    "reference+images": "reference and real images",
    "reference": "reference",
}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(head), "|".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def overview(rows: Rows) -> str:
    """Rates of each mode."""
    found = {mode: rates(judged) for mode, judged in rows.items()}
    return table(
        ("", *(TITLES[m] for m in found)),
        [
            ("models", *(f"{len(judged)}" for judged in rows.values())),
            ("detected", *(r.detected for r in found.values())),
            ("of these with the right target", *(r.right_target for r in found.values())),
            ("confirmed (`backdoored`)", *(r.confirmed for r in found.values())),
            ("false alarms", *(r.false_alarms for r in found.values())),
            ("false confirmations", *(r.false_confirmations for r in found.values())),
            ("inconclusive", *(r.inconclusive for r in found.values())),
            ("backdoored that pass", *(r.passed_wrongly for r in found.values())),
            ("clean that pass", *(r.passed_rightly for r in found.values())),
            ("AUROC of score", *(number(r.auroc) for r in found.values())),
            ("Brier score", *(number(r.brier) for r in found.values())),
            ("median image passes", *(f"{r.passes:,.0f}" for r in found.values())),
            ("median seconds, one thread", *(f"{r.seconds:.0f}" for r in found.values())),
        ],
    )


def grouped(rows: Rows, key: Callable[[Judged], str], backdoored: bool, what: str) -> str:
    """Flagged models of each group, by mode: detections among backdoored, false alarms among clean ones."""
    groups = {m: by([r for r in judged if r.backdoored == backdoored], key) for m, judged in rows.items()}
    names = sorted({name for found in groups.values() for name in found})

    def cell(group: Sequence[Judged]) -> str:
        return f"{sum(r.flagged for r in group)} of {len(group)}" if group else "–"

    return table(
        (what, *(TITLES[m] for m in groups)),
        [(name, *(cell(groups[m].get(name, [])) for m in groups)) for name in names],
    )


def number(value: float) -> str:
    """Three digits; a dash where models of one sort are missing."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def without_each(kept: Mapping[str, Sequence[Kept]]) -> str:
    """The ablation: verdicts from all outcomes, and from all but one detector's."""
    lines = []
    for mode, items in kept.items():
        names = sorted({o.detector for item in items for o in item.audit.outcomes})
        for left_out in ("", *names):
            found = rates(all_judged(items, lambda outcome, left_out=left_out: outcome.detector != left_out))  # type: ignore[misc]
            lines.append(
                (TITLES[mode], f"without `{left_out}`" if left_out else "all", number(found.auroc),
                 found.detected, found.confirmed, found.false_alarms, f"{found.passes:,.0f}")
            )  # fmt: skip
    return table(("mode", "detectors", "AUROC", "detected", "confirmed", "false alarms", "passes"), lines)


def is_quick(outcome: Outcome) -> bool:
    """Whether an outcome is one of a quick scan's."""
    return effort_of(registry.load(registry.DETECTORS, outcome.detector)) is Effort.QUICK


def efforts(quick: Rows, rows: Rows) -> str:
    """Rates of quick scans, judged from the same measurements, beside standard ones."""
    lines = []
    for mode in rows:
        for name, judged in (("quick", quick[mode]), ("standard", rows[mode])):
            r = rates(judged)
            lines.append((TITLES[mode], name, r.detected, r.false_alarms, f"{r.passes:,.0f}", f"{r.seconds:.0f}"))
    return table(("mode", "effort", "detected", "false alarms", "median passes", "median seconds"), lines)


def calibrated(rows: Rows) -> str:
    """Reliability: what a score says, and how many of such models are backdoored, at even prior odds."""
    lines = [
        (TITLES[mode], f"{mean:.2f}", f"{share:.2f}", count)
        for mode, judged in rows.items()
        for mean, share, count in reliability(judged)
    ]
    return table(("mode", "mean score", "share backdoored", "models"), lines)


def beside_peers(rows: Rows, peers: Path) -> str:
    """Ours and the peers' decisions on the models that a peer has judged."""
    lines = []
    for folder in sorted(p for p in peers.glob("*") if p.is_dir()) if peers.is_dir() else []:
        theirs = {path.stem: PeerResult.load(path) for path in folder.glob("*.json")}
        for mode, judged in rows.items():
            both = [r for r in judged if r.card["name"] in theirs]
            if not both:
                continue
            ours = rates(both)
            lines.append(
                (f"ours, {TITLES[mode]}", number(ours.auroc), ours.detected, ours.right_target, ours.false_alarms,
                 f"{ours.passes:,.0f}", f"{ours.seconds:.0f}")
            )  # fmt: skip
            if mode == next(iter(rows)):
                lines.insert(-1, _peer(folder.name, both, theirs))
    head = ("on the same models", "AUROC", "detected", "right target", "false alarms", "passes", "seconds")
    return table(head, lines) if lines else ""


def _peer(name: str, rows: Sequence[Judged], theirs: Mapping[str, PeerResult]) -> tuple[object, ...]:
    found = [(r, theirs[r.card["name"]]) for r in rows]
    bad, good = [t for r, t in found if r.backdoored], [t for r, t in found if not r.backdoored]
    flagged = [(set(t.target_classes), set(r.card["target_classes"])) for r, t in found if r.backdoored and t.flagged]
    middle = sorted(t.passes for _, t in found)[len(found) // 2], sorted(t.seconds for _, t in found)[len(found) // 2]
    return (
        f"**{name}**",
        number(auroc([t.score for t in bad], [t.score for t in good])),
        Share(sum(t.flagged for t in bad), len(bad)),
        Share(sum(named <= true for named, true in flagged), len(flagged)),
        Share(sum(t.flagged for t in good), len(good)),
        f"{middle[0]:,}",
        f"{middle[1]:.0f}",
    )


def page(split: str, kept: Mapping[str, Sequence[Kept]], rows: Rows, quick: Rows, left_out: int) -> str:
    """``SPLIT.md``."""

    def network(row: Judged) -> str:
        return f"{row.card['architecture'].partition(':')[2]}, {row.card['dataset']}"

    parts = [
        f"Made by `python -m benchmarks.tables --split {split}`; verdicts from the calibration of this release. "
        f"Shares have 95 % intervals (Wilson). {left_out} models whose attack did not take are left out.",
        f"## Over all\n\n{overview(rows)}",
        f"## Detected, by attack\n\n{grouped(rows, lambda r: r.card['attack'], True, 'attack')}",
        f"## Detected, by label map\n\n{grouped(rows, lambda r: r.card['label_map'], True, 'label map')}",
        f"## Detected, by network\n\n{grouped(rows, network, True, 'network')}",
        f"## False alarms, by kind of clean model\n\n{grouped(rows, lambda r: r.card['kind'], False, 'kind')}",
        f"## False alarms, by network\n\n{grouped(rows, network, False, 'network')}",
        f"## Effort\n\n{efforts(quick, rows)}",
        f"## Without each detector\n\n{without_each(kept)}",
        f"## Reliability of the score\n\n{calibrated(rows)}",
    ]
    parts.append(f"![ROC curves]({split}_roc.svg) ![Detected, by attack]({split}_attacks.svg)")
    return "\n\n".join(parts) + "\n"


def peers_page(split: str, rows: Rows, peers: Path) -> str:
    """``SPLIT_peers.md``."""
    return (
        f"Made by `python -m benchmarks.tables --split {split} --peers`: the peers (`benchmarks/peers`, from their "
        "published settings) and the audit on the same models, one thread each. A peer is given what it asks for: "
        "Neural Cleanse real images, MM-BD nothing. Shares have 95 % intervals (Wilson).\n\n"
        f"{beside_peers(rows, peers)}\n"
    )


def verdicts(split: str, rows: Rows) -> str:
    """``SPLIT_models.md``: every verdict."""
    parts = [f"Made by `python -m benchmarks.tables --split {split}`: every model of the split and its verdict."]
    for mode, judged in rows.items():
        lines = [
            (r.card["name"], r.card["attack"] or r.card["kind"], f"{r.card['clean_accuracy']:.2f}",
             "–" if r.card["attack_success_rate"] is None else f"{r.card['attack_success_rate']:.2f}",
             in_short(r.card["target_classes"]) if r.backdoored else "clean", r.verdict.value, in_short(r.named),
             f"{r.score:.3f}", "–" if r.success is None else f"{r.success:.2f}", f"{r.passes:,}", f"{r.seconds:.0f}")
            for r in sorted(judged, key=lambda r: (r.backdoored, r.card["name"]))
        ]  # fmt: skip
        head = ("model", "attack or kind", "acc.", "ASR", "truth", "verdict", "named", "score", "trigger's success",
                "passes", "seconds")  # fmt: skip
        parts.append(f"## {TITLES[mode]}\n\n{table(head, lines)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read audits, write pages and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder of kept audits, and of peers")
    parser.add_argument("--split", choices=SPLITS, default="fresh")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--peers", action="store_true", help="write SPLIT_peers.md and nothing else")
    options = parser.parse_args()
    kept = {mode: read_kept(options.zoo, options.results, options.split, mode) for mode in MODES}
    kept = {mode: items for mode, items in kept.items() if items}
    if not kept:
        parser.error(f"no kept audit of split {options.split} in {options.results}; run benchmarks.evaluate first")
    rows = {mode: all_judged(items) for mode, items in kept.items()}
    if options.peers:
        text = peers_page(options.split, rows, options.results / "peers")
        (options.out / f"{options.split}_peers.md").write_text(text, encoding="utf-8")
        print(text)
        return
    quick = {mode: all_judged(items, is_quick) for mode, items in kept.items()}
    left_out = sum(1 for _ in cards(options.zoo, options.split, planted=False)) - sum(
        1 for _ in cards(options.zoo, options.split)
    )
    text = page(options.split, kept, rows, quick, left_out)
    (options.out / f"{options.split}.md").write_text(text, encoding="utf-8")
    (options.out / f"{options.split}_models.md").write_text(verdicts(options.split, rows), encoding="utf-8")
    draw(options.split, rows, options.out)
    if options.split == statements.TOLD:
        both = (("quick", quick), ("standard", rows))
        statements.write([statements.entry(mode, effort, j[mode]) for mode in kept for effort, j in both])
    print(text.partition("## Detected")[0])


if __name__ == "__main__":
    main()
