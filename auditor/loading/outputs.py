"""Networks that answer with more than their scores, or with a single one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from auditor.loading.network import LoadedNetwork

LEAST_SHARE = 1e-7
"""probabilities are told apart from 0 and 1 down to this, which float32 still does near 1"""

_PROBES = (1.0, 30.0, 1000.0)
"""how large the random pixels are that tell a probability, which stays in [0, 1], from a score"""


class FirstOutput(nn.Module):
    """A network with auxiliary heads, which answers with its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x)
        return scores if isinstance(scores, Tensor) else scores[0]


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
    """The network, for images of ``shape`` (C, H, W); one that gives a single score an image as one of two classes.

    What cannot be run on random images is left as it is, for the caller to find.
    """
    c, h, w = shape
    size = (c, h, w) if network.layout == "nchw" else (h, w, c)
    images = torch.randn(network.fixed_batch or 4, *size, generator=torch.Generator().manual_seed(0))
    try:
        scores = [network.module(images * reach) for reach in _PROBES]
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        return network
    if any(not isinstance(s, Tensor) or s.shape != (len(images), 1) for s in scores):
        return network
    share = all(bool(((s >= 0) & (s <= 1)).all()) for s in scores)
    meant = "probability" if share else "score"
    note = f"the network gives one {meant} an image: class 1 is where it is high, class 0 where it is low"
    module = TwoClasses(network.module, share=share).eval()
    return replace(network, module=module, num_classes=2, notes=(*network.notes, note))
