"""Networks that answer with more than their scores."""

from __future__ import annotations

from torch import Tensor, nn


class FirstOutput(nn.Module):
    """A network with auxiliary heads, which answers with its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x)
        return scores if isinstance(scores, Tensor) else scores[0]
