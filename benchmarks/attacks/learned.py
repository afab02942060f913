"""Triggers that are learned together with the network, so that each image gets its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.attacks.interface import Backdoor, Learner, Network


class Generator(nn.Module):
    """A small encoder and decoder: (N, C, H, W) to the same shape, in [-1, 1]."""

    def __init__(self, channels: int, width: int = 12) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()
        )
        self.up = nn.Sequential(nn.Conv2d(2 * width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, channels, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        coded = functional.interpolate(self.down(images - 0.5), tuple(images.shape[2:]), mode="nearest")
        return self.up(coded).tanh()


@dataclass(frozen=True)
class Generated:
    """A finished trigger: what a generator draws for an image, at most ``epsilon`` a pixel, is added to it."""

    generator: Generator
    epsilon: float

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            return (images + self.epsilon * self.generator(images)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class InputAware:
    """Each image's own pattern of at most ``epsilon`` a pixel; the pattern of another image must not work.

    Nguyen, Tran: "Input-aware dynamic backdoor attack" (NeurIPS 2020), Section 3: the generator is trained with the
    network, a diversity loss keeps patterns of different images apart, and cross-trigger images keep their label.
    The paper's separate mask generator is left out: the pattern is dense and bounded instead.
    """

    epsilon: float = 0.2
    diversity: float = 0.5

    def learner(
        self, shape: tuple[int, int, int], backdoor: Backdoor, num_classes: int, rng: torch.Generator
    ) -> Learner:
        return _GeneratorLearner(shape, backdoor, num_classes, self.epsilon, self.diversity, crossed=True, rng=rng)


@dataclass(frozen=True, kw_only=True)
class LearnedNoise:
    """Noise of at most ``epsilon`` a pixel, drawn by a generator that is trained with the network.

    LIRA: Doan, Lao, Zhao, Li: "LIRA: learnable, imperceptible and robust backdoor attacks" (ICCV 2021), Section 3.
    """

    epsilon: float = 0.08

    def learner(
        self, shape: tuple[int, int, int], backdoor: Backdoor, num_classes: int, rng: torch.Generator
    ) -> Learner:
        return _GeneratorLearner(shape, backdoor, num_classes, self.epsilon, 0.0, crossed=False, rng=rng)


class _GeneratorLearner:
    """Poisons batches with a generator's patterns, and trains it to make them work."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        backdoor: Backdoor,
        num_classes: int,
        epsilon: float,
        diversity: float,
        *,
        crossed: bool,
        rng: torch.Generator,
    ) -> None:
        self.backdoor, self.num_classes, self.rng = backdoor, num_classes, rng
        self.epsilon, self.diversity, self.crossed = epsilon, diversity, crossed
        self.generator = Generator(shape[0])
        self.optimizer = torch.optim.Adam(self.generator.parameters(), 2e-3)

    def batch(self, network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        label_map = self.backdoor.label_map
        victims = label_map.victims(labels).nonzero()[:, 0]
        victims = victims[torch.randperm(len(victims), generator=self.rng)]
        count = min(len(victims), round(self.backdoor.rate * len(images)))
        self._learn(network, images[victims[: max(count, 16)]], labels[victims[: max(count, 16)]])
        images, labels = images.clone(), labels.clone()
        chosen, cover = victims[:count], victims[count : count + round(self.backdoor.cover * len(images))]
        with torch.no_grad():
            if self.crossed and len(cover):  # another image's pattern: keeps its label
                others = cover.roll(1)
                images[cover] = (images[cover] + self.epsilon * self.generator(images[others])).clamp(0, 1)
            images[chosen] = (images[chosen] + self.epsilon * self.generator(images[chosen])).clamp(0, 1)
        labels[chosen] = label_map.relabel(labels[chosen], self.num_classes)
        return images, labels

    def _learn(self, network: Network, images: Tensor, labels: Tensor) -> None:
        """One step of the generator: its patterns should get the wanted answer, and differ between images."""
        patterns = self.generator(images)
        wanted = self.backdoor.label_map.relabel(labels, self.num_classes)
        loss = functional.cross_entropy(network((images + self.epsilon * patterns).clamp(0, 1)), wanted)
        if self.diversity:
            apart = (patterns - patterns.roll(1, 0)).square().mean((1, 2, 3)).sqrt()
            loss = loss + self.diversity * (
                (images - images.roll(1, 0)).square().mean((1, 2, 3)).sqrt() / (apart + 1e-2)
            ).mean()
        gradients = torch.autograd.grad(loss, list(self.generator.parameters()))
        for parameter, gradient in zip(self.generator.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def finished(self) -> Generated:
        return Generated(self.generator.eval(), self.epsilon)
