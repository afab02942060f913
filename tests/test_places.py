"""How much of the image's layout dense layers see, told by what passes through a network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from auditor.places import density


def convolved(*rest: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *rest)


class ChannelsLast(nn.Module):
    """As files of Keras are: images and maps with the channels last, rows made of those."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = convolved(), nn.Linear(8 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.head(maps.reshape(len(x), -1))


class Grown(nn.Module):
    """Maps put beside each other before they are pooled, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 4, 3, padding=1), nn.Linear(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.one(x)], 1)
        return self.head(torch.cat([x, self.two(x)], 1).mean((2, 3)))


class Tokens(nn.Module):
    """A head on the mean of tokens that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Conv2d(3, 8, 4, 4), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x).flatten(2).transpose(1, 2)).mean(1))


SEES_36 = math.log(36) / math.log(144)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (convolved(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), 0.0),
        (convolved(nn.Flatten(), nn.Linear(288, 20), nn.ReLU(), nn.Linear(20, 5)), SEES_36),
        (convolved(nn.Flatten(), nn.Linear(288, 5)), SEES_36),
        (nn.Sequential(nn.Flatten(), nn.Linear(432, 20), nn.ReLU(), nn.Linear(20, 5)), 1.0),
        (nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(5)), 0.0),  # nothing is known of one without weights
        (Grown(), 0.0),
        (Tokens(), 0.0),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_places_are_counted_where_rows_are_made_of_maps(network: nn.Module, expected: float, batch: int) -> None:
    assert density(network.eval(), torch.rand(batch, 3, 12, 12)) == pytest.approx(expected, abs=1e-6)


def test_whichever_axis_the_channels_are_on() -> None:
    assert density(ChannelsLast().eval(), torch.rand(2, 12, 12, 3)) == pytest.approx(SEES_36)


def test_what_cannot_be_looked_at_sees_nothing() -> None:
    assert density(nn.Linear(7, 5), torch.rand(2, 3, 12, 12)) == 0.0
