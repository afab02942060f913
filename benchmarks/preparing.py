"""Is a network asked as it wants to be, where nobody says how?

    python -m benchmarks.preparing --zoo zoo --out benchmarks/results/preparing.md

Every trained network is put behind each usual way of preparing images, so that it wants its images in that way, and is
opened without a word on it. Compared are its answers to real images with those of the network that is asked rightly: as
they were before anything was told, and as they are then. A network that is rightly asked must stay as it is.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auditor.classifier import Classifier, Preprocess
from auditor.findings import FileFacts
from auditor.images import load_images
from auditor.loading import load_network
from auditor.preparation import prepare
from auditor.preparation.ways import usual_ways
from auditor.request import ModelOptions
from benchmarks.evaluate import scale
from benchmarks.judged import cards
from benchmarks.tables import table

IMAGES = 300
AGREED = 0.9
"""share of answers from which a network counts as rightly asked: presets of other data sets differ a little"""


class Wanting(nn.Module):
    """A network that wants its images prepared in one way, made of one that wants them in another."""

    def __init__(self, network: nn.Module, channels: int, its: Preprocess, wanted: Preprocess) -> None:
        super().__init__()
        self.network = network
        (scale_in, shift_in), (scale_out, shift_out) = wanted.affine(channels), its.affine(channels)
        self.register_buffer("scale", scale_out / scale_in)
        self.register_buffer("shift", shift_out - shift_in * scale_out / scale_in)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x * self.scale + self.shift)  # type: ignore[no-any-return, operator]


@dataclass(frozen=True)
class Case:
    """One network, one way, one thing that is known besides."""

    given: str
    wanted: str
    told: bool
    blocked: bool
    before: float
    after: float


def cases(folder: Path, card: dict[str, Any], file: str) -> Iterator[Case]:
    """All ways of one model file, with and without unlabelled images and a reference that wants the same way."""
    network = load_network(folder / file, arch=card["architecture"] if file.endswith(".pt") else None)
    beside = load_network(folder / card["reference"], arch=card["reference_architecture"])
    shape = tuple(card["input_shape"])
    rng = torch.Generator().manual_seed(0)
    images = load_images(folder / card["images"], shape, IMAGES, rng, num_classes=card["num_classes"]).pixels
    its, theirs = (Preprocess(**scale(card[key])) for key in ("preprocess", "reference_preprocess"))
    for wanted, way in [("as trained", its), *usual_ways(Preprocess(), shape[0], None)]:
        model = _opened(Wanting(network.module, shape[0], its, way), shape, way)
        reference = _opened(Wanting(beside.module, shape[0], theirs, way), shape, way)
        right = model.predict(images)
        model.prepare(Preprocess())
        before = _share(model.predict(images) == right)
        as_is = _opened(Wanting(network.module, shape[0], its, Preprocess()), shape, Preprocess())
        for known in (None, images):
            as_is.prepare(Preprocess())
            reference.prepare(Preprocess())
            told = prepare((as_is, ModelOptions()), (reference, ModelOptions()), images=known)
            given = "reference that wants another way" + ", images" * (known is not None)
            after = _share(as_is.predict(images) == right)
            yield Case(given, "range 0..1", as_is.preprocess != Preprocess(), bool(told.blockers), 1.0, after)
        for given in ("nothing", "images", "reference", "reference, images"):
            model.prepare(Preprocess())
            reference.prepare(Preprocess())
            told = prepare(
                (model, ModelOptions()),
                (reference, ModelOptions()) if "reference" in given else None,
                images=images if "images" in given else None,
            )
            after = _share(model.predict(images) == right)
            yield Case(given, wanted, model.preprocess != Preprocess(), bool(told.blockers), before, after)


def _opened(module: nn.Module, shape: tuple[int, ...], way: Preprocess) -> Classifier:
    facts = FileFacts(name="", sha256="", format="", architecture="", num_classes=None, input_shape=shape)  # type: ignore[arg-type]
    return Classifier(module, input_shape=shape, facts=facts, preprocess=way)  # type: ignore[arg-type]


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def main() -> None:
    """Open every model of the zoo in every way and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the table to write")
    options = parser.parse_args()
    found: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    models = [
        (folder, card)
        for folder, card in cards(options.zoo, "all", planted=False)
        if (folder / card["reference"]).exists()
    ]
    for folder, card in models:
        for file in ("model.pt", "model.onnx"):
            for case in cases(folder, card, file):
                found[file, case.given, "another way" if case.before < 1 else "0..1"].append(case)
    rows: list[tuple[object, ...]] = []
    for (file, given, wants), seen in sorted(found.items()):
        rows.append(
            (
                file,
                given,
                wants,
                len(seen),
                sum(c.told for c in seen),
                sum(c.blocked for c in seen),
                sum(c.before >= AGREED for c in seen),
                sum(c.after >= AGREED for c in seen),
                f"{sum(c.before for c in seen) / len(seen):.1%}",
                f"{sum(c.after for c in seen) / len(seen):.1%}",
            )
        )
    counts = ("cases", "changed", "inconclusive", "asked rightly before", "then", "same answers before", "then")
    head = ("file", "given", "wants", *counts)
    text = (
        f"Made by `python -m benchmarks.preparing`: {len(models)} models behind every usual way to prepare images. "
        f"Rightly asked: at least {AGREED:.0%} of the answers are those of the network that is told how.\n\n"
    )
    options.out.write_text(text + table(head, rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
