"""What the filters of a network answer to: which of them a trigger excites, and the images that excite them most.

Activation maximisation is "What Do Adversarially Robust Models Look At?" (Itazuri et al. 2019), Section 3.4, Eq. 10,
after Erhan et al. (2009). A layer is named by its position among `feature_maps`, since it need not have a name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.errors import ModelMismatchError
from auditor.explain.salient_pattern import Track
from auditor.explain.ssim import gaussian
from auditor.feature_maps import ACTIVATIONS, FeatureMap, base_name, feature_maps
from auditor.settings import Setting

BATCH = 7
"""images at a time: few, as all maps are kept meanwhile, and a number that is hardly ever a size within a network, so
that biases or weights computed on the way are not taken for a batch's maps"""


@dataclass(frozen=True, kw_only=True)
class ActivationMaximisation:
    """The constants of gradient ascent on the image; the paper states none."""

    steps: Annotated[int, Setting("steps of gradient ascent", low=1, high=100_000)] = 60
    step_size: Annotated[float, Setting("root mean square change of a pixel per step", low=1e-4, high=1)] = 0.05
    noise: Annotated[float, Setting("standard deviation of the noise on the grey start", low=0, high=0.5)] = 0.02
    smoothness: Annotated[
        float, Setting("Gaussian blur of the gradient, standard deviation in pixels", low=0, high=20, paper="0 (none)")
    ] = 0.0


class ExcitedFilter(NamedTuple):
    """One filter, and how much more it answers."""

    layer: int
    """position among `feature_maps`"""
    filter: int
    """its channel"""
    rise: float
    """of its mean activation, in standard deviations over the images before"""


def compared_layers(found: Sequence[FeatureMap], most: int = 16) -> tuple[int, ...]:
    """Positions of the activation layers; without any, of the convolutions; without those, of all maps.

    Where there are more than ``most``, so many at even distances, the first and the last among them.
    """
    names = [base_name(m.function) for m in found]
    layers = (
        [i for i, name in enumerate(names) if name in ACTIVATIONS]
        or [i for i, name in enumerate(names) if name.startswith("conv")]
        or list(range(len(names)))
    )
    if len(layers) <= most:
        return tuple(layers)
    return tuple(layers[round(i * (len(layers) - 1) / (most - 1))] for i in range(most))


def end_layers(found: Sequence[FeatureMap]) -> tuple[int, ...]:
    """Positions of the first convolutional layer and of the deepest layer; empty without maps.

    A convolutional layer is its activation where one follows directly, as in Eq. 10, and else its convolution.
    """
    if not found:
        return ()
    names = [base_name(m.function) for m in found]
    deepest = compared_layers(found)[-1]
    first = next((i for i, name in enumerate(names) if name.startswith("conv")), compared_layers(found)[0])
    for i in range(first + 1, len(names)):
        if names[i].startswith(("conv", "linear")) or found[i].values.shape != found[first].values.shape:
            break
        if names[i] in ACTIVATIONS:
            first = i
            break
    return tuple(dict.fromkeys((first, deepest)))


@torch.no_grad()
def probe(model: Classifier, image: Tensor) -> list[FeatureMap]:
    """All maps (1, C, H, W) of one image (1, C, H, W), where `watched` counts them; costs a batch of forward passes."""
    # copies, since views would keep the maps of the whole batch
    return [FeatureMap(m.function, m.values[:1].clone()) for m in feature_maps(model, _padded(image, _size(model)))]


@torch.no_grad()
def watched(model: Classifier, images: Tensor, layers: dict[int, torch.Size]) -> Iterator[list[Tensor]]:
    """The maps (n, C, H, W) of some layers, for ``images`` (N, C, H, W) in pieces; one forward pass an image.

    ``layers``: positions and the (C, H, W) that they had elsewhere. The last piece is filled up, so that every pass has
    equally many images. Raises `ModelMismatchError` where a network computes other layers for other images.
    """
    size = _size(model)
    for piece in images.split(size):
        found = feature_maps(model, _padded(piece, size))
        for layer, shape in layers.items():
            if layer >= len(found) or found[layer].values.shape[1:] != shape:
                raise ModelMismatchError(
                    f"expected layer {layer} of '{model.facts.name}' to give maps {tuple(shape)} for every image, got "
                    "others; networks that compute different layers for different images cannot be compared by layer"
                )
        chosen = [found[layer].values[: len(piece)] for layer in layers]
        del found  # the other maps, which would outlive the pause
        yield chosen


def _size(model: Classifier) -> int:
    return model.fixed_batch or BATCH


def _padded(images: Tensor, size: int) -> Tensor:
    return torch.cat([images, images[-1:].expand(size - len(images), *images.shape[1:])])


