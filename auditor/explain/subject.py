"""What is explained, with which images, and what it may cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.context import Context
from auditor.exhibits import Picture
from auditor.explain.transforms import Detail
from auditor.findings import Trigger
from auditor.putting_on import put_on
from auditor.settings import build

EXAMPLES = 3
"""images on which a look is shown"""

COUNTED = 24
"""images over which numbers are averaged; fewer where images are large, as maps of all layers are compared"""

TOO_FEW = "left out: too few image passes were left for it; --explain full draws it"

LARGEST = 160
"""pixels a side that a picture keeps: reports show it no larger, and dozens of them would weigh megabytes"""

DECLARED: Mapping[str, tuple[str, str]] = {
    "salient_pattern": ("auditor.explain.salient_pattern", "SalientPattern"),
    "sensitivity": ("auditor.explain.sensitivity", "Sensitivity"),
    "filters": ("auditor.explain.layers", "ActivationMaximisation"),
    "probes": ("auditor.explain.robustness", "Probes"),
    "generation": ("auditor.explain.generation", "Generation"),
}
"""the class that declares each table of `auditor.request.EXPLANATIONS`"""


@dataclass(frozen=True)
class Subject:
    """One class of one model, what is suspected of it, and what to compare it with."""

    ctx: Context
    target: int
    compared: int | None = None
    """an inconspicuous class, to be shown beside it"""
    trigger: Trigger | None = None
    detail: Detail = "standard"
    allowance: int | None = None
    """image passes that one panel may take; None = as many as its settings ask for"""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """by table, what differs from the declared defaults"""

    @property
    def model(self) -> Classifier:
        """The suspect."""
        return self.ctx.model

    @property
    def models(self) -> Iterator[tuple[str, Classifier]]:
        """Suspect and, where there is one, reference, with their names."""
        yield "suspect", self.ctx.model
        if self.ctx.reference is not None:
            yield "reference", self.ctx.reference

    def plan(self, table: str) -> Any:
        """The settings of one table of `DECLARED`."""
        return plan(table, self.settings)

    @property
    def counted(self) -> int:
        """How many images to average over: `COUNTED` up to 64 pixels a side, 8 at 224."""
        _, height, width = self.model.input_shape
        return max(8, min(COUNTED, COUNTED * 64 * 64 // (height * width)))

    def track(self, items: Iterable[int], label: str) -> Iterable[int]:
        """A loop with progress that stops when the time is up."""
        return self.ctx.track(items, label)

    def victims(self, count: int) -> Tensor:
        """Up to ``count`` held-out images (N, C, H, W) that the trigger should move: not of the target, classes in
        turn, of the source classes where the trigger has some. Without a trigger those of the target class itself.
        Any, where there is none such.
        """
        answers = self.ctx.images.held_out_classes.tolist()
        if self.trigger is None:
            order = [i for i, answer in enumerate(answers) if answer == self.target]
        else:
            sources = set(self.trigger.source_classes)
            order = in_turn({i: a for i, a in enumerate(answers) if (a in sources if sources else a != self.target)})
        order = order or list(range(len(answers)))
        return self.ctx.images.held_out[torch.tensor(order[:count], dtype=torch.long)]

    def with_trigger(self, images: Tensor) -> Tensor:
        """The images with the trigger on; as they are where there is none."""
        return images if self.trigger is None else put_on(images, self.trigger)

    def place(self) -> Tensor | None:
        """(H, W) of True where the trigger is; None without one, or where it covers more than half of the image."""
        if self.trigger is None:
            return None
        touched = torch.from_numpy(self.trigger.mask) > 0
        return touched if float(touched.float().mean()) <= 0.5 else None

    def on_plain(self) -> Tensor:
        """(1, C, H, W): the trigger alone, on an image of the mean colour."""
        mean = self.ctx.images.held_out.mean((0, 2, 3))[None, :, None, None]
        return self.with_trigger(mean.expand(1, *self.model.input_shape).clone())


def plan(table: str, settings: Mapping[str, Mapping[str, Any]]) -> Any:
    """An instance of the class that declares a table; raises `ConfigError` for unknown keys and values out of range."""
    module, name = DECLARED[table]
    return build(getattr(import_module(module), name), settings.get(table, {}), where=table)


def in_turn(classes: Mapping[int, int]) -> list[int]:
    """Image numbers, by their classes, so that every class has its turn before any comes again."""
    seen: dict[int, int] = {}
    ranked = []
    for image, own in classes.items():
        ranked.append((seen.get(own, 0), image))
        seen[own] = seen.get(own, 0) + 1
    return [image for _, image in sorted(ranked)]


def picture(title: str, pixels: Tensor) -> Picture:
    """A tensor (C, H, W) in [0, 1] as a picture; further channels than three are averaged, large ones made smaller."""
    shown = pixels.detach().float().clamp(0, 1).cpu()
    if max(shown.shape[1:]) > LARGEST:
        scale = LARGEST / max(shown.shape[1:])
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[2] * scale)))
        shown = F.interpolate(shown[None], size, mode="area")[0]
    return Picture(title, (shown if shown.shape[0] in (1, 3) else shown.mean(0, keepdim=True)).numpy())


def lit(image: Tensor, attention: Tensor) -> Tensor:
    """An image (C, H, W) that is bright only where ``attention`` (H, W) in [0, 1] is high: readable without colour."""
    return image * (0.12 + 0.88 * attention)
