"""Attention: the places of an image that speak for a class, by Grad-CAM, and how a trigger shifts it.

"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (Selvaraju et al., ICCV 2017),
Section 3; the shift is that of "What Do Deep Nets Learn? Class-wise Patterns Revealed in the Input Space" (ICLR 2021
submission), Appendix G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from auditor.classifier import Classifier
from auditor.feature_maps import MOVES, as_grid


def share_inside(maps: Tensor, mask: Tensor) -> Tensor:
    """(N,) in [0, 1]: the share of each map's sum, of maps ≥ 0 (N, H, W), where ``mask`` (H, W) > 0.

    0 where a map is all zero.
    """
    total = maps.sum((1, 2))
    inside = (maps * (mask > 0).to(maps)).sum((1, 2))
    return torch.where(total > 0, inside / total, 0.0).clamp(0, 1)


def grad_cam(model: Classifier, images: Tensor, targets: Tensor, size: tuple[int, int] | None = None) -> Tensor | None:
    """Attention (N, H, W) in [0, 1] of images (N, C, H, W) for the classes ``targets`` (N,), on the convolutional base.

    ReLU(Σ_k α_k A^k), α_k the mean gradient of the class's logit over map k (Eq. 1, 2), enlarged bilinearly to
    ``size`` (H, W), the images' where None, and divided by its maximum; a map without positive values stays zero. None
    for networks without maps or gradients. Cost: N image passes.
    """
    step = model.fixed_batch or model.batch_images
    height, width = size or (images.shape[2], images.shape[3])
    found = []
    for piece, classes in zip(images.split(step), targets.split(step), strict=True):
        base = _base_and_gradient(model, piece, classes)
        if base is None:
            return None
        maps, gradient = base
        cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
        found.append(F.interpolate(cam, (height, width), mode="bilinear", align_corners=False)[:, 0].cpu())
    cams = torch.cat(found)
    peak = cams.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, cams / peak, 0.0)


class _Results(TorchFunctionMode):
    """Keeps results as the network goes on with them, which the gradient needs: a grid of tokens is a copy."""

    def __init__(self, rows: int, images: tuple[int, ...]) -> None:
        super().__init__()
        self.rows, self.images = rows, images
        self.found: dict[int, Tensor] = {}  # by identity: in-place functions give the same tensor again

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").split(".")[0]
        if isinstance(out, Tensor) and out.requires_grad and name not in MOVES:
            grid = as_grid(out, self.rows)
            if grid is not None and tuple(grid.shape[1:]) != self.images:
                self.found.pop(id(out), None)
                self.found[id(out)] = out
        return out


def _base_and_gradient(model: Classifier, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor] | None:
    """The convolutional base and the gradient of the class's logit with respect to it, both (N, K, h, w).

    The last maps of the base's shape that have a gradient: a head that reads a class token leaves the places of the
    very last without any.
    """
    rows = model.fixed_batch or len(images)
    with _Results(rows, tuple(images.shape[1:])) as results:
        logits = model.logits(images.detach().to(model.device).requires_grad_(True))
    if not results.found or not logits.requires_grad:
        return None
    *_, last = results.found.values()
    alike = [out for out in results.found.values() if out.shape == last.shape]
    score = logits.gather(1, targets.to(model.device).unsqueeze(1)).sum()
    gradients = torch.autograd.grad(score, alike, allow_unused=True)
    for out, gradient in zip(reversed(alike), reversed(gradients), strict=True):
        if gradient is not None and (found := _grid(gradient, images, rows)).any():
            return _grid(out, images, rows), found
    maps = _grid(last, images, rows)
    return maps, torch.zeros_like(maps)


def _grid(result: Tensor, images: Tensor, rows: int) -> Tensor:
    """Maps of ``images`` alone, less the rows that filled a fixed batch."""
    grid = as_grid(result.detach(), rows)
    assert grid is not None
    return grid[: len(images)].float()
