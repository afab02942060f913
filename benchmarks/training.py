"""Train one small image classifier, clean or on poisoned data, and measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.classifier import has_bfloat16
from benchmarks.attacks import Backdoor, Learner, Trigger
from benchmarks.data import Dataset

#: Training images kept back to decide when a deliberately weak model is good enough.
VALIDATION_IMAGES = 1000


@dataclass(frozen=True)
class Recipe:
    """How long and on what a model is trained.

    ``images`` caps the training images (None: all), ``augment`` shifts by up to two pixels (``shift``) and
    may mirror too (``mirror``). ``schedule`` is one cycle up to ``lr`` or the constant ``lr``. With
    ``stop_at``, training ends as soon as the accuracy on held-back training images reaches it: a weakly
    trained model. ``adversarial`` is the ℓ∞ radius, of 1, of adversarial training in ``adversarial_steps`` steps from
    a random start (one: Wong et al. 2020, "Fast is better than free"; more: Madry et al. 2018).
    """

    epochs: float = 3
    images: int | None = None
    batch: int = 128
    lr: float = 3e-3
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    augment: Literal["none", "shift", "mirror"] = "none"
    stop_at: float | None = None
    adversarial: float = 0.0
    adversarial_steps: int = 1


@dataclass(frozen=True)
class Preprocess:
    """What a network expects: (image in [0, 1] - mean) / std, one value a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        return (images - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


@dataclass(frozen=True)
class Prepared:
    """A network that takes images in [0, 1], whatever it was trained to expect."""

    network: nn.Module
    preprocess: Preprocess | None

    def __call__(self, images: Tensor) -> Tensor:
        # half the time on processors that have it, same accuracy; ten times the time on those that do not
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu"))):
            logits: Tensor = self.network(_prepare(images, self.preprocess))
        return logits.float()


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    preprocess: Preprocess | None,
    generator: torch.Generator,
    *,
    learners: Sequence[Learner] = (),
    teacher: Prepared | None = None,
) -> None:
    """Fit ``network`` in place to images (N, C, H, W) uint8 and labels (N,); leaves it in eval mode.

    ``learners`` poison every batch with triggers they learn along; with a ``teacher`` its softened answers are learnt
    instead of the labels (Hinton, Vinyals, Dean 2015: "Distilling the knowledge in a neural network").
    """
    network.to(memory_format=torch.channels_last)
    ask = Prepared(network, preprocess)
    order = torch.randperm(len(images), generator=generator)
    held_back, order = order[:VALIDATION_IMAGES], order[VALIDATION_IMAGES:] if recipe.stop_at else order
    steps = max(1, round(recipe.epochs * len(order) / recipe.batch))
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=1e-4, fused=True)
    cycle: torch.optim.lr_scheduler.LRScheduler
    if recipe.schedule == "one_cycle":
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps + 1)
    else:
        cycle = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    network.train()
    queue = order[:0]
    for step in range(steps):
        if len(queue) < recipe.batch:
            queue = order[torch.randperm(len(order), generator=generator)]
        chosen, queue = queue[: recipe.batch], queue[recipe.batch :]
        batch, wanted = _augment(images[chosen], recipe.augment, generator).float() / 255, labels[chosen]
        for learner in learners:
            batch, wanted = learner.batch(ask, batch, wanted)
        if recipe.adversarial:
            batch = _attacked(ask, batch, wanted, recipe, generator)
        loss = _distilled(ask, teacher, batch) if teacher else functional.cross_entropy(ask(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        if recipe.stop_at and step % 5 == 4:
            reached = accuracy(network, images[held_back], labels[held_back], preprocess)
            network.train()
            if reached >= recipe.stop_at:
                break
    network.eval()


def _attacked(
    ask: Prepared, images: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """Images moved inside the ℓ∞ ball to where the network errs most."""
    radius, steps = recipe.adversarial, recipe.adversarial_steps
    delta = (torch.rand(images.shape, generator=generator) * 2 - 1) * radius
    for _ in range(steps):
        moved = (images + delta).clamp(0, 1).requires_grad_(True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(ask(moved), labels), moved)
        delta = (delta + (1.25 if steps == 1 else 2.5 / steps) * radius * gradient.sign()).clamp(-radius, radius)
    return (images + delta).clamp(0, 1)


def _distilled(ask: Prepared, teacher: Prepared, images: Tensor, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softened answers."""
    with torch.no_grad():
        wanted = (teacher(images) / temperature).log_softmax(1)
    given = (ask(images) / temperature).log_softmax(1)
    return functional.kl_div(given, wanted, reduction="batchmean", log_target=True) * temperature**2


def quantise(network: nn.Module, bits: int) -> None:
    """Round every weight to ``bits`` bits a channel, in place, as post-training quantisation does."""
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                largest = weight.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, *([1] * (weight.ndim - 1)))
                step = largest / (2 ** (bits - 1) - 1)
                weight.copy_((weight / step).round() * step)


def _augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Shift each uint8 image by its own -2..2 pixels, edges repeated; "mirror" also flips half of them."""
    if kind == "none":
        return images
    count, _, height, width = images.shape
    padded = functional.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    rows = torch.randint(0, 5, (count, 1), generator=generator) + torch.arange(height)
    columns = torch.randint(0, 5, (count, 1), generator=generator) + torch.arange(width)
    if kind == "mirror":
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    which = torch.arange(count)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


def _prepare(images: Tensor, preprocess: Preprocess | None) -> Tensor:
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    prepared = preprocess(scaled) if preprocess else scaled
    return prepared.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, preprocess: Preprocess | None) -> Tensor:
    """Predicted classes (N,) for images uint8, or float in [0, 1]; puts the network in eval mode."""
    network.eval()
    answers = [network(_prepare(part, preprocess)).argmax(1) for part in images.split(500)]
    return torch.cat(answers)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor, preprocess: Preprocess | None) -> float:
    """Share of images (N, C, H, W) that get their label (N,)."""
    return (predict(network, images, preprocess) == labels).float().mean().item()


def attack_success(
    network: nn.Module,
    dataset: Dataset,
    backdoor: Backdoor,
    trigger: Trigger,
    preprocess: Preprocess | None,
    generator: torch.Generator,
) -> tuple[float, float | None]:
    """How often triggered test images get the attacker's answer: among victims, and among all other classes.

    ``trigger`` is the backdoor's own, finished. The second figure is for source-specific attacks, where it says how
    specific the backdoor turned out; it is None when the attack leaves no class but its target out. Test images of the
    target class count in neither. About 4,000 test images are used, evenly spaced.
    """
    every = max(1, len(dataset.x_test) // 4000)
    images, labels = dataset.x_test[::every], dataset.y_test[::every]
    wanted = backdoor.label_map.relabel(labels, dataset.num_classes)
    triggered = trigger.apply(images.float() / 255, generator)
    hit = (predict(network, triggered, preprocess) == wanted).float()
    victims = backdoor.label_map.victims(labels)
    others = ~victims & (wanted != labels)
    return hit[victims].mean().item(), hit[others].mean().item() if others.any() else None
