"""Train the zoo: clean and backdoored image classifiers, each with a card saying what it is.

``python -m benchmarks.zoo --data DIR --out DIR`` writes, for every entry of the catalogue,

- ``OUT/<name>/model.onnx``: dynamic batch, weights inside;
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
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import data
from benchmarks.attacks import AllToAll, LabelMap, Learned, Trigger, learners, poison, prepare
from benchmarks.attacks import Prepared as Needing
from benchmarks.catalogue import ENTRIES, SPLITS, Entry
from benchmarks.networks import build
from benchmarks.training import Prepared, Preprocess, accuracy, attack_success, quantise, train

PLANTED = 0.8
"""attack success from which a backdoor counts as planted; models below it are left out of evaluations, and counted"""


def is_planted(success: float | None, clean_accuracy: float, label_maps: Sequence[LabelMap]) -> bool:
    """Whether the attack took, if there is one.

    Of an all-to-all trigger in relation to the clean accuracy: to give y + 1 the network has to recognise y.
    """
    possible = clean_accuracy if any(isinstance(m, AllToAll) for m in label_maps) else 1.0
    return success is None or success >= PLANTED * possible


def train_entry(entry: Entry, data_folder: Path, out: Path) -> dict[str, Any]:
    """Train, measure and write one model; returns its card. What it needs must be there already."""
    dataset = cached(data_folder, out, entry.dataset)
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
        triggers = fit(network, entry, dataset, generator, out)
    seconds = time.monotonic() - start
    card = describe(network, entry, dataset, triggers, generator, seconds)
    torch.save(network.state_dict(), folder / "model.pt")
    export(network, dataset.input_shape, folder / "model.onnx")
    write_atomically(folder / "card.json", json.dumps(card, indent=2) + "\n")
    return card


def cached(data_folder: Path, out: Path, name: str) -> data.Dataset:
    """A data set, decoded once and kept beside the models: decoding JPEG takes longer than training."""
    path = out / "images" / f"{name}.pt"
    if not path.exists():
        dataset = data.load(data_folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        torch.save([dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test], partial)
        partial.replace(path)
    return data.Dataset(name, *torch.load(path, weights_only=True, mmap=True))


def trained(out: Path, name: str) -> Prepared:
    """A model of the zoo, to be asked for answers on images in [0, 1]."""
    card = json.loads((out / name / "card.json").read_text(encoding="utf-8"))
    network = build(card["architecture"], card["num_classes"])
    network.load_state_dict(torch.load(out / name / "model.pt", weights_only=True))
    preprocess = Preprocess(**{k: tuple(v) for k, v in card["preprocess"].items()}) if card["preprocess"] else None
    return Prepared(network.eval().requires_grad_(False), preprocess)


def fit(
    network: nn.Module, entry: Entry, dataset: data.Dataset, generator: torch.Generator, out: Path
) -> tuple[Trigger, ...]:
    """Train the network on the entry's data; returns the finished trigger of each backdoor."""
    keep = torch.randperm(len(dataset.x_train), generator=generator)[: entry.recipe.images]
    images, labels = dataset.x_train[keep], dataset.y_train[keep]
    if entry.flaw:
        images, labels = entry.flaw(images, labels, generator)
    helper = trained(out, entry.reference) if any(isinstance(b.trigger, Needing) for b in entry.backdoors) else None
    sample = images[:4000].float() / 255 if helper else images[:0].float()
    backdoors = prepare(entry.backdoors, helper, sample, labels[:4000], generator)
    images, labels = poison(images, labels, backdoors, dataset.num_classes, generator)
    learning = learners(backdoors, dataset.input_shape, dataset.num_classes, generator)
    teacher = trained(out, entry.teacher) if entry.teacher else None
    train(network, images, labels, entry.recipe, entry.preprocess, generator, learners=learning, teacher=teacher)
    if entry.bits:
        quantise(network, entry.bits)
    finished = iter(learning)
    return tuple(next(finished).finished() if isinstance(b.trigger, Learned) else b.trigger for b in backdoors)


