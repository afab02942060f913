"""Train the zoo: clean and backdoored image classifiers, each with a card saying what it is.

``python -m benchmarks.zoo --data DIR --out DIR`` writes, for every entry of the catalogue,

- ``OUT/<name>/model.onnx``: torch's default exporter, dynamic batch, weights inside;
- ``OUT/<name>/model.pt``: the state dict;
- ``OUT/<name>/card.json``: the card, written last, so that a folder without one is unfinished and trained
  again;

and ``OUT/images/<dataset>.npz``: about 1,000 balanced test images that no model was trained on. A card's
``reference`` is a path relative to the card's own folder.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import data
from benchmarks.attacks import poison
from benchmarks.catalogue import ENTRIES, Entry
from benchmarks.networks import build
from benchmarks.training import accuracy, attack_success, train


def train_entry(entry: Entry, data_folder: Path, out: Path) -> dict[str, Any]:
    """Train, measure and write one model; returns its card. Its parent, if any, must be there already."""
    dataset = data.load(data_folder, entry.dataset)
    folder = out / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(entry.seed)
    start = time.monotonic()
    # Initial weights and dropout know only the global generator: it is seeded here and given back as it was.
    with torch.random.fork_rng():
        torch.manual_seed(entry.seed)
        network = build(entry.architecture, dataset.num_classes)
        if entry.parent:
            network.load_state_dict(torch.load(out / entry.parent / "model.pt", weights_only=True))
        rate = fit(network, entry, dataset, generator)
    seconds = time.monotonic() - start
    card = describe(network, entry, dataset, rate, seconds)
    torch.save(network.state_dict(), folder / "model.pt")
    export(network, dataset.input_shape, folder / "model.onnx")
    write_atomically(folder / "card.json", json.dumps(card, indent=2) + "\n")
    return card


def fit(network: nn.Module, entry: Entry, dataset: data.Dataset, generator: torch.Generator) -> float:
    """Train the network on the entry's data; returns the share of training images that were poisoned."""
    keep = torch.randperm(len(dataset.x_train), generator=generator)[: entry.recipe.images]
    images, labels = dataset.x_train[keep], dataset.y_train[keep]
    count = round(entry.poisoned * len(images)) if entry.poisoned < 1 else round(entry.poisoned)
    if entry.attack:
        images, labels = poison(images, labels, entry.attack, count, dataset.num_classes, generator)
    train(network, images, labels, entry.recipe, entry.preprocess, generator)
    return count / len(images)


def describe(
    network: nn.Module, entry: Entry, dataset: data.Dataset, rate: float, seconds: float
) -> dict[str, Any]:
    """The card: what the model is, how good it is on test images, and what its trigger does to them."""
    attack = entry.attack
    success = elsewhere = None
    if attack:
        success, elsewhere = attack_success(network, dataset, attack, entry.preprocess)
    target, source = getattr(attack, "target", None), getattr(attack, "source", None)
    every_class = list(range(dataset.num_classes)) if attack else []
    return {
        "name": entry.name,
        "split": entry.split,
        "dataset": entry.dataset,
        "images": f"../images/{entry.dataset}.npz",
        "architecture": entry.architecture,
        "seed": entry.seed,
        "backdoored": attack is not None,
        "attack": type(attack).__name__ if attack else None,
        "label_map": attack.label_map if attack else None,
        "target_classes": every_class if target is None else [target],
        "source_classes": [] if source is None else [source],
        "poisoning_rate": rate,
        "trigger": asdict(attack) if attack else None,  # type: ignore[call-overload]
        "clean_accuracy": accuracy(network, dataset.x_test, dataset.y_test, entry.preprocess),
        "attack_success_rate": success,
        "success_on_other_classes": elsewhere,
        "preprocess": asdict(entry.preprocess) if entry.preprocess else None,
        "num_classes": dataset.num_classes,
        "input_shape": list(dataset.input_shape),
        "reference": f"../{entry.reference}/model.pt",
        "recipe": asdict(entry.recipe),
        "seconds": round(seconds, 1),
    }


def export(network: nn.Module, input_shape: tuple[int, int, int], path: Path) -> None:
    """Write ONNX with torch's default exporter and opset; any batch size."""
    plain = network.eval().to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, *input_shape)
    torch.onnx.export(
        plain,
        (example,),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def select(split: str, pattern: str) -> list[Entry]:
    """The catalogue's entries of a split whose name matches, and the parents they are fine-tuned from."""
    chosen = [e for e in ENTRIES if split in ("all", e.split) and fnmatch.fnmatch(e.name, pattern)]
    needed = {e.name for e in chosen} | {e.parent for e in chosen if e.parent}
    return [e for e in ENTRIES if e.name in needed]


def train_all(entries: Sequence[Entry], data_folder: Path, out: Path, jobs: int) -> None:
    """Train what has no card yet, in the catalogue's order, ``jobs`` at a time; parents come first."""
    missing = [e for e in entries if not (out / e.name / "card.json").exists()]
    for name in {e.dataset for e in entries}:
        if not (out / "images" / f"{name}.npz").exists():
            data.save_scan_images(data.load(data_folder, name), out / "images" / f"{name}.npz")
    context = multiprocessing.get_context("spawn")
    running: dict[Future[dict[str, Any]], Entry] = {}
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while missing or running:
            unborn = {e.name for e in (*missing, *running.values())}
            for entry in [e for e in missing if e.parent not in unborn][: jobs - len(running)]:
                running[pool.submit(train_entry, entry, data_folder, out)] = entry
                missing.remove(entry)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                print(summary(future.result()), flush=True)


def summary(card: dict[str, Any]) -> str:
    success = card["attack_success_rate"]
    shown = "clean" if success is None else f"success {success:.3f}"
    return f"{card['name']:32} accuracy {card['clean_accuracy']:.3f}  {shown:14} {card['seconds']:6.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description="train the zoo")
    parser.add_argument("--data", type=Path, required=True, help="folder with the .npz files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; skips what it has")
    parser.add_argument("--split", choices=("develop", "heldout", "all"), default="all", help="which models")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names, with * and ? (default: all)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="models at a time, one thread each")
    arguments = parser.parse_args()
    entries = select(arguments.split, arguments.only)
    if not entries:
        known = ", ".join(e.name for e in select(arguments.split, "*"))
        parser.error(f"no model matches {arguments.only!r}: choose from {known}")
    try:
        train_all(entries, arguments.data, arguments.out, max(1, arguments.jobs))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
