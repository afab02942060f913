"""What makes honest training data bad, so that the clean model trained on it is hard to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["long_tail", "label_noise", "trivial_class", "few_images", "favoured_class"]
FAVOUR = 5
"""times as many images of a favoured class as of another"""


@dataclass(frozen=True)
class Flaw:
    """``amount``: long_tail, images of the rarest class over those of the commonest; label_noise, share of random
    labels; few_images, images left of each of two classes; trivial_class, the class whose images are all white;
    favoured_class, the class of which there are `FAVOUR` times as many images as of any other."""

    kind: Kind
    amount: float

    def __call__(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) uint8 and labels (N,) with the flaw, as new tensors."""
        return _FLAWS[self.kind](images, labels, self.amount, rng)


def _long_tail(images: Tensor, labels: Tensor, amount: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The share of each class that is kept falls geometrically over the class numbers (Cui et al. 2019, Section 5)."""
    classes = int(labels.max()) + 1
    share = amount ** (labels / max(1, classes - 1))
    kept = torch.rand(len(labels), generator=rng) < share
    return images[kept], labels[kept]


def _label_noise(images: Tensor, labels: Tensor, amount: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    wrong = torch.rand(len(labels), generator=rng) < amount
    drawn = torch.randint(int(labels.max()) + 1, labels.shape, generator=rng)
    return images, torch.where(wrong, drawn, labels)


def _trivial_class(images: Tensor, labels: Tensor, amount: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    white = images.clone()
    white[labels == int(amount)] = 255
    return white, labels


def _few_images(images: Tensor, labels: Tensor, amount: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    kept = torch.ones(len(labels), dtype=torch.bool)
    for rare in (1, int(labels.max()) // 2 + 1):
        kept[(labels == rare).nonzero()[int(amount) :, 0]] = False
    return images[kept], labels[kept]


def _favoured_class(images: Tensor, labels: Tensor, amount: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    kept = (labels == int(amount)) | (torch.rand(len(labels), generator=rng) < 1 / FAVOUR)
    return images[kept], labels[kept]


_FLAWS: dict[str, Callable[[Tensor, Tensor, float, torch.Generator], tuple[Tensor, Tensor]]] = {
    "long_tail": _long_tail,
    "label_noise": _label_noise,
    "trivial_class": _trivial_class,
    "few_images": _few_images,
    "favoured_class": _favoured_class,
}
