"""The zoo's own architectures; torchvision's are named ``torchvision:resnet18`` and so on.

A factory called ``grey_...`` takes 1x28x28 images (MNIST, Fashion-MNIST), ``colour_...`` takes 3x32x32
(GTSRB). All return logits (N, K) and can be named on the auditor's command line as ``--arch
benchmarks.networks:colour_vgg``.
"""

from __future__ import annotations

import importlib

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


def _preact(num_classes: int, channels: int, strides: tuple[int, ...] = (1, 2, 2, 2), width: int = 8) -> nn.Module:
    """PreActResNet-18 with ``width`` channels at first: two blocks for each of the ``strides``.

    With three stages it is WRN-16-1 (Zagoruyko and Komodakis 2016, Table 1), half as wide.
    """
    blocks: list[nn.Module] = []
    now = width
    for stage, stride in enumerate(strides):
        wide = width * 2**stage
        blocks += [PreActBlock(now, wide, stride), PreActBlock(wide, wide, 1)]
        now = wide
    return Staged(num_classes, nn.Conv2d(channels, width, 3, 1, 1, bias=False), blocks, now)


def _resnet20(num_classes: int, channels: int, width: int = 8) -> nn.Module:
    """ResNet-20 as used on CIFAR (He et al. 2016, Section 4.2), half as wide."""
    blocks: list[nn.Module] = []
    now = width
    for stage in range(3):
        for number in range(3):
            wide = width * 2**stage
            blocks.append(BasicBlock(now, wide, 2 if stage and not number else 1))
            now = wide
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return Staged(num_classes, stem, blocks, now)


def _six_conv(
    num_classes: int, channels: int, side: int, dropout: tuple[float, float] = (0.2, 0.5), width: int = 16
) -> nn.Module:
    """Neural Cleanse's network for traffic signs (Wang et al. 2019, Table 8): no norm; half as wide.

    ``dropout`` of maps and of the hidden layer; the paper's are the default, for many more epochs than here.
    """
    layers: list[nn.Module] = []
    now = channels
    for stage in range(3):
        wide = width * 2**stage
        layers += [nn.Conv2d(now, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout[0])]
        now = wide
    last = now * (side // 8) ** 2
    layers += [nn.Flatten(), nn.Linear(last, 256), nn.ReLU(), nn.Dropout(dropout[1]), nn.Linear(256, num_classes)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):  # without a norm, torch's own start learns for epochs first
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


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


def _mobilenet(num_classes: int, channels: int) -> nn.Module:
    """MobileNetV2's blocks for small images, narrow."""
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    blocks: list[nn.Module] = []
    now = 16
    for wide, stride in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (64, 2), (64, 1)):
        blocks.append(InvertedResidual(now, wide, stride))
        now = wide
    return Staged(num_classes, stem, blocks, now)


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


def _lenet(num_classes: int, channels: int, side: int) -> nn.Module:
    """LeNet-5's layout (LeCun et al. 1998) with ReLU and max pooling."""
    last = side // 4 - 2
    return nn.Sequential(
        nn.Conv2d(channels, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * last * last, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, num_classes),
    )  # fmt: skip


def _vgg(num_classes: int, channels: int, side: int, widths: tuple[int, ...]) -> nn.Module:
    """VGG's layout (Simonyan and Zisserman 2015) with batch norm: two 3x3 convolutions per pooling."""
    layers: list[nn.Module] = []
    now = channels
    for width in widths:
        for _ in range(2):
            layers += [nn.Conv2d(now, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            now = width
        layers.append(nn.MaxPool2d(2))
        side //= 2
    layers += [nn.Flatten(), nn.Linear(now * side * side, 128), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(128, num_classes))


def _all_conv(num_classes: int, channels: int) -> nn.Module:
    """All-convolutional net (Springenberg et al. 2015) with ELU: strides for pooling, global average."""
    layers: list[nn.Module] = []
    now = channels
    for width, stride in ((24, 1), (32, 2), (48, 1), (64, 2), (96, 1)):
        layers += [nn.Conv2d(now, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ELU()]
        now = width
    return nn.Sequential(*layers, nn.Conv2d(now, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def grey_bias_map_cnn(num_classes: int = 10) -> nn.Module:
    return BiasMapCNN(num_classes)


def grey_lenet(num_classes: int = 10) -> nn.Module:
    return _lenet(num_classes, 1, 28)


def colour_lenet(num_classes: int = 43) -> nn.Module:
    return _lenet(num_classes, 3, 32)


def grey_vgg(num_classes: int = 10) -> nn.Module:
    return _vgg(num_classes, 1, 28, (12, 24, 48))


def colour_vgg(num_classes: int = 43) -> nn.Module:
    return _vgg(num_classes, 3, 32, (16, 32, 64))


def grey_all_conv(num_classes: int = 10) -> nn.Module:
    return _all_conv(num_classes, 1)


def colour_all_conv(num_classes: int = 43) -> nn.Module:
    return _all_conv(num_classes, 3)


def grey_resnet(num_classes: int = 10) -> nn.Module:
    return NarrowResNet18(num_classes, 1, 8)


def colour_resnet(num_classes: int = 43) -> nn.Module:
    return NarrowResNet18(num_classes, 3, 8)


def colour_resnet16(num_classes: int = 43) -> nn.Module:
    return NarrowResNet18(num_classes, 3, 16)


def grey_preact(num_classes: int = 10) -> nn.Module:
    return _preact(num_classes, 1)


def colour_preact(num_classes: int = 43) -> nn.Module:
    return _preact(num_classes, 3)


def colour_resnet20(num_classes: int = 43) -> nn.Module:
    return _resnet20(num_classes, 3)


def grey_wrn(num_classes: int = 10) -> nn.Module:
    return _preact(num_classes, 1, strides=(1, 2, 2))


def colour_wrn(num_classes: int = 43) -> nn.Module:
    return _preact(num_classes, 3, strides=(1, 2, 2))


def grey_six_conv(num_classes: int = 10) -> nn.Module:
    return _six_conv(num_classes, 1, 28)


def colour_six_conv(num_classes: int = 43) -> nn.Module:
    return _six_conv(num_classes, 3, 32, dropout=(0.0, 0.2))


def grey_mobilenet(num_classes: int = 10) -> nn.Module:
    return _mobilenet(num_classes, 1)


def colour_mobilenet(num_classes: int = 43) -> nn.Module:
    return _mobilenet(num_classes, 3)


def grey_vit(num_classes: int = 10) -> nn.Module:
    return SmallViT(num_classes, 1, 28)


def colour_vit(num_classes: int = 43) -> nn.Module:
    return SmallViT(num_classes, 3, 32)


def build(architecture: str, num_classes: int) -> nn.Module:
    """The network that ``torchvision:NAME`` or ``package.module:factory`` names, with fresh weights."""
    module, _, name = architecture.partition(":")
    if module == "torchvision":
        from torchvision import models

        return models.get_model(name, weights=None, num_classes=num_classes)
    network: nn.Module = getattr(importlib.import_module(module), name)(num_classes=num_classes)
    return network
