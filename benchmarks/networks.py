"""The zoo's own architectures; torchvision's are named ``torchvision:resnet18`` and so on.

A factory called ``grey_...`` takes 1x28x28 images (MNIST, Fashion-MNIST), ``colour_...`` takes 3x32x32
(GTSRB). All return logits (N, K) and can be named on the auditor's command line as ``--arch
benchmarks.networks:colour_vgg``.
"""

from __future__ import annotations

import importlib

from torch import nn

from benchmarks import layouts, unusual
from benchmarks.layers import BiasMapCNN, NarrowResNet18, SmallViT


def grey_bias_map_cnn(num_classes: int = 10) -> nn.Module:
    return BiasMapCNN(num_classes)


def grey_lenet(num_classes: int = 10) -> nn.Module:
    return layouts.lenet(num_classes, 1, 28)


def colour_lenet(num_classes: int = 43) -> nn.Module:
    return layouts.lenet(num_classes, 3, 32)


def grey_vgg(num_classes: int = 10) -> nn.Module:
    return layouts.vgg(num_classes, 1, 28, (12, 24, 48))


def colour_vgg(num_classes: int = 43) -> nn.Module:
    return layouts.vgg(num_classes, 3, 32, (16, 32, 64))


def grey_all_conv(num_classes: int = 10) -> nn.Module:
    return layouts.all_conv(num_classes, 1)


def colour_all_conv(num_classes: int = 43) -> nn.Module:
    return layouts.all_conv(num_classes, 3)


def grey_resnet(num_classes: int = 10) -> nn.Module:
    return NarrowResNet18(num_classes, 1, 8)


def colour_resnet(num_classes: int = 43) -> nn.Module:
    return NarrowResNet18(num_classes, 3, 8)


def colour_resnet16(num_classes: int = 43) -> nn.Module:
    return NarrowResNet18(num_classes, 3, 16)


def grey_preact(num_classes: int = 10) -> nn.Module:
    return layouts.preact(num_classes, 1)


def colour_preact(num_classes: int = 43) -> nn.Module:
    return layouts.preact(num_classes, 3)


def colour_resnet20(num_classes: int = 43) -> nn.Module:
    return layouts.resnet20(num_classes, 3)


def grey_wrn(num_classes: int = 10) -> nn.Module:
    return layouts.preact(num_classes, 1, strides=(1, 2, 2))


def colour_wrn(num_classes: int = 43) -> nn.Module:
    return layouts.preact(num_classes, 3, strides=(1, 2, 2))


def grey_six_conv(num_classes: int = 10) -> nn.Module:
    return layouts.six_conv(num_classes, 1, 28)


def colour_six_conv(num_classes: int = 43) -> nn.Module:
    return layouts.six_conv(num_classes, 3, 32, dropout=(0.0, 0.2))


def grey_mobilenet(num_classes: int = 10) -> nn.Module:
    return layouts.mobilenet(num_classes, 1)


def colour_mobilenet(num_classes: int = 43) -> nn.Module:
    return layouts.mobilenet(num_classes, 3)


def grey_densenet(num_classes: int = 10) -> nn.Module:
    return layouts.densenet(num_classes, 1)


def colour_densenet(num_classes: int = 43) -> nn.Module:
    return layouts.densenet(num_classes, 3)


def grey_inception(num_classes: int = 10) -> nn.Module:
    return layouts.inception(num_classes, 1)


def colour_inception(num_classes: int = 43) -> nn.Module:
    return layouts.inception(num_classes, 3)


def grey_efficient(num_classes: int = 10) -> nn.Module:
    return layouts.efficient(num_classes, 1)


def colour_efficient(num_classes: int = 43) -> nn.Module:
    return layouts.efficient(num_classes, 3)


def grey_squeeze(num_classes: int = 10) -> nn.Module:
    return layouts.squeeze(num_classes, 1)


def colour_squeeze(num_classes: int = 43) -> nn.Module:
    return layouts.squeeze(num_classes, 3)


def grey_convnext(num_classes: int = 10) -> nn.Module:
    return layouts.convnext(num_classes, 1)


def colour_convnext(num_classes: int = 43) -> nn.Module:
    return layouts.convnext(num_classes, 3)


def grey_two_conv(num_classes: int = 10) -> nn.Module:
    return layouts.two_conv(num_classes, 1, 28)


def colour_four_conv(num_classes: int = 10) -> nn.Module:
    return layouts.four_conv(num_classes, 3, 32)


