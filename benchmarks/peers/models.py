"""The models of a zoo, as a peer needs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.errors import ConfigError
from auditor.images import load_images
from auditor.opening import open_classifier
from auditor.request import ModelOptions

MOST_IMAGES = 10_000
"""the published example takes every test image there is; this only bounds memory"""


@dataclass(frozen=True)
class ZooModel:
    """One model of a zoo: where it is, what it takes, and the truth about it."""

    folder: Path
    name: str
    split: str
    images: str
    """archive of clean images, relative to ``folder``"""
    architecture: str
    preprocess: dict[str, tuple[float, ...]]
    """mean and std a channel; empty = images in [0, 1]"""
    num_classes: int
    input_shape: tuple[int, int, int]
    """(C, H, W)"""
    backdoored: bool
    target_classes: tuple[int, ...]

    def open(self) -> Classifier:
        """Its ONNX file, or its state dict where there is none; raises what `open_classifier` raises."""
        path = self.folder / "model.onnx"
        if path.exists():
            options = ModelOptions(**self.preprocess)
        else:
            path, options = self.folder / "model.pt", ModelOptions(arch=self.architecture, **self.preprocess)
        return open_classifier(path, options, device="cpu", default_shape=self.input_shape)[0]

    def clean_images(self, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) in [0, 1], shuffled, classes balanced; raises `ImagesError`."""
        path = self.folder / self.images
        return load_images(path, self.input_shape, MOST_IMAGES, generator, num_classes=self.num_classes).pixels


def read_zoo(zoo: Path, split: str = "all", only: str = "") -> list[ZooModel]:
    """The models with a card, by name; those whose backdoor did not take are left out.

    Raises `ConfigError` when there is no such folder, or a card lacks what is needed.
    """
    if not zoo.is_dir():
        raise ConfigError(f"expected a folder of models at '{zoo}', got none; write one with benchmarks.zoo")
    read = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(zoo.glob("*/card.json"))]
    models = [_model(folder, card) for folder, card in read if card.get("planted", True)]
    return [m for m in models if split in ("all", m.split) and only in m.name]


def _model(folder: Path, card: dict[str, Any]) -> ZooModel:
    try:
        return ZooModel(
            folder=folder,
            name=card["name"],
            split=card["split"],
            images=card["images"],
            architecture=card["architecture"],
            preprocess={key: tuple(values) for key, values in (card["preprocess"] or {}).items()},
            num_classes=card["num_classes"],
            input_shape=tuple(card["input_shape"]),
            backdoored=card["backdoored"],
            target_classes=tuple(card["target_classes"]),
        )
    except KeyError as error:
        raise ConfigError(
            f"expected {error} in the card of '{folder.name}', got a card without; train that model again"
        ) from None


def in_order(models: Sequence[ZooModel], names: Sequence[str]) -> list[ZooModel]:
    """``models`` in the order of ``names``; those not among them come last, as they were."""
    rank = {name: place for place, name in enumerate(names)}
    return sorted(models, key=lambda m: rank.get(m.name, len(rank)))
