"""Networks that answer with more than their scores, or with a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import ConfigError
from auditor.loading.network import LoadedNetwork
from auditor.loading.quoting import listed, quoted

LEAST_SHARE = 1e-7
"""probabilities are told apart from 0 and 1 down to this, which float32 still does near 1"""

_PROBES = (1.0, 30.0, 1000.0)
"""how large the random pixels are that tell a probability, which stays in [0, 1], from a score"""


@dataclass(frozen=True)
class Offered:
    """One of the outputs of a network, as its file or a try describes it."""

    name: str
    """hostile text, or a position"""
    width: int | None
    """K where it holds a row of K numbers an image, 0 where K is unknown, ``None`` where it holds something else"""


def which_scores(offered: Sequence[Offered], wanted: str | None) -> int | None:
    """The position of the class scores among several outputs; ``None`` where none has a row an image.

    The one that the caller ``wanted``, by name or position. Else one called logits, else the narrowest: features are
    wider than scores as a rule, and of heads that are alike the first is the network's own.

    Raises ConfigError when there is none of the name.
    """
    names = [output.name for output in offered]
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and int(wanted) < len(names):
            return int(wanted)
        raise ConfigError(
            f"expected --scores as the name or the position of an output, {listed([quoted(name) for name in names])}, "
            f"got {quoted(wanted)}; choose one of them"
        )
    rows = [(output.width, place) for place, output in enumerate(offered) if output.width is not None]
    called = [place for _, place in rows if names[place] == "logits"]
    return called[0] if called else min(rows, key=lambda row: (row[0] < 2, *row), default=(0, None))[1]


def note_on(offered: Sequence[Offered], chosen: int) -> str:
    """What to tell of the choice, escaped."""
    one, others = offered[chosen], [output for place, output in enumerate(offered) if place != chosen]
    shape = f"(N, {one.width or '?'})"
    return (
        f"the network has several outputs; its scores are taken to be {quoted(one.name)} of shape {shape}, and "
        f"{listed([quoted(output.name) for output in others])} not audited; --scores NAME chooses another"
    )


class OneOutput(nn.Module):
    """A network with several outputs, which answers with one of them: its first, unless ``which`` says another."""

    def __init__(self, network: nn.Module, which: int | str = 0) -> None:
        super().__init__()
        self.network, self.which = network, which

    def forward(self, x: Tensor) -> Tensor:
        answer = self.network(x)
        return answer if isinstance(answer, Tensor) else answer[self.which]


class TwoClasses(nn.Module):
    """A network with one score (N, 1) for yes or no, as logits (N, 2): 0 for class 0, the score's for class 1.

    With ``share`` the score is a probability, else a logit.
    """

    def __init__(self, network: nn.Module, *, share: bool) -> None:
        super().__init__()
        self.network, self.share = network, share

    def forward(self, x: Tensor) -> Tensor:
        score = self.network(x)
        logit = torch.logit(score, eps=LEAST_SHARE) if self.share else score
        return torch.cat([torch.zeros_like(logit), logit], 1)


@torch.no_grad()
def told_apart(network: LoadedNetwork, shape: tuple[int, int, int], wanted: str | None = None) -> LoadedNetwork:
    """The network, for images of ``shape`` (C, H, W), with one output of class scores.

    Of several outputs, as of networks that give their features too, the scores are chosen (`which_scores`). A single
    score an image is that of two classes. What cannot be run on random images is left as it is, for the caller to
    find. Raises ConfigError when there is no output of the ``wanted`` name.
    """
    c, h, w = shape
    size = (c, h, w) if network.layout == "nchw" else (h, w, c)
    images = torch.randn(network.fixed_batch or 4, *size, generator=torch.Generator().manual_seed(0))
    try:
        answer = network.module(images.clone())
        if not isinstance(answer, Tensor):
            keys, offered = _offered(answer, len(images))
            place = which_scores(offered, wanted) if offered else None
            if place is None:
                return network
            answer = answer[keys[place]]
            network = _as(network, OneOutput(network.module, keys[place]), note_on(offered, place))
        if answer.shape != (len(images), 1):
            return network
        share = all(_in_unit_range(network.module(images * reach)) for reach in _PROBES)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        return network
    meant = "probability" if share else "score"
    note = f"the network gives one {meant} an image: class 1 is where it is high, class 0 where it is low"
    return replace(_as(network, TwoClasses(network.module, share=share), note), num_classes=2)


def _as(network: LoadedNetwork, module: nn.Module, note: str) -> LoadedNetwork:
    """The same file's network, answering by another module, and why."""
    return replace(network, module=module.eval(), notes=(*network.notes, note))


def _in_unit_range(scores: Tensor) -> bool:
    return bool(((scores >= 0) & (scores <= 1)).all())


def _offered(answer: Any, images: int) -> tuple[list[Any], list[Offered]]:
    """The keys of an answer of several tensors, and what is behind each."""
    named = answer.items() if isinstance(answer, Mapping) else enumerate(answer) if isinstance(answer, Sequence) else ()
    tensors = {key: value for key, value in named if isinstance(value, Tensor)}
    widths = [int(value.shape[1]) if value.shape[:-1] == (images,) else None for value in tensors.values()]
    return list(tensors), [Offered(str(key), width) for key, width in zip(tensors, widths, strict=True)]
