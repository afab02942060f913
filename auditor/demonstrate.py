"""Held-out images without and with the recovered trigger, and what the models answer: the part people look at."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.context import SearchImages
from auditor.findings import Demonstration, Picture, Trigger
from auditor.verdict import Judgement

HOW_MANY = 3


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


def demonstrations(
    judged: Judgement, suspect: Classifier, reference: Classifier | None, images: SearchImages
) -> tuple[Demonstration, ...]:
    """Up to three images of different classes on which the trigger is shown; none without a trigger."""
    trigger = judged.trigger
    if trigger is None or not judged.target_classes:
        return ()
    chosen: list[int] = []
    seen: set[int] = set(judged.target_classes) if len(judged.target_classes) < suspect.num_classes else set()
    for index, own in enumerate(images.held_out_classes.tolist()):
        wanted = not trigger.source_classes or own in trigger.source_classes
        if wanted and (own not in seen or trigger.source_classes):
            chosen.append(index)
            seen.add(own)
        if len(chosen) == HOW_MANY:
            break
    if not chosen:
        return ()
    before = images.held_out[torch.tensor(chosen)]
    after = put_on(before, trigger)
    sure_before, sure_after = suspect.probabilities(before), suspect.probabilities(after)
    theirs = reference.predict(after).tolist() if reference is not None else [None] * len(chosen)
    return tuple(
        Demonstration(
            before=Picture("without the trigger", before[i].numpy()),
            after=Picture("with the trigger", after[i].numpy()),
            answer_before=int(sure_before[i].argmax()),
            answer_after=int(sure_after[i].argmax()),
            confidence_before=float(sure_before[i].max()),
            confidence_after=float(sure_after[i].max()),
            reference_after=theirs[i],
        )
        for i in range(len(chosen))
    )
