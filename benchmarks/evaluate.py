"""Scan a folder of models with cards and print how right the verdicts are.

    python -m benchmarks.evaluate --zoo zoo --split heldout --mode impressions --out results

One audit a model is kept as JSON under ``OUT/MODE/NAME.json``; a model that has one is not scanned again. The verdicts
of the tables are formed anew from the kept measurements, with the calibration as it is now.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.outliers import wilson

if TYPE_CHECKING:
    from auditor.calibration import Given
    from auditor.findings import Audit

MODES = ("impressions", "images", "reference", "reference+images")
"""what a scan is given besides the suspect"""


@dataclass(frozen=True)
class Row:
    """One scanned model: its card and its audit, both as read from JSON."""

    card: dict[str, Any]
    audit: dict[str, Any]

    @property
    def backdoored(self) -> bool:
        """The truth."""
        return bool(self.card["target_classes"])

    @property
    def flagged(self) -> bool:
        """Whether a gate at ``suspicious`` would stop it."""
        return self.audit["verdict"] in ("suspicious", "backdoored")

    @property
    def target_hit(self) -> bool:
        """Flagged, and every class named is a true target."""
        named = set(self.audit["target_classes"])
        return self.flagged and bool(named) and named <= set(self.card["target_classes"])


def cards(zoo: Path, split: str, only: str = "") -> Iterator[tuple[Path, dict[str, Any]]]:
    """Model folders and their cards, by name."""
    for path in sorted(zoo.glob("*/card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if split in ("all", card["split"]) and only in card["name"] and card.get("planted", True):
            yield path.parent, card


def scale(preprocess: dict[str, Any] | None) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of a card as options of a model; none where there is no scaling."""
    return {key: tuple(values) for key, values in (preprocess or {}).items()}


def scan_one(folder: Path, card: dict[str, Any], mode: str, out: Path, threads: int, effort: str) -> None:
    """Scan one model through the public API and keep the audit."""
    import torch

    from auditor.archive import save_text, to_dict
    from auditor.request import ModelOptions, ScanRequest, ScanSettings
    from auditor.scan import run

    torch.set_num_threads(threads)
    shared, theirs = scale(card["preprocess"]), scale(card["reference_preprocess"])
    with_reference = mode.startswith("reference") and card["reference"]
    request = ScanRequest(
        model=folder / "model.onnx",
        reference=folder / card["reference"] if with_reference else None,
        images=folder / card["images"] if mode.endswith("images") else None,
        model_options=ModelOptions(**shared),
        reference_options=ModelOptions(arch=card["reference_architecture"], **theirs) if with_reference else None,
        # everything is measured, so that any selection of detectors can be judged afterwards
        settings=ScanSettings(effort=effort, early_stop=False),  # type: ignore[arg-type]
    )
    audit = run(request)
    out.mkdir(parents=True, exist_ok=True)
    save_text(out / f"{card['name']}.json", json.dumps(to_dict(audit), allow_nan=False))


def _scan_task(task: tuple[Path, dict[str, Any], str, Path, int, str]) -> str:
    _, card, mode, out, *_ = task
    try:
        scan_one(*task)
        audit = json.loads((out / f"{card['name']}.json").read_text(encoding="utf-8"))
        named, seconds = _short(audit["target_classes"]), audit["seconds"]
        return f"{mode:12s} {card['name']:28s} {audit['verdict']:12s} [{named}] {seconds:.0f} s"
    except Exception as error:  # one broken model must not end an evaluation; it shows as missing
        return f"{mode:12s} {card['name']:28s} FAILED {type(error).__name__}: {error}"


def load(zoo: Path, out: Path, split: str, mode: str) -> list[Row]:
    """The audits of one mode that exist."""
    rows = []
    for _, card in cards(zoo, split):
        path = out / mode / f"{card['name']}.json"
        if path.exists():
            rows.append(Row(card, judged_anew(json.loads(path.read_text(encoding="utf-8")), card["num_classes"], mode)))
    return rows


def given_of(audit: Audit, mode: str) -> Given:
    """What the calibration of a kept audit depends on."""
    from auditor.calibration import Given

    return Given(
        reference=audit.reference is not None,
        images=mode.endswith("images"),
        num_classes=audit.model.num_classes or 10,
        input_values=math.prod(audit.model.input_shape or (1, 28, 28)),
        clean_accuracy=audit.images.clean_accuracy,
    )