def grey_one_conv(num_classes: int = 10) -> nn.Module:
    return layouts.one_conv(num_classes, 1, 28)


def colour_one_conv(num_classes: int = 43) -> nn.Module:
    return layouts.one_conv(num_classes, 3, 32)


def grey_two_pools(num_classes: int = 10) -> nn.Module:
    return layouts.two_pools(num_classes, 1, 28)


def grey_three_conv(num_classes: int = 10) -> nn.Module:
    return layouts.three_conv(num_classes, 1, 28)


def colour_three_conv(num_classes: int = 10) -> nn.Module:
    return layouts.three_conv(num_classes, 3, 32)


def grey_two_norms(num_classes: int = 10) -> nn.Module:
    return layouts.two_norms(num_classes, 1, 28)


def colour_two_norms(num_classes: int = 43) -> nn.Module:
    return layouts.two_norms(num_classes, 3, 32)


def grey_two_pairs(num_classes: int = 10) -> nn.Module:
    return layouts.two_pairs(num_classes, 1, 28)


def colour_two_pairs(num_classes: int = 43) -> nn.Module:
    return layouts.two_pairs(num_classes, 3, 32)


def grey_strided(num_classes: int = 10) -> nn.Module:
    return layouts.strided(num_classes, 1, 28)


def colour_strided(num_classes: int = 43) -> nn.Module:
    return layouts.strided(num_classes, 3, 32)


def grey_mlp(num_classes: int = 10) -> nn.Module:
    return layouts.mlp(num_classes, 1, 28)


def grey_mlp_wide(num_classes: int = 10) -> nn.Module:
    return layouts.mlp(num_classes, 1, 28, (512,))


def grey_mlp_deep(num_classes: int = 10) -> nn.Module:
    return layouts.mlp(num_classes, 1, 28, (300, 200, 100))


def grey_mlp_narrow(num_classes: int = 10) -> nn.Module:
    return layouts.mlp(num_classes, 1, 28, (128, 64))


def colour_mlp_wide(num_classes: int = 43) -> nn.Module:
    return layouts.mlp(num_classes, 3, 32, (512, 256))


def grey_vit(num_classes: int = 10) -> nn.Module:
    return SmallViT(num_classes, 1, 28)


def colour_vit(num_classes: int = 43) -> nn.Module:
    return SmallViT(num_classes, 3, 32)


def grey_linear(num_classes: int = 10) -> nn.Module:
    return layouts.mlp(num_classes, 1, 28, ())


def grey_rows(num_classes: int = 10) -> nn.Module:
    return unusual.Rows(num_classes, 28)


def grey_mixer(num_classes: int = 10) -> nn.Module:
    return unusual.Mixer(num_classes, 1, 28)


def colour_mixer(num_classes: int = 43) -> nn.Module:
    return unusual.Mixer(num_classes, 3, 32)


def grey_compact_transformer(num_classes: int = 10) -> nn.Module:
    return unusual.CompactTransformer(num_classes, 1)


def colour_compact_transformer(num_classes: int = 43) -> nn.Module:
    return unusual.CompactTransformer(num_classes, 3)


def colour_shuffle(num_classes: int = 43) -> nn.Module:
    return unusual.shuffle(num_classes, 3)


def grey_conv_mixer(num_classes: int = 10) -> nn.Module:
    return unusual.conv_mixer(num_classes, 1)


def colour_conv_mixer(num_classes: int = 43) -> nn.Module:
    return unusual.conv_mixer(num_classes, 3)


def grey_group_norm(num_classes: int = 10) -> nn.Module:
    return unusual.group_norm(num_classes, 1)


def colour_group_norm(num_classes: int = 43) -> nn.Module:
    return unusual.group_norm(num_classes, 3)


def grey_tanh_lenet(num_classes: int = 10) -> nn.Module:
    return unusual.tanh_lenet(num_classes, 1, 28)


def grey_tutorial(num_classes: int = 10) -> nn.Module:
    return unusual.tutorial(num_classes, 1, 28)


def build(architecture: str, num_classes: int) -> nn.Module:
    """The network that ``torchvision:NAME`` or ``package.module:factory`` names, with fresh weights."""
    module, _, name = architecture.partition(":")
    if module == "torchvision":
        from torchvision import models

        return models.get_model(name, weights=None, num_classes=num_classes)
    network: nn.Module = getattr(importlib.import_module(module), name)(num_classes=num_classes)
    return network
