"""Where in a network a trigger takes over: layer by layer, whether triggered images still look like themselves.

"Dominant Patterns: Critical Features Hidden in DNNs", Section 4.2, Figures 3 and 4: the maps of x + δ resemble those of
x in the first layers and those of δ alone in the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.explain.layers import compared_layers, probe, watched
from auditor.explain.ssim import ssim
from auditor.feature_maps import base_name


@dataclass(frozen=True)
class LayerTakeover:
    """One layer's mean SSIM over the images, with standard deviations; each in [−1, 1], 1 = the same maps."""

    index: int
    """position among `feature_maps`"""
    function: str
    """e.g. ``relu``"""
    to_image: float
    """triggered image against the image without the trigger"""
    to_image_std: float
    to_trigger: float
    """triggered image against the trigger alone"""
    to_trigger_std: float


@torch.no_grad()
def takeover(model: Classifier, images: Tensor, triggered: Tensor, alone: Tensor) -> tuple[LayerTakeover, ...]:
    """Figure 4 for ``images`` (N, C, H, W), the same ``triggered``, and the trigger ``alone`` (C, H, W), all in [0, 1].

    Layers are the activation layers (the paper's ReLUs), at most 16, see `compared_layers`; empty for networks without
    maps. The standard deviation is over these N images, 0 for one. Raises `ModelMismatchError` where a network computes
    other layers for other images. Cost: 2 · N forward passes, each N rounded up to whole batches, and one batch.
    """
    alone = alone if alone.ndim == 4 else alone.unsqueeze(0)
    if len(alone) != 1 or not len(images) or images.shape != triggered.shape or images.shape[1:] != alone.shape[1:]:
        raise ValueError(
            "expected images (N, C, H, W), N ≥ 1, as many triggered and one trigger alone, got "
            f"{tuple(images.shape)}, {tuple(triggered.shape)} and {tuple(alone.shape)}"
        )
    found = probe(model, alone)
    trigger_maps = {layer: found[layer] for layer in compared_layers(found)}
    del found
    shapes = {layer: m.values.shape[1:] for layer, m in trigger_maps.items()}
    if not shapes:
        return ()
    scores: dict[int, list[Tensor]] = {layer: [] for layer in shapes}
    for clean, dirty in zip(watched(model, images, shapes), watched(model, triggered, shapes), strict=True):
        for layer, ours, theirs in zip(shapes, clean, dirty, strict=True):
            trigger = trigger_maps[layer].values[0]
            scores[layer] += [likeness(x, both, trigger) for x, both in zip(ours, theirs, strict=True)]
    return tuple(_summary(layer, m.function, torch.stack(scores[layer])) for layer, m in trigger_maps.items())


def likeness(image: Tensor, triggered: Tensor, trigger: Tensor) -> Tensor:
    """SSIM of the ``triggered`` image's maps with the ``image``'s and with the ``trigger``'s, each (C, H, W): (2,).

    The paper compares "normalized output" without saying how it is normalised. Here the smallest value among the three
    becomes 0 and the largest 1: one scale for all of them and for all channels, so that a layer's silent channels stay
    silent and a trigger that merely outshines the image counts as different from it.
    """
    maps = torch.stack([image, triggered, trigger]).float()
    low, high = maps.min(), maps.max()
    maps = (maps - low) / (high - low).clamp_min(1e-12)
    return ssim(maps[1:2].expand(2, -1, -1, -1), maps[::2])


def _summary(layer: int, function: str, scores: Tensor) -> LayerTakeover:
    """``scores`` (N, 2)."""
    mean, std = scores.mean(0).tolist(), scores.std(0, correction=0).tolist()
    return LayerTakeover(layer, base_name(function), mean[0], std[0], mean[1], std[1])
