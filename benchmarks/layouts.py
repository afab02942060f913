"""How the zoo's networks are laid out, for images of any channels; `networks` names each with its images."""

from __future__ import annotations

from torch import nn

from benchmarks.layers import (
    BasicBlock,
    ConvNeXtBlock,
    DenseLayer,
    Fire,
    FusedBlock,
    Inception,
    InvertedResidual,
    PreActBlock,
    Staged,
)


def preact(num_classes: int, channels: int, strides: tuple[int, ...] = (1, 2, 2, 2), width: int = 8) -> nn.Module:
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


def resnet20(num_classes: int, channels: int, width: int = 8) -> nn.Module:
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


def six_conv(
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


def mobilenet(num_classes: int, channels: int) -> nn.Module:
    """MobileNetV2's blocks for small images, narrow."""
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    blocks: list[nn.Module] = []
    now = 16
    for wide, stride in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (64, 2), (64, 1)):
        blocks.append(InvertedResidual(now, wide, stride))
        now = wide
    return Staged(num_classes, stem, blocks, now)


def lenet(num_classes: int, channels: int, side: int) -> nn.Module:
    """LeNet-5's layout (LeCun et al. 1998) with ReLU and max pooling."""
    last = side // 4 - 2
    return nn.Sequential(
        nn.Conv2d(channels, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * last * last, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, num_classes),
    )  # fmt: skip


def vgg(num_classes: int, channels: int, side: int, widths: tuple[int, ...]) -> nn.Module:
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


