"""What batch norm remembers of the images that a network was trained on: their mean and spread, without one of them.

A network normalises by the running mean and variance of its training images' maps. As long as nothing but convolutions
(or padding, pooling, a normalisation of its own) lies before the first such layer, its maps are an affine function of
the pixels, so the mean map is that of the mean pixel: a system of linear equations, a row a map, in as many unknowns as
there are channels. The spread follows from the variances, given how alike neighbouring pixels are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from auditor.procedural import dead_leaves, scenes

PICTURES = 32
"""scenes, and as many dead leaves, by which it is seen how alike neighbouring pixels are"""

COLOUR = 0.15
"""how much of the pictures' own colours is left: channels of photographs are nearly alike"""

AFFINE = 1e-3
"""how far, of the maps' size, the map of two pictures' mean may be from the mean of their maps"""

ALIVE = 1e-5
"""of the largest variance: maps that hardly vary tell nothing"""

UNSURE = 0.12
"""standard error of a mean, in standard deviations of the pixels, above which it is not told"""


@dataclass(frozen=True)
class Remembered:
    """Of the images that a network was trained on, as it takes them: after whatever was done to them outside of it."""

    mean: tuple[float, ...]
    """a channel"""
    std: float
    """of a channel's pixels around its mean, the same for all channels"""


def remembered(network: nn.Module, sample: Tensor, *, layout: str) -> Remembered | None:
    """What the first batch norm of a network remembers; None where there is none, or nothing can be told by it.

    The network is in evaluation mode; ``sample`` is a batch that it takes, on its device, channels last where
    ``layout`` is ``nhwc``. Costs about a hundred passes of what lies before the first batch norm.
    """
    try:
        return _solved(_Norm(network, sample, layout == "nhwc"))
    except Exception:  # one that cannot be looked at tells nothing; whether it can be asked comes up elsewhere
        return None


def _solved(norm: _Norm) -> Remembered | None:
    """Pixels' mean by least squares, every equation in standard deviations of its map; then their spread."""
    pictures = _pictures(norm.shape)
    maps = norm.maps(pictures)
    if not _is_affine(norm, pictures, maps) or _is_untouched(norm.mean, norm.variance):
        return None
    channels = norm.shape[0]
    plain = torch.cat([torch.zeros(1, channels), torch.eye(channels)])[:, :, None, None].expand(-1, -1, *norm.shape[1:])
    black, *full = norm.maps(plain).mean(2)
    alive = norm.variance > ALIVE * norm.variance.max()
    deviation = norm.variance[alive].sqrt()
    gain = torch.stack([one - black for one in full], 1)[alive] / deviation[:, None]
    wanted = (norm.mean - black)[alive] / deviation
    for equations in (gain, gain.sum(1, keepdim=True)):  # maps of grey alone do not tell channels apart
        solution, error = _least_squares(equations, wanted)
        mean = solution.expand(channels)
        at_edges = norm.maps(mean.view(1, -1, 1, 1).expand(-1, -1, *norm.shape[1:])).var(2)[0]
        std = _spread((norm.variance - at_edges)[alive], maps.var(0).mean(1)[alive], gain.sum(1))
        if (error <= UNSURE * std).all() and 0 < std < float("inf"):
            return Remembered(tuple(float(m) for m in mean), std)
    return None


class _Reached(Exception):
    """The first batch norm was reached: what follows need not be computed."""


class _Tap(TorchDispatchMode):
    """Ends a network's answer at its first batch norm, and keeps what that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: tuple[Tensor, Tensor, Tensor] | None = None
        """maps (N, F, ...), running mean and variance (F,)"""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if "batch_norm" in function.name() and len(args) > 4 and isinstance(args[4], Tensor):
            self.given = args[0], args[3], args[4]
            raise _Reached
        return function(*args, **(kwargs or {}))


class _Norm:
    """The first batch norm of a network: what it is given, and what it remembers once it was asked."""

    mean: Tensor
    variance: Tensor

    def __init__(self, network: nn.Module, sample: Tensor, last: bool) -> None:
        self.network, self.device, self.batch, self.last = network, sample.device, len(sample), last
        first, *others = sample.shape[1:]
        self.shape = (others[-1], first, others[0]) if last else (first, *others)

    @torch.no_grad()
    def maps(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) → (N, F, places) what it is given; raises where there is none."""
        return torch.cat([self._maps(piece) for piece in pixels.split(self.batch)])

    def _maps(self, piece: Tensor) -> Tensor:
        missing = self.batch - len(piece)
        x = torch.cat([piece, piece[-1:].expand(missing, *piece.shape[1:])]).to(self.device)
        tap = _Tap()
        try:
            with tap:
                self.network(x.permute(0, 2, 3, 1).contiguous() if self.last else x)
        except Exception:  # programs give the reason another type
            if tap.given is None:
                raise
        if tap.given is None:
            raise ValueError("no batch norm")
        maps, self.mean, self.variance = (t.detach().float().cpu() for t in tap.given)
        return maps[: len(piece)].flatten(2)


def _pictures(shape: tuple[int, ...]) -> Tensor:
    """(N, C, H, W) of mean 0 and standard deviation 1 in each channel; channels nearly alike."""
    channels, height, width = shape
    rng = torch.Generator().manual_seed(0)
    drawn = torch.cat([draw(PICTURES, (channels, height, width), rng) for draw in (scenes, dead_leaves)])
    drawn = drawn - drawn.mean((0, 2, 3), keepdim=True)
    nearly_grey = torch.lerp(drawn.mean(1, keepdim=True).expand_as(drawn), drawn, COLOUR)
    return nearly_grey / nearly_grey.std((0, 2, 3), keepdim=True)


def _is_affine(norm: _Norm, pictures: Tensor, maps: Tensor) -> bool:
    """Whether nothing but sums of pixels reaches the batch norm."""
    first, second = pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :]
    apart = maps[: len(first)] + maps[len(first) :] - 2 * norm.maps((first + second) / 2)
    return bool(apart.abs().max() <= AFFINE * maps.abs().max())


def _is_untouched(mean: Tensor, variance: Tensor) -> bool:
    """Whether nothing was seen yet, or nothing varied."""
    return bool((variance <= 0).all() or ((mean == 0).all() and (variance == 1).all()))


def _spread(variance: Tensor, of_pictures: Tensor, gain: Tensor) -> float:
    """Standard deviation of the pixels, by the variances of maps (F,) and those that pictures of deviation 1 have.

    By those maps that follow brightness (``gain``) more than texture, which differs from data to data: their median.
    """
    smooth = gain.square() * variance / of_pictures
    chosen = smooth >= smooth.median()
    return float((variance[chosen] / of_pictures[chosen]).median().clamp_min(0).sqrt())


def _least_squares(gain: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Solution and its standard errors, both (unknowns,), of equations (F, unknowns) and (F,)."""
    solution = torch.linalg.lstsq(gain, wanted[:, None]).solution[:, 0]
    left = (gain @ solution - wanted).square().sum() / max(1, len(wanted) - gain.shape[1])
    return solution, (left * torch.linalg.pinv(gain.T @ gain).diagonal()).sqrt()
