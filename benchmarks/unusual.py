"""Networks of other kinds than most image classifiers: recurrent, mixing, of tokens, of shuffled groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks import layouts
from benchmarks.layers import AttentionBlock, Staged


class Rows(nn.Module):
    """An LSTM that reads an image row by row, and a linear head on where it ends; for (N, 1, H, W)."""

    def __init__(self, num_classes: int, side: int, width: int = 96) -> None:
        super().__init__()
        self.lstm = nn.LSTM(side, width, batch_first=True)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x.squeeze(1))[0][:, -1])


class MixerBlock(nn.Module):
    """A two-layer network over tokens, one over channels (Tolstikhin et al. 2021, "MLP-Mixer", Fig. 1)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.over_channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.over_channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer on patches of 4 pixels, a mean over tokens."""

    def __init__(self, num_classes: int, channels: int, side: int, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock((side // 4) ** 2, width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.patches(x).flatten(2).transpose(1, 2))).mean(1))


class CompactTransformer(nn.Module):
    """Convolutions make the tokens, attention mixes and pools them (Hassani et al. 2021, "CCT", Section 3)."""

    def __init__(self, num_classes: int, channels: int, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(width // 2, width, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(AttentionBlock(width, 4) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.importance = nn.Linear(width, 1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.blocks(self.tokens(x).flatten(2).transpose(1, 2)))
        return self.fc((self.importance(tokens).softmax(1).transpose(1, 2) @ tokens).squeeze(1))


class ShuffleUnit(nn.Module):
    """Half the channels pass, half are filtered, both are dealt out anew (Ma et al. 2018, "ShuffleNet V2", Fig. 3c-d).

    With ``stride`` 2 both halves are filtered and there are twice as many channels.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = channels if stride == 2 else channels // 2
        self.path = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
        )  # fmt: skip
        self.side = nn.Sequential(
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.side(x), x) if self.stride == 2 else x.chunk(2, 1)
        both = torch.stack([left, self.path(right)], 2)
        return both.flatten(1, 2)


class ConvMixerBlock(nn.Module):
    """Each channel filtered 5x5 with a shortcut, then all channels mixed (Trockman and Kolter 2022, Fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filtered = nn.Sequential(
            nn.Conv2d(channels, channels, 5, 1, 2, groups=channels), nn.GELU(), nn.BatchNorm2d(channels)
        )
        self.mixed = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(x + self.filtered(x))


class GroupNormBlock(nn.Module):
    """Residual block with group norm and leaky ReLU: nothing in it depends on the batch (Wu and He 2018)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.GroupNorm(4, channels_in), nn.LeakyReLU(0.1), nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.GroupNorm(4, channels), nn.LeakyReLU(0.1), nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.path(x) + self.shortcut(x)


def shuffle(num_classes: int, channels: int) -> nn.Module:
    """ShuffleNet V2's layout for small images, narrow."""
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    units: list[nn.Module] = [ShuffleUnit(16, 2), ShuffleUnit(32, 1), ShuffleUnit(32, 2), ShuffleUnit(64, 1)]
    units.append(ShuffleUnit(64, 2))
    return Staged(num_classes, stem, units, 128)


def conv_mixer(num_classes: int, channels: int, width: int = 64, depth: int = 4) -> nn.Module:
    """ConvMixer: patches of 2 pixels, blocks of one size."""
    stem = nn.Sequential(nn.Conv2d(channels, width, 2, 2), nn.GELU(), nn.BatchNorm2d(width))
    return Staged(num_classes, stem, [ConvMixerBlock(width) for _ in range(depth)], width)


def group_norm(num_classes: int, channels: int) -> nn.Module:
    """Residual blocks without batch norm, and the largest value of each channel for the head."""
    blocks = [GroupNormBlock(16, 16, 1), GroupNormBlock(16, 32, 2), GroupNormBlock(32, 64, 2)]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 1, 1), *blocks, nn.GroupNorm(4, 64), nn.LeakyReLU(0.1),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, num_classes),
    )  # fmt: skip


def tanh_lenet(num_classes: int, channels: int, side: int) -> nn.Module:
    """LeNet-5 as it was (LeCun et al. 1998, Fig. 2): tanh and average pooling."""
    last = side // 4 - 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(16 * last * last, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, num_classes),
    )  # fmt: skip


def tutorial(num_classes: int, channels: int, side: int) -> nn.Module:
    """The network of PyTorch's MNIST example: two convolutions, dropout, and log probabilities for logits."""
    return nn.Sequential(*layouts.two_conv(num_classes, channels, side), nn.LogSoftmax(1))