def two_norms(num_classes: int, channels: int, side: int) -> nn.Module:
    """What most first networks look like by now: convolution, batch norm and pooling, twice, and a hidden layer."""
    return nn.Sequential(
        nn.Conv2d(channels, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(48 * (side // 4) ** 2, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, num_classes),
    )  # fmt: skip


def two_pairs(num_classes: int, channels: int, side: int) -> nn.Module:
    """Keras' CNN for CIFAR-10: two convolutions per pooling, no norm, a hidden layer; half as wide."""
    layers: list[nn.Module] = []
    now = channels
    for wide in (16, 32):
        layers += [nn.Conv2d(now, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
        now = wide
    layers += [nn.Flatten(), nn.Linear(now * (side // 4) ** 2, 256), nn.ReLU(), nn.Dropout(0.5)]
    return as_keras(nn.Sequential(*layers, nn.Linear(256, num_classes)))


def strided(num_classes: int, channels: int, side: int) -> nn.Module:
    """Strides in place of pooling, batch norm, and the last maps straight into the answer."""
    layers: list[nn.Module] = []
    now = channels
    for wide, kernel in ((16, 5), (32, 3), (64, 3)):
        layers += [nn.Conv2d(now, wide, kernel, 2, kernel // 2), nn.BatchNorm2d(wide), nn.ReLU()]
        now, side = wide, (side + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(now * side**2, num_classes))


def all_conv(num_classes: int, channels: int) -> nn.Module:
    """All-convolutional net (Springenberg et al. 2015) with ELU: strides for pooling, global average."""
    layers: list[nn.Module] = []
    now = channels
    for width, stride in ((24, 1), (32, 2), (48, 1), (64, 2), (96, 1)):
        layers += [nn.Conv2d(now, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ELU()]
        now = width
    return nn.Sequential(*layers, nn.Conv2d(now, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def densenet(num_classes: int, channels: int, growth: int = 8, layers: int = 3) -> nn.Module:
    """DenseNet-BC with its stride at the stem (Huang et al. 2017, Table 1), short and narrow."""
    blocks: list[nn.Module] = []
    now = 2 * growth
    for stage in range(3):
        if stage:
            blocks += [nn.BatchNorm2d(now), nn.ReLU(), nn.Conv2d(now, now // 2, 1, bias=False), nn.AvgPool2d(2)]
            now //= 2
        for _ in range(layers):
            blocks.append(DenseLayer(now, growth))
            now += growth
    return Staged(num_classes, nn.Conv2d(channels, 2 * growth, 3, 2, 1, bias=False), blocks, now)


def inception(num_classes: int, channels: int) -> nn.Module:
    """GoogLeNet's modules (Szegedy et al. 2015) for small images: two, pooling, two."""
    stem = nn.Sequential(
        nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
    )
    blocks = [Inception(16, 8), Inception(32, 8), nn.MaxPool2d(2), Inception(32, 16), Inception(64, 16)]
    return Staged(num_classes, stem, blocks, 64)


def efficient(num_classes: int, channels: int) -> nn.Module:
    """EfficientNetV2's fused blocks with excitation (Tan and Le 2021) for small images, narrow."""
    stem = nn.Sequential(nn.Conv2d(channels, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.SiLU())
    blocks: list[nn.Module] = []
    now = 12
    for wide, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (48, 2), (48, 1)):
        blocks.append(FusedBlock(now, wide, stride))
        now = wide
    return Staged(num_classes, stem, blocks, now)


def squeeze(num_classes: int, channels: int) -> nn.Module:
    """SqueezeNet's layout (Iandola et al. 2016, Table 1) for small images, narrow."""
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    blocks = [Fire(16, 32), Fire(32, 32), nn.MaxPool2d(2), Fire(32, 64), Fire(64, 64), Fire(64, 96)]
    return Staged(num_classes, stem, blocks, 96)


def convnext(num_classes: int, channels: int) -> nn.Module:
    """ConvNeXt's layout (Liu et al. 2022) for small images, narrow: cells of 2x2, two stages of two blocks."""
    stem = nn.Sequential(nn.Conv2d(channels, 24, 2, 2), nn.GroupNorm(1, 24))
    blocks = [ConvNeXtBlock(24), ConvNeXtBlock(24), nn.GroupNorm(1, 24), nn.Conv2d(24, 48, 2, 2)]
    return Staged(num_classes, stem, [*blocks, ConvNeXtBlock(48), ConvNeXtBlock(48)], 48)


def mlp(num_classes: int, channels: int, side: int, widths: tuple[int, ...] = (256, 128)) -> nn.Module:
    """No convolution at all: hidden layers of these widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    now = channels * side * side
    for width in widths:
        layers += [nn.Linear(now, width), nn.ReLU()]
        now = width
    return nn.Sequential(*layers, nn.Linear(now, num_classes))


def two_conv(num_classes: int, channels: int, side: int) -> nn.Module:
    """The network of Keras' and of PyTorch's first example for digits: two convolutions, one pool, a hidden layer.

    Nearly all of its weights are in the hidden layer, which looks at maps of half the image's side.
    """
    last = 64 * ((side - 4) // 2) ** 2
    features = [nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(last, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, num_classes)]
    return nn.Sequential(*features, nn.Dropout(0.25), *head)


def four_conv(num_classes: int, channels: int, side: int) -> nn.Module:
    """Keras' example for CIFAR-10: two pairs of convolutions, each with pool and dropout, and a hidden layer of 512."""
    layers: list[nn.Module] = []
    for given, made in ((channels, 32), (32, 64)):
        layers += [nn.Conv2d(given, made, 3, padding=1), nn.ReLU(), nn.Conv2d(made, made, 3), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
        side = (side - 2) // 2
    layers += [nn.Flatten(), nn.Linear(64 * side**2, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, num_classes)]
    return nn.Sequential(*layers)


def as_keras(network: nn.Module) -> nn.Module:
    """The same network, its weights begun as Keras begins them (Glorot and Bengio 2010, uniform), biases at 0.

    Torch begins the first weights behind a flattened map at less than half of that. Where no training image is ever
    lit they stay as they were begun, and a few pixels there do more.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return network


def one_conv(num_classes: int, channels: int, side: int) -> nn.Module:
    """The shortest of Keras' tutorials: a convolution, a pool, a hidden layer of 128 that sees the map."""
    seen = 32 * ((side - 2) // 2) ** 2
    features = [nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return as_keras(nn.Sequential(*features, nn.Linear(seen, 128), nn.ReLU(), nn.Linear(128, num_classes)))


def two_pools(num_classes: int, channels: int, side: int) -> nn.Module:
    """Keras' "Simple MNIST convnet": two convolutions, each with a pool, and no hidden layer."""
    seen = 64 * (((side - 2) // 2 - 2) // 2) ** 2
    return as_keras(
        nn.Sequential(
            nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(seen, num_classes),
        )
    )  # fmt: skip


def three_conv(num_classes: int, channels: int, side: int) -> nn.Module:
    """TensorFlow's tutorial on images: three convolutions, two pools, a hidden layer of 64."""
    seen = 64 * (((side - 2) // 2 - 2) // 2 - 2) ** 2
    return as_keras(
        nn.Sequential(
            nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(seen, 64), nn.ReLU(), nn.Linear(64, num_classes),
        )
    )  # fmt: skip
