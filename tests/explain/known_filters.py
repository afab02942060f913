"""Networks whose filters are set by hand, so that what excites them is known."""

from __future__ import annotations

import torch
from tiny_models import CLASSES, SHAPE, draw_images, make_classifier
from torch import Tensor, nn

from auditor.classifier import Classifier
from benchmarks.networks import build

MAGENTA = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
"""a 1×1 filter"""


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def head(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def conv(weight: Tensor, bias: float | list[float] = 0.0, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution with these weights (filters, channels, height, width)."""
    made = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding)
    made.weight.data.copy_(weight)
    made.bias.data.copy_(torch.as_tensor(bias).expand(len(weight)))
    return made


def fully_connected() -> Classifier:
    return make_classifier(nn.Sequential(nn.Flatten(), nn.Linear(432, 32), nn.ReLU(), nn.Linear(32, CLASSES)))


def transformer() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # torch draws fresh weights from its own generator alone
        network = build("benchmarks.networks:grey_vit", 10)
    return make_classifier(network, shape=(1, 28, 28))


def calm_images(count: int) -> Tensor:
    return 0.5 + 0.6 * (draw_images(count)[0] - 0.5)


class OfTwo(nn.Module):
    """Takes two images at a time, as graphs with a literal batch do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = conv(torch.cat([MAGENTA, -MAGENTA] * 2), 1.0), head(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x.view(2, *SHAPE)).relu())
