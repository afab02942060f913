"""What the zoo's networks are built of: blocks, and the networks that are classes of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BiasMapCNN(nn.Module):
    """The MNIST network of Borji, "Adversarial examples are useful too!" (2020), Fig. 23."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(4 * 4 * 50, 500)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(self.conv1(x).relu(), 2)
        x = torch.max_pool2d(self.conv2(x).relu(), 2)
        x = x.flatten(1)
        return self.fc2(self.fc1(x).relu())


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, Fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(out)) + self.shortcut(x)).relu()


class NarrowResNet18(nn.Module):
    """ResNet-18 as used on 32x32 images (3x3 stem, no first pooling), ``width`` channels at first."""

    def __init__(self, num_classes: int, channels: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        now = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            wide = width * 2**stage
            blocks += [BasicBlock(now, wide, stride), BasicBlock(wide, wide, 1)]
            now = wide
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(now, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class PreActBlock(nn.Module):
    """Pre-activation block (He et al. 2016, "Identity mappings in deep residual networks", Fig. 4e)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.norm1(x).relu()
        return self.conv2(self.norm2(self.conv1(active)).relu()) + self.shortcut(active)


class Staged(nn.Module):
    """A stem, stages of blocks, global average pooling and a linear head."""

    def __init__(self, num_classes: int, stem: nn.Module, blocks: list[nn.Module], last: int) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(last)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.stem(x))).relu().mean((2, 3)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018, "MobileNetV2", Fig. 4d)."""

    def __init__(self, channels_in: int, channels: int, stride: int, expand: int = 3) -> None:
        super().__init__()
        wide = channels_in * expand
        self.path = nn.Sequential(
            nn.Conv2d(channels_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.same = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.same else self.path(x)


class AttentionBlock(nn.Module):
    """Self-attention and a two-layer network, each after a layer norm and with a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] @ qkv[1].transpose(-1, -2)) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) with patches of 4 pixels and a mean over tokens."""

    def __init__(self, num_classes: int, channels: int, side: int, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, (side // 4) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(AttentionBlock(width, 4) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.fc(self.norm(self.blocks(tokens)).mean(1))


class DenseLayer(nn.Module):
    """Bottleneck layer whose channels are appended to what came in (Huang et al. 2017, "DenseNet", Section 3)."""

    def __init__(self, channels_in: int, growth: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.BatchNorm2d(channels_in), nn.ReLU(), nn.Conv2d(channels_in, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.path(x)], 1)


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al. 2015, Fig. 2b), with batch norm; ``4 * width`` channels out."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        half = width // 2

        def convolution(before: int, after: int, size: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, size, 1, size // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.branches = nn.ModuleList(
            [
                convolution(channels_in, width, 1),
                nn.Sequential(convolution(channels_in, half, 1), convolution(half, width, 3)),
                nn.Sequential(convolution(channels_in, half, 1), convolution(half, width, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(channels_in, width, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class SqueezeExcitation(nn.Module):
    """Every channel weighed by what all channels are on average (Hu et al. 2018, Section 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.SiLU(),
            nn.Conv2d(channels // 4, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class FusedBlock(nn.Module):
    """EfficientNetV2's early block (Tan and Le 2021, Fig. 2): expansion by a 3x3 convolution, excitation."""

    def __init__(self, channels_in: int, channels: int, stride: int, expand: int = 2) -> None:
        super().__init__()
        wide = channels_in * expand
        self.path = nn.Sequential(
            nn.Conv2d(channels_in, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            SqueezeExcitation(wide), nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.same = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.same else self.path(x)


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side (Iandola et al. 2016, "SqueezeNet", Section 3.2)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        narrow, half = channels // 4, channels // 2
        self.squeeze = nn.Sequential(nn.Conv2d(channels_in, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU())
        self.one, self.three = nn.Conv2d(narrow, half, 1), nn.Conv2d(narrow, half, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x)
        return torch.cat([self.one(squeezed), self.three(squeezed)], 1).relu()


class ConvNeXtBlock(nn.Module):
    """Each channel filtered 7x7, then a two-layer network a pixel (Liu et al. 2022, "A ConvNet for the 2020s", Fig. 4).

    With one group of all channels for the layer norm: the same without a change of layout.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(channels, channels, 7, 1, 3, groups=channels), nn.GroupNorm(1, channels),
            nn.Conv2d(channels, 3 * channels, 1), nn.GELU(), nn.Conv2d(3 * channels, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)
