"""Layers that today's architectures are made of, in either exporter's form: same scores, same gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.loading import load_network

from .conftest import Export, images, perturb
from .test_onnx_networks import assert_agrees


class Layer(nn.Module):
    """8 channels of 12×12, one function of them, and a head that weights every place differently."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.weight = nn.Parameter(torch.ones(8, 8, 3, 3))
        self.line = nn.Linear(8, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self, self.stem(x)).flatten(1)
        ramp = torch.linspace(-1, 1, y.shape[1])
        return torch.stack([(y * ramp).mean(1), (y * ramp.square()).mean(1), (y * ramp.cos()).mean(1)], dim=1)


def standardised(net: Layer, x: Tensor) -> Tensor:
    """Weight standardisation (NFNet, BiT): the convolution's weights are computed."""
    weight = net.weight - net.weight.mean(dim=(1, 2, 3), keepdim=True)
    return F.conv2d(x, weight / (net.weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5), padding=1)


def blurred(net: Layer, x: Tensor) -> Tensor:
    """Anti-aliased downsampling (BlurPool)."""
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(8, 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=8)


def response(net: Layer, x: Tensor) -> Tensor:
    """Global response normalisation (ConvNeXt V2)."""
    norm = x.norm(p=2, dim=(2, 3), keepdim=True)
    return x * norm / (norm.mean(dim=1, keepdim=True) + 1e-6) + x


def windows(net: Layer, x: Tensor) -> Tensor:
    """Shifted windows (Swin): roll, partition, attend, put back."""
    n, c, h, w = x.shape
    x = torch.roll(x, (-2, -2), (2, 3)).reshape(n, c, h // 4, 4, w // 4, 4)
    tokens = net.line(x.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c))
    mixed = (tokens @ tokens.transpose(1, 2) / 3).softmax(-1) @ tokens
    back = mixed.reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
    return torch.roll(back, (2, 2), (2, 3))


def cosine(net: Layer, x: Tensor) -> Tensor:
    """Cosine attention with a clamped scale (Swin V2)."""
    tokens = F.normalize(net.line(x.flatten(2).transpose(1, 2)), dim=-1)
    scale = torch.clamp(net.line.bias.mean(), max=4.6).exp()
    return (tokens @ tokens.transpose(1, 2) * scale).softmax(-1) @ tokens


def squeezed(net: Layer, x: Tensor) -> Tensor:
    """Squeeze and excitation with hard gates (MobileNetV3), then a shuffle of channels."""
    x = x * F.hardsigmoid(net.line(x.mean(dim=(2, 3))))[:, :, None, None]
    return x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)


def einstein(net: Layer, x: Tensor) -> Tensor:
    return torch.einsum("nchw,cd,ndhv->nhwv", x, net.line.weight, x)


def patches(net: Layer, x: Tensor) -> Tensor:
    return F.pixel_shuffle(F.pixel_unshuffle(x, 3), 2) if x.shape[1] % 4 == 0 else x


def positions(net: Layer, x: Tensor) -> Tensor:
    """Rotary embedding and a learned table, resized."""
    table = F.interpolate(net.weight[:1, :, :, :], size=(12, 12), mode="bicubic", antialias=False)
    angle = torch.arange(12.0).outer(1 / 10 ** (torch.arange(4.0) / 4))
    first, second = (x + table).permute(0, 2, 3, 1).chunk(2, dim=-1)
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=-1)


def gated(net: Layer, x: Tensor) -> Tensor:
    first, second = F.glu(x, dim=1), torch.where(x > 0, x, 0.2 * (x.exp() - 1))
    return torch.cat([first, second, F.silu(x).cumsum(dim=2), x.clamp_min(0).square()], dim=1)


def pooled(net: Layer, x: Tensor) -> Tensor:
    """Pools of every kind, generalised mean among them, and the largest activations of each channel."""
    power = x.clamp(min=1e-3).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    largest = x.flatten(2).topk(3, dim=2).values.mean(-1)
    rest = [F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 2)).mean(3, keepdim=True).amax(2, keepdim=True)]
    spread = torch.var(x, dim=(2, 3)) + torch.logsumexp(x, dim=(2, 3))
    return torch.cat([power, largest, spread, *(part.flatten(1) for part in rest)], dim=1)


def resized(net: Layer, x: Tensor) -> Tensor:
    up = F.interpolate(x, scale_factor=2.0, mode="nearest")
    line = F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True)
    return torch.cat([F.max_pool2d(up, 2).flatten(1), line.flatten(1), F.avg_pool2d(x, 3, 2, 1).flatten(1)], dim=1)


def selected(net: Layer, x: Tensor) -> Tensor:
    """Indexing, flips, triangles and masks."""
    mixed = x[:, [3, 1, 0, 7]] + x[:, ::2].flip(3) + x[:, 1:5].roll(1, 1)
    mask = torch.ones(12, 12).tril(2).bool()
    return torch.cat([mixed.masked_fill(~mask, 0.5), torch.stack([x[:, -1], x[:, 2]], dim=1)], dim=1)


LAYERS = (
    standardised, blurred, response, windows, cosine, squeezed, einstein, patches, positions, gated, pooled, resized,
    selected,
)  # fmt: skip


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("layer", LAYERS)
def test_layer(export: Export, layer: Callable[[nn.Module, Tensor], Tensor], dynamo: bool) -> None:
    network = perturb(Layer(layer))
    options = {} if dynamo else {"opset_version": 17}
    loaded = load_network(export(network, images(2, 1, 12, 12), dynamo=dynamo, **options))
    assert loaded.fixed_batch is None
    assert_agrees(loaded, network, images(5, 1, 12, 12))
