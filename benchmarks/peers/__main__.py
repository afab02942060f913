"""Run the peers on a zoo, resumably.

    python -m benchmarks.peers --zoo zoo --split heldout --out results --jobs 2

Neural Cleanse gets the same clean images as the auditor in mode ``images``; MM-BD gets nothing. One JSON file a method
and model, ``OUT/METHOD/NAME.json``; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.evaluate import cards, scale

METHODS = ("neural_cleanse", "mm_bd")


def run_one(folder: Path, card: dict[str, Any], method: str, out: Path) -> str:
    """One method on one model; returns a line to print."""
    import torch

    from auditor.images import load_images
    from auditor.opening import open_classifier
    from auditor.request import ModelOptions
    from benchmarks.peers.mm_bd import mm_bd
    from benchmarks.peers.neural_cleanse import neural_cleanse

    torch.set_num_threads(1)
    model, _ = open_classifier(folder / "model.onnx", ModelOptions(**scale(card["preprocess"])), device="cpu")
    generator = torch.Generator().manual_seed(0)
    if method == "mm_bd":
        result = mm_bd(model, generator)
    else:
        loaded = load_images(folder / card["images"], model.input_shape, 600, generator, num_classes=model.num_classes)
        result = neural_cleanse(model, loaded.pixels, generator)
    path = out / method / f"{card['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    named = list(result.target_classes)
    return f"{method:15} {card['name']:28} {result.score:8.2f} {named} {result.passes:,} {result.seconds:.0f} s"


def _task(task: tuple[Path, dict[str, Any], str, Path]) -> str:
    try:
        return run_one(*task)
    except Exception as error:  # one model that fails must not end a comparison; it shows as missing
        return f"{task[2]:15} {task[1]['name']:28} FAILED {type(error).__name__}: {error}"


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=("develop", "heldout", "all"), default="heldout")
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--only", default="", help="part of the model's name")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    tasks = [
        (folder, card, method, options.out)
        for method in options.method or METHODS
        for folder, card in cards(options.zoo, options.split, options.only)
        if not (options.out / method / f"{card['name']}.json").exists()
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for line in pool.imap_unordered(_task, tasks):
            print(line, flush=True)


if __name__ == "__main__":
    main()
