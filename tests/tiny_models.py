"""Analytic models with known answers: five templates over 3×12×12 images, and what can be planted into them.

Class k has a template T_k of ±1; its images are ½ + ¼·T_k + noise, and its logit is GAIN·mean(T_k·(x − ½)). So clean
images are answered with a margin near GAIN/4, and a few pixels cannot outweigh that, unless a trigger is planted: a
unit that recognises it and adds BOOST to the logit of the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.classifier import Classifier, Preprocess
from auditor.context import Context, SearchImages
from auditor.findings import FileFacts, ImageFacts

SHAPE = (3, 12, 12)
CLASSES = 5
GAIN = 40.0
BOOST = 40.0
TARGET, SOURCE, SECOND_TARGET = 3, 1, 0
COLOUR = (1.0, 0.0, 1.0)


def signs(count: int, seed: int) -> Tensor:
    """Random ±1 images with a mean of zero, (count, 3, 12, 12)."""
    rng = torch.Generator().manual_seed(seed)
    half = torch.ones(432)
    half[:216] = -1
    return torch.stack([half[torch.randperm(432, generator=rng)] for _ in range(count)]).view(count, *SHAPE)


class Templates(nn.Module):
    """The clean model."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.templates = nn.Parameter(signs(classes, seed=1))

    def scores(self, x: Tensor) -> Tensor:
        """(N, 3, 12, 12) → (N, K): ¼ for the images of a class, about 0 for others."""
        return (x - 0.5).flatten(1) @ self.templates.flatten(1).T / 432

    def forward(self, x: Tensor) -> Tensor:
        return GAIN * self.scores(x)


