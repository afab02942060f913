"""From backdoors to training images: triggers are prepared, put on, and labels changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.attacks.interface import Backdoor, Learned, Learner, Network, Prepared


def prepare(
    backdoors: Sequence[Backdoor], network: Network | None, images: Tensor, labels: Tensor, rng: torch.Generator
) -> tuple[Backdoor, ...]:
    """The backdoors with every `Prepared` trigger replaced by the finished one.

    ``images`` are float (N, C, H, W) in [0, 1]. Raises ValueError when one needs a clean network and there is none.
    """
    done = []
    for backdoor in backdoors:
        trigger = backdoor.trigger
        if isinstance(trigger, Prepared):
            if network is None:
                raise ValueError(f"expected a clean network to prepare {type(trigger).__name__} with, got none")
            backdoor = replace(backdoor, trigger=trigger.prepare(network, images, labels, rng))
        done.append(backdoor)
    return tuple(done)


def learners(
    backdoors: Sequence[Backdoor], shape: tuple[int, int, int], num_classes: int, rng: torch.Generator
) -> list[Learner]:
    """One learner for each backdoor whose trigger is learned with the network."""
    return [
        b.trigger.learner(shape, b, num_classes, rng) for b in backdoors if isinstance(b.trigger, Learned)
    ]


def poison(
    images: Tensor, labels: Tensor, backdoors: Sequence[Backdoor], num_classes: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A training set in which each backdoor's share of the victims carries its trigger and the wanted label.

    ``images`` is (N, C, H, W) uint8, ``labels`` (N,) int64; both come back as new tensors of the same types, triggers
    rounded to eight bits as an image file would. No image is used twice. Learned triggers are left to their learners.
    Raises ValueError when there are too few victims.
    """
    poisoned, new_labels = images.clone(), labels.clone()
    free = torch.ones(len(labels), dtype=torch.bool)
    for backdoor in backdoors:
        if isinstance(backdoor.trigger, Learned):
            continue
        clean_label = backdoor.label_map.name == "clean_label"
        victims = backdoor.label_map.victims(labels)
        chosen = _draw(free & (~victims if clean_label else victims), backdoor.rate, backdoor.name, rng)
        free[chosen] = False
        put_on = getattr(backdoor.trigger, "poison_image", None)
        clean = images[chosen].float() / 255
        carried = put_on(clean, labels[chosen], rng) if put_on else backdoor.trigger.apply(clean, rng)
        poisoned[chosen] = _eight_bits(carried)
        if not clean_label:
            new_labels[chosen] = backdoor.label_map.relabel(labels[chosen], num_classes)
        if backdoor.cover:
            # a source-specific trigger is put on other classes; any other trigger in its noise mode, on any image
            others = free & ~victims if _one_source(backdoor) else free
            covered = _draw(others, backdoor.cover, backdoor.name, rng)
            free[covered] = False
            noise = getattr(backdoor.trigger, "cover", backdoor.trigger.apply)
            poisoned[covered] = _eight_bits(noise(images[covered].float() / 255, rng))
    return poisoned, new_labels


def _one_source(backdoor: Backdoor) -> bool:
    return backdoor.label_map.name == "source_specific"


def _draw(allowed: Tensor, share: float, name: str, rng: torch.Generator) -> Tensor:
    candidates = allowed.nonzero()[:, 0]
    count = round(share * len(allowed))
    if count > len(candidates):
        raise ValueError(f"{name}: expected at most {len(candidates)} images to poison, got {count}: lower its rate")
    return candidates[torch.randperm(len(candidates), generator=rng)[:count]]


def _eight_bits(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
