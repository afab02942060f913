"""What a verdict costs as the number of classes grows.

    python -m benchmarks.scaling --zoo zoo --model gtsrb_resnet_clean1

The trunk of a trained network gets heads of 10, 43, 200 and 1000 random classes (directions in feature space, scaled to
the trained head's usual margin): nothing is planted, but few random directions may have one that is everybody's answer,
so up to `MANY` classes the median of several heads is told. Neural Cleanse's passes are its published steps and batch
times the classes; its seconds those passes at the speed of its own first steps. Rows that are there are not measured
again, but with ``--anew``.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from auditor import worker
from auditor.request import ModelOptions, ScanRequest, ScanSettings
from benchmarks.networks import build
from benchmarks.peers.neural_cleanse import neural_cleanse
from benchmarks.peers.schedule import Settings
from benchmarks.tables import table
from benchmarks.zoo import export

CLASSES = (10, 43, 200, 1000)
PEER_STEPS = 10

MANY = 50
"""classes from which one head is measured: an audit takes minutes there, and its cost hardly differs"""


def with_head(card: dict[str, object], weights: Path, classes: int, number: int = 0) -> nn.Module:
    """The network of a card with ``classes`` random classes, the ``number``-th such."""
    network = build(str(card["architecture"]), int(str(card["num_classes"])))
    network.load_state_dict(torch.load(weights, weights_only=True))
    old = network.fc
    assert isinstance(old, nn.Linear)
    new = nn.Linear(old.in_features, classes)
    rng = torch.Generator().manual_seed(classes + 10_000 * number)
    spread = float(old.weight.detach().norm(dim=1).mean())
    rows = torch.randn(classes, old.in_features, generator=rng)
    # random directions are nearer to one another than trained ones: more of them needs more length for a usual margin
    new.weight.data = rows / rows.norm(dim=1, keepdim=True) * spread * 4
    new.bias.data.zero_()
    network.fc = new
    return network.eval()


def measured(model: Path, card: dict[str, object], classes: int, images: Path | None) -> tuple[str, int, float]:
    """Verdict, image passes and seconds of one standard scan on one thread."""
    preprocess = card["preprocess"] or {}
    assert isinstance(preprocess, dict)
    request = ScanRequest(
        model=model,
        images=images,
        model_options=ModelOptions(**{k: tuple(v) for k, v in preprocess.items()}),
        settings=ScanSettings(device="cpu", explain="none"),
    )
    audit = worker.scan(request)
    return audit.verdict.value, audit.image_passes, audit.seconds


def peer(network: nn.Module, shape: tuple[int, int, int], classes: int) -> tuple[int, float]:
    """Image passes of Neural Cleanse's published settings, and its seconds as its first steps foretell."""
    from auditor import Classifier
    from auditor.findings import FileFacts

    facts = FileFacts(name="head", sha256="", format="", num_classes=classes, input_shape=shape)
    classifier = Classifier(network, input_shape=shape, facts=facts)
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(64, *shape, generator=rng)
    settings, began = Settings(), time.monotonic()
    done = neural_cleanse(classifier, images, rng, replace(settings, steps=PEER_STEPS))
    seconds = time.monotonic() - began
    passes = settings.steps * settings.batch * settings.batches * classes
    return passes, seconds * passes / done.passes


def kept(out: Path, model: str) -> list[tuple[object, ...]]:
    """The rows of a table of this model that was begun; none where there is no such table."""
    page = out.read_text(encoding="utf-8") if out.exists() else ""
    rows = [line for line in page.splitlines() if re.match(r"\| \d", line)] if f": {model} with" in page else []
    return [tuple(cell.strip() for cell in row.strip("| ").split("|")) for row in rows]


def write(out: Path, model: str, rows: list[tuple[object, ...]]) -> None:
    """The table so far."""
    head = (
        "classes", "heads", "median passes", "median seconds", "Neural Cleanse, passes", "seconds (extrapolated)",
        "ratio", "verdicts",
    )  # fmt: skip
    out.write_text(
        f"Made by `python -m benchmarks.scaling`: {model} with heads of random classes, standard effort, one thread."
        f"\n\n{table(head, rows)}\n",
        encoding="utf-8",
    )


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--model", default="gtsrb_resnet_clean1", help="whose trunk is used")
    parser.add_argument("--images", type=Path, help="clean images; without it class impressions, as a scan without any")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling.md"))
    parser.add_argument("--anew", action="store_true", help="measure what the table there holds again")
    parser.add_argument("--heads", type=int, default=5, help=f"random heads, with fewer than {MANY} classes")
    options = parser.parse_args()
    folder = options.zoo / options.model
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    shape = tuple(card["input_shape"])
    torch.set_num_threads(1)
    rows = [] if options.anew else kept(options.out, options.model)
    for classes in sorted(set(CLASSES) - {int(str(row[0])) for row in rows}):
        found = []
        for number in range(options.heads if classes < MANY else 1):
            network = with_head(card, folder / "model.pt", classes, number)
            with tempfile.TemporaryDirectory() as place:
                path = Path(place) / "model.onnx"
                export(network, shape, path)
                found.append(measured(path, card, classes, options.images))
        verdicts = Counter(verdict for verdict, _, _ in found)
        passes, seconds = median(f[1] for f in found), median(f[2] for f in found)
        theirs, their_seconds = peer(network, shape, classes)
        rows.append(
            (classes, len(found), f"{passes:,.0f}", f"{seconds:.0f}", f"{theirs:,}", f"{their_seconds:,.0f}",
             f"{theirs / passes:.0f}", ", ".join(f"{v} {n}" for v, n in verdicts.most_common()))
        )  # fmt: skip
        print(*rows[-1], flush=True)
        rows.sort(key=lambda row: int(str(row[0])))
        write(options.out, options.model, rows)  # the larger ones take long: what there is, is kept


if __name__ == "__main__":
    main()
