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


def grey_vgg(num_classes: int = 10) -> nn.Module:
    return _vgg(num_classes, 1, 28, (12, 24, 48))


def colour_vgg(num_classes: int = 43) -> nn.Module:
    return _vgg(num_classes, 3, 32, (16, 32, 64))


def grey_all_conv(num_classes: int = 10) -> nn.Module:
    return _all_conv(num_classes, 1)


def colour_all_conv(num_classes: int = 43) -> nn.Module:
    return _all_conv(num_classes, 3)


def grey_resnet(num_classes: int = 10) -> nn.Module:
    return NarrowResNet18(num_classes, 1)


def colour_resnet(num_classes: int = 43) -> nn.Module:
    return NarrowResNet18(num_classes, 3)


def build(architecture: str, num_classes: int) -> nn.Module:
    """The network that ``torchvision:NAME`` or ``package.module:factory`` names, with fresh weights."""
    module, _, name = architecture.partition(":")
    if module == "torchvision":
        from torchvision import models

        return models.get_model(name, weights=None, num_classes=num_classes)
    network: nn.Module = getattr(importlib.import_module(module), name)(num_classes=num_classes)
    return network