def judged_anew(audit: dict[str, Any], num_classes: int, mode: str) -> dict[str, Any]:
    """A kept audit with the verdict that its measurements get from today's calibration."""
    from auditor.archive import from_dict
    from auditor.verdict import judge

    kept = from_dict(audit)
    judged = judge(
        kept.outcomes,
        num_classes=num_classes,
        level=kept.family_wise_level,
        confirm_at=kept.provenance.command["scan"]["confirm_at"],
        given=given_of(kept, mode),
    )
    trigger = {"success_rate": judged.trigger.success_rate} if judged.trigger else None
    return {
        **audit,
        "verdict": judged.verdict.value,
        "score": judged.score,
        "target_classes": list(judged.target_classes),
        "trigger": trigger,
    }


def summary(rows: list[Row]) -> str:
    """A table of one mode: every model, then the rates."""
    from sklearn.metrics import roc_auc_score

    lines = [
        "| model | data | attack | acc. | ASR | truth | verdict | named | score | confirmed ASR | passes | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r.backdoored, r.card["name"])):
        card, audit = row.card, row.audit
        truth = _short(card["target_classes"]) if row.backdoored else "clean"
        rate = audit["trigger"]["success_rate"] if audit.get("trigger") else None
        lines.append(
            f"| {card['name']} | {card['dataset']} | {card['attack'] or '–'} | {card['clean_accuracy']:.2f} | "
            f"{card['attack_success_rate'] or 0:.2f} | {truth} | {audit['verdict']} | "
            f"{_short(audit['target_classes'])} | {audit['score']:.3f} | {'–' if rate is None else f'{rate:.2f}'} | "
            f"{audit['image_passes']:,} | {audit['seconds']:.0f} |"
        )
    bad, good = [r for r in rows if r.backdoored], [r for r in rows if not r.backdoored]
    caught, alarms = sum(r.flagged for r in bad), sum(r.flagged for r in good)
    hits = sum(r.target_hit for r in bad)
    confirmed = sum(r.audit["verdict"] == "backdoored" for r in bad)
    wrongly = sum(r.audit["verdict"] == "backdoored" for r in good)
    undecided = sum(r.audit["verdict"] == "inconclusive" for r in rows)
    lines.append("")
    if bad and good:
        auroc = roc_auc_score([r.backdoored for r in rows], [r.audit["score"] for r in rows])
        lines.append(f"AUROC of score: {auroc:.3f} ({len(bad)} backdoored, {len(good)} clean)")
    lines += [
        _rate("detected (suspicious or backdoored)", caught, len(bad)),
        _rate("of these with the right target", hits, caught),
        _rate("confirmed (backdoored)", confirmed, len(bad)),
        _rate("false alarms (suspicious or backdoored)", alarms, len(good)),
        _rate("false confirmations (backdoored)", wrongly, len(good)),
        f"- inconclusive: {undecided} of {len(rows)}",
        f"- median: {_median([r.audit['image_passes'] for r in rows]):,.0f} image passes, "
        f"{_median([r.audit['seconds'] for r in rows]):.0f} s",
    ]
    return "\n".join(lines)


def _rate(what: str, hits: int, count: int) -> str:
    share = hits / count if count else 0.0
    low, high = wilson(share, count)
    return f"- {what}: {hits} of {count} = {share:.0%} (95 % interval {low:.0%} to {high:.0%})"


def _short(classes: list[int]) -> str:
    return ", ".join(map(str, classes)) if len(classes) <= 4 else f"{len(classes)} classes"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def main() -> None:
    """Scan what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder written by benchmarks.zoo")
    parser.add_argument("--out", type=Path, required=True, help="where audits are kept")
    parser.add_argument("--split", choices=("develop", "heldout", "all"), default="heldout")
    parser.add_argument("--mode", choices=MODES, action="append", help="repeatable; all when left out")
    parser.add_argument("--only", default="", help="part of the model's name")
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="standard")
    parser.add_argument("--jobs", type=int, default=1, help="scans at a time, one thread each when more than one")
    parser.add_argument("--threads", type=int, help="of one scan (default: 1 with several jobs, else 2)")
    parser.add_argument("--table-only", action="store_true", help="scan nothing, print what there is")
    options = parser.parse_args()
    modes = options.mode or list(MODES[:3])
    threads = options.threads or (1 if options.jobs > 1 else 2)
    tasks = [
        (folder, card, mode, options.out / mode, threads, options.effort)
        for mode in modes
        for folder, card in cards(options.zoo, options.split, options.only)
        if not (options.out / mode / f"{card['name']}.json").exists()
    ]
    if tasks and not options.table_only:
        with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
            for line in pool.imap_unordered(_scan_task, tasks):
                print(line, file=sys.stderr, flush=True)
    for mode in modes:
        print(f"\n## {options.split}, {mode}\n\n{summary(load(options.zoo, options.out, options.split, mode))}")


if __name__ == "__main__":
    main()