@torch.no_grad()
def excited_filters(
    model: Classifier, before: Tensor, after: Tensor, layers: Sequence[int] | None = None, most: int = 8
) -> tuple[ExcitedFilter, ...]:
    """The filters whose mean activation rises from ``before`` to ``after``, (N, C, H, W) and (M, C, H, W) in [0, 1].

    Up to ``most`` of each layer, layer by layer as in ``layers`` (None: `end_layers`), most excited first. A filter's
    activation on an image is its map's mean; its rise is counted in standard deviations of that over ``before``, or in
    tenths of the layer's mean deviation where it varies less: a filter that is silent without the trigger has none. Two
    images before are needed. Empty for networks without maps; raises `ModelMismatchError` for a layer that is not
    there. Cost: N + M forward passes, each rounded up to whole batches, and one batch.
    """
    if len(before) < 2 or not len(after):
        raise ValueError(f"expected 2 images before and 1 after at least, got {len(before)} and {len(after)}")
    found = probe(model, before[:1])
    chosen = end_layers(found) if layers is None else tuple(layers)
    for layer in chosen:
        if not 0 <= layer < len(found):
            raise _missing(model, layer, len(found))
    shapes = {layer: found[layer].values.shape[1:] for layer in chosen}
    if not shapes:
        return ()
    del found  # maps that are not needed any more
    excited = []
    for layer, clean, triggered in zip(
        shapes, _activations(model, before, shapes), _activations(model, after, shapes), strict=True
    ):
        spread = clean.std(0)
        floor = max(0.1 * float(spread.mean()), 1e-6)
        rise = (triggered.mean(0) - clean.mean(0)) / spread.clamp_min(floor)
        for index in rise.argsort(descending=True, stable=True)[:most].tolist():
            if rise[index] > 0:
                excited.append(ExcitedFilter(layer, index, float(rise[index])))
    return tuple(excited)


def _activations(model: Classifier, images: Tensor, shapes: dict[int, torch.Size]) -> list[Tensor]:
    """(N, C) of each layer: every image's mean activation of every filter."""
    pieces = [[maps.float().mean((2, 3)) for maps in piece] for piece in watched(model, images, shapes)]
    return [torch.cat(layer) for layer in zip(*pieces, strict=True)]


def maximise(
    model: Classifier,
    layer: int,
    filters: Sequence[int],
    plan: ActivationMaximisation,
    rng: torch.Generator,
    track: Track | None = None,
) -> Tensor:
    """Eq. 10 for several filters of one layer: images (F, C, H, W) in [0, 1], each maximising its own filter's sum.

    All ascend in one batch (in several where the network's own batch size is fixed), along their gradients of unit root
    mean square, from mid-grey with a little noise; the best image on the way is kept. The paper leaves these open.
    Deviations: images are clipped to [0, 1], all that a classifier takes; where a gradient vanishes, as that of a
    rectified filter that is silent, the image takes a random step; and ``plan.smoothness``, off by default, blurs
    gradients. ``layer`` counts the maps that depend on the image. Raises `ModelMismatchError` for layers and filters
    that are not there or have no gradients. Cost: (steps + 1) · F image passes.
    """
    size = model.fixed_batch or max(1, len(filters))
    images = []
    for start in range(0, len(filters), size):
        piece = list(filters[start : start + size])
        loop = range(plan.steps)
        tracked = loop if track is None else track(loop, f"images that excite layer {layer}")
        padded = piece + piece[-1:] * (size - len(piece))
        images.append(_ascend(model, layer, padded, plan, rng, tracked)[: len(piece)])
    return torch.cat(images) if images else torch.zeros(0, *model.input_shape)


def _ascend(
    model: Classifier,
    layer: int,
    filters: list[int],
    plan: ActivationMaximisation,
    rng: torch.Generator,
    loop: Iterable[int],
) -> Tensor:
    shape = (len(filters), *model.input_shape)
    images = (0.5 + plan.noise * torch.randn(shape, generator=rng)).clamp(0, 1).to(model.device)
    best, most = images, torch.full((len(filters), 1, 1, 1), -math.inf, device=model.device)
    for _ in loop:
        sums, gradient = _filter_sums(model, layer, filters, images)
        best, most = torch.where(sums > most, images, best), torch.where(sums > most, sums, most)
        gradient = _blurred(gradient, plan.smoothness)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        direction = gradient / size
        if not bool((size > 0).all()):
            direction = torch.where(size > 0, direction, torch.randn(shape, generator=rng).to(model.device))
        images = (images + plan.step_size * direction).clamp(0, 1)
    sums, _ = _filter_sums(model, layer, filters, images)
    return torch.where(sums > most, images, best).cpu()


@torch.enable_grad()
def _filter_sums(model: Classifier, layer: int, filters: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
    """a of Eq. 10, (F, 1, 1, 1), the i-th image's of the i-th filter, and its gradient (F, C, H, W)."""
    moving = images.detach().requires_grad_(True)
    # with this few or many images, biases may look like maps of a batch; but parameters are frozen
    found = [m.values for m in feature_maps(model, moving) if m.values.requires_grad]
    if not 0 <= layer < len(found):
        raise _missing(model, layer, len(found))
    maps = found[layer]
    if not all(0 <= index < maps.shape[1] for index in filters):
        raise ModelMismatchError(f"expected filters in 0 to {maps.shape[1] - 1}, got {filters}; choose others")
    sums = maps[range(len(filters)), filters].sum((1, 2))
    (gradient,) = torch.autograd.grad(sums.sum(), moving)
    return sums.detach().view(-1, 1, 1, 1), gradient


def _missing(model: Classifier, layer: int, layers: int) -> ModelMismatchError:
    return ModelMismatchError(
        f"expected a layer of the {layers} with maps of '{model.facts.name}', counted from 0, got {layer}; choose "
        "another, or none where it has none"
    )


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) under a Gaussian of ``sigma`` pixels, zero beyond the border."""
    if sigma <= 0:
        return images
    reach = math.ceil(3 * sigma)
    weights = gaussian(2 * reach + 1, sigma).to(images)
    planes = images.flatten(0, 1).unsqueeze(1)
    down = F.conv2d(planes, weights.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(down, weights.view(1, 1, 1, -1), padding=(0, reach)).view_as(images)