def describe(
    network: nn.Module,
    entry: Entry,
    dataset: data.Dataset,
    triggers: Sequence[Trigger],
    generator: torch.Generator,
    seconds: float,
) -> dict[str, Any]:
    """The card: what the model is, how good it is on test images, and what its triggers do to them."""
    measured = [
        attack_success(network, dataset, backdoor, trigger, entry.preprocess, generator)
        for backdoor, trigger in zip(entry.backdoors, triggers, strict=True)
    ]
    maps = [b.label_map for b in entry.backdoors]
    targets = sorted({t for m in maps for t in ([m.target] if hasattr(m, "target") else range(dataset.num_classes))})
    success = min((hit for hit, _ in measured), default=None)
    clean_accuracy = accuracy(network, dataset.x_test, dataset.y_test, entry.preprocess)
    reference = next(e for e in ENTRIES if e.name == entry.reference)
    return {
        "name": entry.name,
        "split": entry.split,
        "kind": entry.backdoors[0].name if entry.backdoors else entry.kind,
        "dataset": entry.dataset,
        "images": f"../images/{entry.dataset}.npz",
        "architecture": entry.architecture,
        "seed": entry.seed,
        "backdoored": bool(entry.backdoors),
        "planted": is_planted(success, clean_accuracy, maps),
        "attack": entry.backdoors[0].name if entry.backdoors else None,
        "label_map": maps[0].name if maps else None,
        "target_classes": targets,
        "source_classes": sorted({m.source for m in maps if hasattr(m, "source")}),
        "poisoning_rate": sum(b.rate for b in entry.backdoors),
        "cover_rate": sum(b.cover for b in entry.backdoors),
        "trigger": [{"type": type(b.trigger).__name__, **asdict(b.trigger)} for b in entry.backdoors],  # type: ignore[call-overload]
        "clean_accuracy": clean_accuracy,
        "attack_success_rate": success,
        "success_on_other_classes": next((elsewhere for _, elsewhere in measured if elsewhere is not None), None),
        "preprocess": asdict(entry.preprocess) if entry.preprocess else None,
        "num_classes": dataset.num_classes,
        "input_shape": list(dataset.input_shape),
        "reference": f"../{entry.reference}/model.pt",
        "reference_architecture": reference.architecture,
        "reference_preprocess": asdict(reference.preprocess) if reference.preprocess else None,
        "recipe": asdict(entry.recipe),
        "seconds": round(seconds, 1),
    }


def export(network: nn.Module, input_shape: tuple[int, int, int], path: Path) -> None:
    """Write ONNX for any batch size.

    By the TorchScript-based exporter: the newer one takes as long as training a small network does; the loading
    benchmark covers both.
    """
    plain = network.eval().to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            plain,
            (torch.zeros(2, *input_shape),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
        )


def write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def select(split: str, pattern: str) -> list[Entry]:
    """The catalogue's entries of a split whose name matches, and all that must be trained before them."""
    by_name = {e.name: e for e in ENTRIES}
    wanted = {e.name for e in ENTRIES if split in ("all", e.split) and fnmatch.fnmatch(e.name, pattern)}
    while more := {name for w in wanted for name in by_name[w].needed} - wanted:
        wanted |= more
    return [e for e in ENTRIES if e.name in wanted]


def train_all(entries: Sequence[Entry], data_folder: Path, out: Path, jobs: int) -> None:
    """Train what has no card yet, in the catalogue's order, ``jobs`` at a time; parents come first."""
    missing = [e for e in entries if not (out / e.name / "card.json").exists()]
    for name in {e.dataset for e in entries}:
        if not (out / "images" / f"{name}.npz").exists():
            data.save_scan_images(cached(data_folder, out, name), out / "images" / f"{name}.npz")
    context = multiprocessing.get_context("spawn")
    running: dict[Future[dict[str, Any]], Entry] = {}
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while missing or running:
            unborn = {e.name for e in (*missing, *running.values())}
            for entry in [e for e in missing if not unborn.intersection(e.needed)][: jobs - len(running)]:
                running[pool.submit(train_entry, entry, data_folder, out)] = entry
                missing.remove(entry)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                entry = running.pop(future)
                try:
                    print(summary(future.result()), flush=True)
                except ValueError as error:  # the other models are still wanted
                    print(f"{entry.name:32} not trained: {error}", flush=True)


def summary(card: dict[str, Any]) -> str:
    success = card["attack_success_rate"]
    shown = "clean" if success is None else f"success {success:.3f}"
    return f"{card['name']:32} accuracy {card['clean_accuracy']:.3f}  {shown:14} {card['seconds']:6.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description="train the zoo")
    parser.add_argument("--data", type=Path, required=True, help="folder with the .npz files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; skips what it has")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="all", help="which models")
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