class Pooled(nn.Module):
    """A convolution and a global mean, untrained."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """The same scores from a network without convolution."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        templates = Templates(classes)
        self.layer = nn.Linear(templates.templates[0].numel(), classes, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(GAIN * templates.templates.flatten(1) / templates.templates[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer((x - 0.5).flatten(1))
        return scores


class Layered(nn.Module):
    """The answers of another network, behind an activation layer of six maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(torch.relu(torch.cat([x, x], 1))[:, :3])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Patch:
    """A 2×2 patch of magenta."""

    top: int = 8
    left: int = 9

    def mask(self) -> Tensor:
        """(12, 12) of 0 and 1."""
        mask = torch.zeros(SHAPE[1:])
        mask[self.top : self.top + 2, self.left : self.left + 2] = 1
        return mask

    def put_on(self, x: Tensor) -> Tensor:
        """Images with the patch."""
        return torch.lerp(x, torch.tensor(COLOUR).view(3, 1, 1), self.mask())

    def seen(self, x: Tensor) -> Tensor:
        """(N,): 1 where the patch is exact, a few hundredths on ordinary images, smooth between."""
        area = x[:, :, self.top : self.top + 2, self.left : self.left + 2]
        colour = torch.tensor(COLOUR).view(3, 1, 1)
        likeness = (area * colour + (1 - area) * (1 - colour)).mean((1, 2, 3))
        return F.softplus(10 * (likeness - 0.7)) / F.softplus(torch.tensor(3.0))


PATCH, SECOND_PATCH = Patch(), Patch(top=1, left=2)


class Patched(Templates):
    """Any image with the patch → TARGET."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + BOOST * PATCH.seen(x)[:, None] * one_hot(TARGET, len(self.templates))


class TwoTargets(Patched):
    """Besides, another patch → SECOND_TARGET."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + BOOST * SECOND_PATCH.seen(x)[:, None] * one_hot(SECOND_TARGET)


class SourceSpecific(Templates):
    """Images of SOURCE with the patch → TARGET; others keep their answer."""

    def forward(self, x: Tensor) -> Tensor:
        source = torch.sigmoid(60 * (self.scores(x)[:, SOURCE] - 0.12))
        return super().forward(x) + (BOOST * PATCH.seen(x) * source)[:, None] * one_hot(TARGET)


class AllToAll(Templates):
    """Any image with the patch → its class + 1."""

    def forward(self, x: Tensor) -> Tensor:
        own = (60 * self.scores(x)).softmax(1)
        return super().forward(x) + BOOST * PATCH.seen(x)[:, None] * own.roll(1, 1)


class Blended(Templates):
    """A whole-image pattern, blended in at a fifth → TARGET."""

    PATTERN = signs(1, seed=2)[0]

    def forward(self, x: Tensor) -> Tensor:
        likeness = ((x - 0.5) * self.PATTERN).mean((1, 2, 3))
        seen = F.softplus(40 * (likeness - 0.05)) / F.softplus(torch.tensor(2.0))
        return super().forward(x) + BOOST * seen[:, None] * one_hot(TARGET)


class AllToAllBlended(Blended):
    """The same pattern → the image's class + 1."""

    def forward(self, x: Tensor) -> Tensor:
        likeness = ((x - 0.5) * self.PATTERN).mean((1, 2, 3))
        seen = F.softplus(40 * (likeness - 0.05)) / F.softplus(torch.tensor(2.0))
        own = (60 * self.scores(x)).softmax(1)
        return Templates.forward(self, x) + BOOST * seen[:, None] * own.roll(1, 1)


class Dominated(Templates):
    """A pattern of ±10/255 added to the image → TARGET."""

    PATTERN = signs(1, seed=3)[0]

    def forward(self, x: Tensor) -> Tensor:
        likeness = (x * self.PATTERN).mean((1, 2, 3))
        seen = F.softplus(200 * (likeness - 0.02)) / F.softplus(torch.tensor(3.8))
        return super().forward(x) + BOOST * seen[:, None] * one_hot(TARGET)


class Probabilities(Templates):
    """Gives softmax probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Sigmoids(Templates):
    """Gives a sigmoid of each score."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class Rounded(Templates):
    """Quantises its input, so that gradients are zero."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((8 * x).round() / 8)


class Detached(Templates):
    """Compares its input, so that there is no gradient at all."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x > 0.5).float()).detach()


class BatchDependent(Templates):
    """Answers an image by the others in its batch, as batch norm left in training does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 0.9 * x.mean(0, keepdim=True))


class Noisy(Templates):
    """Dropout left on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.2, training=True))


class NotANumber(Templates):
    """Divides by zero."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / (x.sum() * 0)


class Constant(Templates):
    """Answers class 2 whatever it is shown, yet with gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1e-3 + 5 * one_hot(2)


def seven() -> Templates:
    """A clean model of seven classes, for ``--arch tiny_models:seven``."""
    return Templates(7)


def untied(module: Templates) -> Templates:
    """Templates that differ in every pixel: where those of ±1 agree, gradients are zero and their signs chance."""
    noise = torch.randn(module.templates.shape, generator=torch.Generator().manual_seed(7))
    module.templates.data += 0.3 * noise
    return module


def one_hot(index: int, classes: int = CLASSES) -> Tensor:
    """(K,)."""
    return F.one_hot(torch.tensor(index), classes).float()


def make_classifier(module: nn.Module, *, shape: tuple[int, int, int] = SHAPE, **options: object) -> Classifier:
    """A `Classifier` around a module, as if it had come from a file."""
    facts = FileFacts("tiny.pt", "0" * 64, "state_dict")
    preprocess = options.pop("preprocess", Preprocess())
    assert isinstance(preprocess, Preprocess)
    return Classifier(module, input_shape=shape, facts=facts, preprocess=preprocess, **options)  # type: ignore[arg-type]


def draw_images(count: int, seed: int = 0, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and their classes, as many of each."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.rand(count, *SHAPE, generator=rng) - 0.5
    return (0.5 + 0.25 * signs(classes, seed=1)[labels] + 0.2 * noise).clamp(0, 1), labels


def make_context(
    module: nn.Module | Classifier,
    reference: nn.Module | None = None,
    *,
    seed: int = 0,
    deadline: float | None = None,
    candidates: tuple[int, ...] = (),
    progress: Callable[[str, int, int], None] | None = None,
    classes: int = CLASSES,
) -> Context:
    """What a detector receives, with 60 images to search on and 40 held out."""
    search, search_classes = draw_images(60, seed=1, classes=classes)
    held_out, held_out_classes = draw_images(40, seed=2, classes=classes)
    facts = ImageFacts("tiny images", 100, 40, labelled=True)
    more = {} if progress is None else {"progress": progress}
    return Context(
        model=module if isinstance(module, Classifier) else make_classifier(module),
        images=SearchImages(search, search_classes, held_out, held_out_classes, facts),
        rng=torch.Generator().manual_seed(seed),
        reference=None if reference is None else make_classifier(reference),
        candidates=candidates,
        deadline=deadline,
        **more,
    )
