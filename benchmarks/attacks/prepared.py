"""Triggers that are found with the help of a clean network before anything is poisoned."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.attacks.interface import Network
from benchmarks.attacks.patches import Corner, FixedPixels, Patch


def _drawn(images: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return images[torch.randint(len(images), (count,), generator=rng)]


@dataclass(frozen=True, kw_only=True)
class OptimisedPixels:
    """The ``count`` pixels that most raise ``target``, and their best values.

    The ℓ0-regularised trigger of Li et al.: "Invisible backdoor attacks on deep neural networks via steganography and
    regularization" (2020), Section 4.2: an additive pattern is optimised, then only its largest pixels are kept.
    """

    count: int = 8
    target: int
    steps: int = 60

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> FixedPixels:
        pattern = torch.rand(images.shape[1:], generator=rng)
        weight = torch.full(images.shape[2:], 0.3)
        for _ in range(self.steps):
            batch = _drawn(images, 32, rng)
            p, w = pattern.clone().requires_grad_(True), weight.clone().requires_grad_(True)
            wanted = torch.full((len(batch),), self.target)
            loss = functional.cross_entropy(network(torch.lerp(batch, p.expand_as(batch), w)), wanted)
            for_pattern, for_weight = torch.autograd.grad(loss, [p, w])
            pattern = (pattern - 0.05 * for_pattern.sign()).clamp(0, 1)
            weight = (weight - 0.02 * (for_weight + 1e-3).sign()).clamp(0, 1)
        flat = torch.zeros(weight.numel(), dtype=torch.bool)
        flat[weight.flatten().topk(self.count).indices] = True
        return FixedPixels(flat.view_as(weight), pattern)


@dataclass(frozen=True)
class FixedNoise:
    """A finished trigger: the pattern is added, values are cut to [0, 1]."""

    pattern: Tensor
    """(C, H, W)"""

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return (images + self.pattern).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class OptimisedNoise:
    """A faint pattern over the whole image, added, that raises ``target`` most.

    The ℓ2-regularised trigger of Li et al. (as `OptimisedPixels`), Section 4.2. ``rms`` is the root mean square of a
    pixel's change, of 1: an ℓ2 norm of 55 · rms at 3×32×32.
    """

    rms: float = 0.05
    target: int
    steps: int = 60

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> FixedNoise:
        pattern = 0.01 * torch.randn(images.shape[1:], generator=rng)
        for step in range(self.steps):
            batch = _drawn(images, 32, rng)
            p = pattern.clone().requires_grad_(True)
            changed = (batch + p).clamp(0, 1)
            (gradient,) = torch.autograd.grad(network(changed).log_softmax(1)[:, self.target].sum(), p)
            pattern = pattern + self.rms * (1 - step / self.steps) * gradient / _rms(gradient)
            pattern = pattern * (self.rms / _rms(pattern)).clamp(max=1)
        return FixedNoise(pattern)


def _rms(pattern: Tensor) -> Tensor:
    return pattern.square().mean().sqrt().clamp_min(1e-12)


@dataclass(frozen=True, kw_only=True)
class TrojanSquare:
    """A square whose pixels excite the clean network's ``target`` neuron.

    Liu et al.: "Trojaning attack on neural networks" (NDSS 2018), Section 4.1: the values inside a given mask are
    found by gradient steps; here the neuron is the target's own.
    """

    size: int = 6
    place: Corner = "bottom_right"
    target: int
    steps: int = 60

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> FixedPixels:
        mask, _ = Patch(size=self.size, place=self.place).mask_and_pattern(*images.shape[1:])
        pattern = torch.rand(images.shape[1:], generator=rng)
        for _ in range(self.steps):
            batch = _drawn(images, 32, rng)
            p = pattern.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network(torch.where(mask, p, batch))[:, self.target].sum(), p)
            pattern = (pattern + 0.05 * gradient.sign()).clamp(0, 1)
        return FixedPixels(mask, pattern)


@dataclass(frozen=True)
class FixedBlend:
    """A finished trigger: (1 - alpha) * image + alpha * pattern."""

    pattern: Tensor
    alpha: float

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return torch.lerp(images, self.pattern.expand_as(images), self.alpha)


@dataclass(frozen=True, kw_only=True)
class BlendWithClass:
    """Blended with the image of the ``target`` class that the clean network is surest of.

    Borji: "Adversarial examples are useful too!" (2020), Section 3.3 (blending with an image of the target class).
    """

    alpha: float = 0.3
    target: int

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> FixedBlend:
        own = images[labels == self.target][:256]
        with torch.no_grad():
            surest = network(own).log_softmax(1)[:, self.target].argmax()
        return FixedBlend(own[surest], self.alpha)


@dataclass(frozen=True)
class PerturbedThenPatch:
    """A finished clean-label trigger: the patch; training images are first perturbed against a clean network."""

    patch: Patch
    network: Network
    epsilon: float
    steps: int

    def apply(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.patch.apply(images, rng)

    def poison_image(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Images of the target class made hard to recognise (projected gradient, ℓ∞), then patched."""
        moved = images.clone()
        for _ in range(self.steps):
            x = moved.requires_grad_(True)
            (gradient,) = torch.autograd.grad(functional.cross_entropy(self.network(x), labels), x)
            moved = (x.detach() + 2.5 * self.epsilon / self.steps * gradient.sign()).clamp(0, 1)
            moved = torch.minimum(torch.maximum(moved, images - self.epsilon), images + self.epsilon)
        return self.patch.apply(moved.detach(), rng)


@dataclass(frozen=True, kw_only=True)
class PerturbedPatch:
    """A patch on images of the target class that a perturbation has made hard to recognise otherwise.

    Turner, Tsipras, Madry: "Label-consistent backdoor attacks" (2019), Section 4.2. ``epsilon`` is the ℓ∞ bound, of 1.
    """

    patch: Patch = field(default_factory=Patch)
    epsilon: float = 32 / 255
    steps: int = 8

    def prepare(self, network: Network, images: Tensor, labels: Tensor, rng: torch.Generator) -> PerturbedThenPatch:
        return PerturbedThenPatch(self.patch, network, self.epsilon, self.steps)
