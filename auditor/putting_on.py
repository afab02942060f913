"""A recovered trigger put on images, as `auditor.findings.Trigger` describes its modes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.findings import Trigger


def put_on(images: Tensor, trigger: Trigger) -> Tensor:
    """Images (N, C, H, W) with a trigger on them."""
    mask, pattern = torch.from_numpy(trigger.mask), torch.from_numpy(trigger.pattern)
    if trigger.mode == "add":
        return (images + mask * pattern).clamp(0, 1)
    if trigger.mode == "tone":
        return toned(images, pattern[..., 0])
    if trigger.mode == "warp":
        return warped(images, pattern)
    return torch.lerp(images, pattern, mask)


def toned(images: Tensor, curves: Tensor) -> Tensor:
    """clip(x + curve(x)): images (N, C, H, W), curves (C, knots) at evenly spaced tones, linear in between."""
    knots = curves.shape[1]
    place = images.clamp(0, 1) * (knots - 1)
    low = place.floor().long().clamp(0, knots - 2)
    channel = torch.arange(images.shape[1]).view(1, -1, 1, 1)
    return (images + torch.lerp(curves[channel, low], curves[channel, low + 1], place - low)).clamp(0, 1)


def warped(images: Tensor, flow: Tensor) -> Tensor:
    """Images (N, C, H, W) resampled along a flow (2, H, W) of columns and rows, in pixels."""
    height, width = images.shape[2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack([x + flow[0] * 2 / max(1, width - 1), y + flow[1] * 2 / max(1, height - 1)], dim=-1)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True)
