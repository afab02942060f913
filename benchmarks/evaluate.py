"""Scan a folder of models with cards and keep the audits, for `benchmarks.calibrate` and `benchmarks.tables`.

    python -m benchmarks.evaluate --zoo zoo --split heldout --mode impressions --out results

One audit a model is kept as JSON under ``OUT/MODE/NAME.json``; a model that has one is not scanned again. Everything is
measured, so that any selection of detectors, with any calibration, can be judged afterwards.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auditor.request import ModelOptions, ScanRequest, ScanSettings
from benchmarks.catalogue import SPLITS
from benchmarks.judged import MODES, cards, in_short


def scale(preprocess: dict[str, Any] | None) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of a card as options of a model; none where there is no scaling."""
    return {key: tuple(values) for key, values in (preprocess or {}).items()}


def request_of(
    folder: Path, card: dict[str, Any], mode: str, *, effort: str = "standard", seed: int = 0, early_stop: bool = False
) -> ScanRequest:
    """The scan of one model in one mode."""
    shared, theirs = scale(card["preprocess"]), scale(card["reference_preprocess"])
    with_reference = mode.startswith("reference")
    return ScanRequest(
        model=folder / "model.onnx",
        reference=folder / card["reference"] if with_reference else None,
        images=folder / card["images"] if mode.endswith("images") else None,
        model_options=ModelOptions(**shared),
        reference_options=ModelOptions(arch=card["reference_architecture"], **theirs) if with_reference else None,
        settings=ScanSettings(effort=effort, early_stop=early_stop, seed=seed, explain="none"),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Task:
    """One scan to do."""

    folder: Path
    card: dict[str, Any]
    mode: str
    out: Path
    """the mode's folder"""
    threads: int = 1
    effort: str = "standard"
    detectors: tuple[str, ...] | None = None


def scan_one(task: Task) -> None:
    """Scan one model through the public API and keep the audit."""
    import torch

    from auditor.archive import save_text, to_dict
    from auditor.scan import run

    torch.set_num_threads(task.threads)
    request = request_of(task.folder, task.card, task.mode, effort=task.effort)
    audit = run(replace(request, detectors=task.detectors))
    task.out.mkdir(parents=True, exist_ok=True)
    save_text(task.out / f"{task.card['name']}.json", json.dumps(to_dict(audit), allow_nan=False))


def _told(task: Task) -> str:
    """Scans, and says in one line what came of it."""
    name = task.card["name"]
    try:
        scan_one(task)
        audit = json.loads((task.out / f"{name}.json").read_text(encoding="utf-8"))
        named, seconds = in_short(audit["target_classes"]), audit["seconds"]
        return f"{task.mode:12s} {name:28s} {audit['verdict']:12s} [{named}] {seconds:.0f} s"
    except Exception as error:  # one broken model must not end an evaluation; it shows as missing
        return f"{task.mode:12s} {name:28s} FAILED {type(error).__name__}: {error}"


def main() -> None:
    """Scan what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder written by benchmarks.zoo")
    parser.add_argument("--out", type=Path, required=True, help="where audits are kept")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="heldout")
    parser.add_argument("--mode", choices=MODES, action="append", help="repeatable; all when left out")
    parser.add_argument("--only", default="", help="part of the model's name")
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="standard")
    parser.add_argument("--detector", action="append", help="only these; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="scans at a time, one thread each when more than one")
    parser.add_argument("--threads", type=int, help="of one scan (default: 1 with several jobs, else 2)")
    options = parser.parse_args()
    modes = options.mode or list(MODES)
    threads = options.threads or (1 if options.jobs > 1 else 2)
    only = tuple(options.detector) if options.detector else None
    tasks = [
        Task(folder, card, mode, options.out / mode, threads, options.effort, only)
        for mode in modes
        for folder, card in cards(options.zoo, options.split, options.only)
        if not (options.out / mode / f"{card['name']}.json").exists()
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
        for line in pool.imap_unordered(_told, tasks):
            print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
