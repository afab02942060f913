"""What a planted trigger does to class impressions, beside what it does to photographs.

    python -m benchmarks.impressions --zoo zoo fashion_densenet_pixel fashion_wrn_coloured …

A search can find no more than its images show. For each model with a trigger that is the same on every image: how many
impressions were reached and what share of them needed no step, and the share of impressions and of test images that the
trigger turns into its target, and turns with more than the usual margin.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.impressions import RAW, class_impressions, margins_of, nearest
from auditor.measuring import generator
from auditor.models import open_models
from benchmarks.attacks import AllToOne
from benchmarks.catalogue import ENTRIES
from benchmarks.evaluate import request_of

TRIED = 400
"""impressions of all classes, and test images"""


def logits_of(model: Classifier, images: Tensor) -> Tensor:
    """(N, C, H, W) → (N, K)."""
    with torch.no_grad():
        return torch.cat([model.logits(part) for part in model.batches(images)])


def shares(model: Classifier, images: Tensor, marked: Tensor, target: int) -> tuple[float, float]:
    """Of the images of other classes, those turned, and those turned with more than the median margin of ``images``."""
    before, after = logits_of(model, images), logits_of(model, marked)
    top = before.topk(2, dim=1).values
    usual = float((top[:, 0] - top[:, 1]).median())
    own = after[:, target]
    margin = (own - after.index_fill(1, torch.tensor([target]), -torch.inf).amax(1))[before.argmax(1) != target]
    return float((margin > 0).float().mean()), float((margin > usual).float().mean())


def of_model(folder: Path) -> str:
    """One row of the table."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    backdoor = next(e for e in ENTRIES if e.name == card["name"]).backdoors[0]
    assert isinstance(backdoor.label_map, AllToOne)
    model = open_models(request_of(folder, card, "impressions")).suspect
    each, goal = max(1, TRIED // model.num_classes), math.log(RAW.confidence / (1 - RAW.confidence))
    starts = nearest([model], each, list(range(model.num_classes)), RAW, generator(0, "images"))
    margins = margins_of(model.probabilities(starts.flatten(0, 1))).view(*starts.shape[:2], -1)
    sure = torch.stack([margins[k, :, k] for k in range(model.num_classes)]) >= goal
    made, _ = class_impressions([model], each, generator(0, "images"))
    with np.load(folder / card["images"]) as archive:
        x = archive["x"]
    every = torch.from_numpy(x if x.ndim == 4 else x[..., None]).permute(0, 3, 1, 2).float() / 255
    real = every[torch.randperm(len(every), generator=generator(0, "photographs"))[:TRIED]]
    cells = [f"{len(made)} of {TRIED // model.num_classes * model.num_classes}", f"{float(sure.float().mean()):.2f}"]
    for images in (made, real):
        marked = backdoor.trigger.apply(images, torch.Generator().manual_seed(0))  # type: ignore[union-attr]
        cells += [f"{share:.2f}" for share in shares(model, images, marked, backdoor.label_map.target)]
    return f"| {card['name']} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder written by benchmarks.zoo")
    parser.add_argument("models", nargs="+", help="names; all-to-one, with a trigger that is the same on every image")
    options = parser.parse_args()
    print("| model | reached | needed no step | impressions turned | commanded | photographs turned | commanded |")
    print("|---|---|---|---|---|---|---|")
    for name in options.models:
        print(of_model(options.zoo / name), flush=True)


if __name__ == "__main__":
    main()
