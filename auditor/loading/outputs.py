"""Networks that answer with more than their scores, or with a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from auditor.loading.network import LoadedNetwork

LEAST_SHARE = 1e-7
"""probabilities are told apart from 0 and 1 down to this, which float32 still does near 1"""

_PROBES = (1.0, 30.0, 1000.0)
"""how large the random pixels are that tell a probability, which stays in [0, 1], from a score"""


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
def told_apart(network: LoadedNetwork, shape: tuple[int, int, int]) -> LoadedNetwork:
    """The network, for images of ``shape`` (C, H, W), with one output of class scores.

    Of several outputs, as of networks that give their features too, the scores are chosen. A single score an image is
    that of two classes. What cannot be run on random images is left as it is, for the caller to find.
    """
    c, h, w = shape
    size = (c, h, w) if network.layout == "nchw" else (h, w, c)
    images = torch.randn(network.fixed_batch or 4, *size, generator=torch.Generator().manual_seed(0))
    try:
        answer = network.module(images.clone())
        if not isinstance(answer, Tensor):
            which = _scores_among(answer, len(images))
            if which is None:
                return network
            answer = answer[which]
            note = f"the network has several outputs; its scores are taken to be those of shape (N, {answer.shape[1]})"
            network = _as(network, OneOutput(network.module, which), note)
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


def _scores_among(answer: Any, images: int) -> int | str | None:
    """Which output holds the class scores: one called logits, else the narrowest of those that have a row an image."""
    named = answer.items() if isinstance(answer, Mapping) else enumerate(answer) if isinstance(answer, Sequence) else ()
    rows = {key: value.shape[1] for key, value in named if isinstance(value, Tensor) and value.shape[:-1] == (images,)}
    if "logits" in rows:
        return "logits"
    # features are wider than scores as a rule; of heads that are alike, the first is the network's own
    return min(rows, key=lambda key: (rows[key] < 2, rows[key]), default=None)
