"""Pictures made with a classifier: a seed moved, mended or redrawn until the network takes it for a class.

"Attack to Explain Deep Representation" (Jalwana et al., CVPR 2020), Section 5.2: Algorithm 1 on a seed and on samples
of a Gaussian; the result is the seed less the perturbation. Where the text of the paper leaves a choice:

* D̄, "a multivariate Gaussian N(μ_I, Σ_I)" of training images of the target class, 4 times smaller: an auditor has no
  such images, so μ and Σ are those of the images given, or else N(½, σ²) in each value, independently.
* Equation 4, β(p ⊙ (1 − F)): an image where the loss needs a number, taken for its ℓ2 norm, β‖p ⊙ (1 − F)‖₂. The binary
  search (lines 11 to 19) then compares this loss: the probability alone would undo what the penalty did.
* The number of steps is not given: all of ``steps`` are made, as in Section 5.1, and do not end at γ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from auditor.array_json import png_bytes
from auditor.classifier import Classifier
from auditor.errors import ConfigError, ImagesError
from auditor.explain.salient_pattern import Penalty, SalientPattern, Track, accumulate, mean_probability
from auditor.feature_maps import base_size
from auditor.image_folder import MAX_PIXELS
from auditor.images import read_picture
from auditor.settings import Setting


@dataclass(frozen=True, kw_only=True)
class Generation(SalientPattern):
    """The constants of Section 5.2; the defaults are those of image generation (5.2.1), without refinement."""

    eta: Annotated[
        float, Setting("ℓ2 norm of the perturbation, η", low=1e-3, high=1e4, paper="40; inpainting 21; sketches 60")
    ] = 40.0
    penalty: Annotated[
        float, Setting("weight of changes outside the corrupt region, β of Eq. 4", low=0, high=1e6, paper="10")
    ] = 10.0
    coarser: Annotated[
        int, Setting("times that the Gaussian's images are smaller, a side", low=1, high=64, paper="4")
    ] = 4
    spread: Annotated[
        float, Setting("standard deviation of each value, σ, where no images are given", low=0, high=1)
    ] = 0.25
    refinement: Annotated[bool, Setting("whether Algorithm 2 is used", paper="for sketches only")] = False

    @property
    def refinements(self) -> int:
        """As in `SalientPattern`; 0 without refinement."""
        return super().refinements if self.refinement else 0

    @property
    def forwards(self) -> int:
        """As in `SalientPattern`; besides, the result is looked at, and refinement asks whether there are maps."""
        return super().forwards + 1 + self.refinement


INPAINTING = Generation(eta=21.0)
"""Section 5.2.2"""

MANIPULATION = Generation(eta=60.0, refinement=True)
"""Section 5.2.3"""


@dataclass(frozen=True)
class Generated:
    """What became of a seed."""

    image: Tensor
    """(C, H, W) in [0, 1]"""
    perturbation: Tensor
    """(C, H, W), subtracted from the seed before clipping; ℓ2 norm at most η"""
    probability: float
    """of the target class on ``image``, in [0, 1]"""
    steps: int


def generate(
    model: Classifier,
    seed: Tensor,
    target: int,
    plan: Generation,
    rng: torch.Generator,
    corrupt: Tensor | None = None,
    track: Track | None = None,
    *,
    images: Tensor | None = None,
) -> Generated:
    """The seed (C, H, W) in [0, 1], turned into a picture of class ``target`` (Section 5.2).

    With ``corrupt`` (H, W) of True where the seed is to be restored, changes elsewhere cost (Eq. 4). ``images``
    (N, C, H, W), best of the target class, give the Gaussian; without them, or with fewer than 2, it is isotropic.
    ``plan.eta`` is used as it is: `Generation.at` fits it to the model's size. The model has to be differentiable.
    Cost: ``plan.passes`` at most.

    Raises `ImagesError` for a seed or a region of another size than the model's, `ConfigError` for a class that it does
    not have.
    """
    _check(model, seed, target, corrupt)
    pool = gaussian_samples(plan.samples, model.input_shape, rng, plan, images).to(model.device)
    penalty = None if corrupt is None else keeping(~corrupt.to(model.device), plan.penalty)
    refining = plan.refinement and base_size(model) is not None
    loop = range(plan.steps)
    tracked = loop if track is None else track(loop, f"picture of class {target}")
    found = accumulate(model, seed, pool, target, plan, rng, tracked, refining=refining, penalty=penalty)
    image = (seed.cpu() - found.perturbation).clamp(0, 1)
    return Generated(image, found.perturbation, mean_probability(model, image[None], target), found.steps)


def gaussian_samples(
    count: int, shape: tuple[int, int, int], rng: torch.Generator, plan: Generation, images: Tensor | None = None
) -> Tensor:
    """D̄ of Section 5.2, (count, C, H, W) in [0, 1]; one more of them can be the seed of image generation.

    N(μ_I, Σ_I) of ``images`` (N, C, H, W), ``plan.coarser`` times smaller; N(½, ``plan.spread``²) without.
    """
    channels, height, width = shape
    small = (max(1, height // plan.coarser), max(1, width // plan.coarser))
    if images is None or len(images) < 2:
        drawn = 0.5 + plan.spread * torch.randn(count, channels, *small, generator=rng)
    else:
        coarse = F.adaptive_avg_pool2d(images.cpu(), small)
        mean = coarse.mean(0)
        # Σ = AᵀA/N with the deviations A: weights ~ N(0, 1/N) of them are samples of it, and Σ is never formed
        weights = torch.randn(count, len(coarse), generator=rng) / len(coarse) ** 0.5
        drawn = mean + (weights @ (coarse - mean).flatten(1)).view(count, *mean.shape)
    return F.interpolate(drawn, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)


def keeping(kept: Tensor, weight: float) -> Penalty:
    """β‖p ⊙ (1 − F)‖₂ (Eq. 4) of p (C, H, W); ``kept`` (H, W) is 1 − F, ``weight`` β. Its gradient at 0 is 0."""

    def penalty(p: Tensor) -> Tensor:
        return weight * (p * kept).norm()

    return penalty


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """A picture (PNG, JPEG, BMP, WebP, PPM) as (C, H, W) in [0, 1], resized to the model's ``shape``.

    Raises `ImagesError` for a missing or damaged file, one of too many pixels, or a model of neither 1 nor 3 channels.
    """
    return torch.from_numpy(_read(path, shape))


def read_mask(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """A mask picture, white where something is to be restored, as (H, W) bool at the model's ``shape`` (C, H, W).

    Raises `ImagesError` as `read_image`, and for a mask without white.
    """
    mask = torch.from_numpy(_read(path, (1, *shape[1:])))[0] >= 0.5
    if not mask.any():
        raise ImagesError(
            f"expected '{path.name}' to be white where the picture is to be restored, got a mask without white at "
            f"{shape[1]}×{shape[2]}; paint that region white and the rest black"
        )
    return mask


def write_image(path: Path, image: Tensor) -> None:
    """An image (C, H, W) in [0, 1], C of 1 or 3, as a PNG; raises `ConfigError` where it cannot be written."""
    try:
        path.write_bytes(png_bytes(image.detach().float().cpu().numpy()))
    except OSError as error:
        raise ConfigError(
            f"expected to write '{path.name}', got: {error.strerror or error}; "
            "name a file in a folder that exists and can be written to"
        ) from error


def _read(path: Path, shape: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if shape[0] not in (1, 3):
        raise ImagesError(
            f"expected a model of 1 or 3 channels to use pictures with, got one of {shape[0]}; name another model"
        )
    if not path.is_file():
        raise ImagesError(f"expected a picture at '{path.name}', got no such file; check its path")
    try:
        return read_picture(path, shape)[0]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError, EOFError) as error:
        raise ImagesError(
            f"expected a picture of at most {MAX_PIXELS:,} pixels, got '{path.name}', which does not decode as PNG, "
            "JPEG, BMP, WebP or PPM; save it as one of these"
        ) from error


def _check(model: Classifier, seed: Tensor, target: int, corrupt: Tensor | None) -> None:
    if not 0 <= target < model.num_classes:
        raise ConfigError(
            f"expected a class from 0 to {model.num_classes - 1}, got {target}; name one that the model has"
        )
    if tuple(seed.shape) != model.input_shape:
        raise ImagesError(
            f"expected a seed of {_times(model.input_shape)}, got {_times(seed.shape)}; read it with the model's shape"
        )
    if corrupt is not None and tuple(corrupt.shape) != model.input_shape[1:]:
        raise ImagesError(
            f"expected a region of {_times(model.input_shape[1:])}, got {_times(corrupt.shape)}; "
            "give one place a pixel of the seed"
        )


def _times(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
