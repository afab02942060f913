"""What torch.onnx.export writes today loads, computes what torch computes, and passes gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from auditor.loading import LoadedNetwork, load_network

from .conftest import Export, images, perturb, small_cnn
from .graphs import linear_model, saved

AGREEMENT = 1e-4


def assert_agrees(loaded: LoadedNetwork, network: nn.Module, x: Tensor) -> None:
    """Same scores as torch at another batch size than the export's, and the same input gradient."""
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    scores, expected = loaded.module(ours), network(theirs)
    assert scores.shape == expected.shape
    scale = expected.detach().abs().max()
    assert scale > 1e-3
    assert (scores - expected).abs().max() <= AGREEMENT * scale
    weights = images(1, *expected.shape[1:], seed=7)
    (gradient,) = torch.autograd.grad((scores * weights).sum(), ours)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), theirs)
    assert wanted.abs().max() > 0
    # over all pixels: where rounding moves a value across a rectifier's zero, single ones differ by more
    assert (gradient - wanted).norm() <= 1e-3 * wanted.norm()


ACTIVATIONS: tuple[nn.Module, ...] = (
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.ELU(0.7),
    nn.SELU(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.SiLU(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Mish(),
    nn.Softplus(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.PReLU(),
    nn.LogSoftmax(dim=1),
)

POOLS: tuple[nn.Module, ...] = (
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d(5, stride=3, ceil_mode=True),
    nn.AvgPool2d(2),
    nn.AvgPool2d(3, stride=2, padding=1),
    nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    nn.AdaptiveAvgPool2d(4),
    nn.AdaptiveMaxPool2d(1),
    nn.ConstantPad2d((1, 2, 0, 1), 0.5),
    nn.ReflectionPad2d(1),
    nn.ReplicationPad2d((0, 1, 2, 0)),
    nn.Upsample(scale_factor=2, mode="nearest"),
    nn.Upsample(size=(17, 19), mode="bilinear"),
    nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(8, 8, 2)),
)


class Branches(nn.Module):
    """One output column a branch: its mean, weighted by position so that no shift goes unseen."""

    def __init__(self, branches: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        columns = []
        for branch in self.branches:
            y = branch(x)
            ramp = (1 + torch.arange(y.shape[-1] * y.shape[-2]) / 10).reshape(y.shape[-2:])
            columns.append((y * ramp).mean(dim=(1, 2, 3)))
        return torch.stack(columns, dim=1)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("branches", [ACTIVATIONS, POOLS], ids=["activations", "pools and pads"])
def test_operations(export: Export, branches: tuple[nn.Module, ...], dynamo: bool) -> None:
    network = perturb(Branches(branches))
    x = images(5, 1, 12, 12)
    loaded = load_network(export(network, images(2, 1, 12, 12), dynamo=dynamo))
    assert_agrees(loaded, network, x)
    ours, theirs = loaded.module(x), network(x)
    for column, branch in enumerate(branches):
        scale = theirs[:, column].abs().max()
        assert (ours - theirs)[:, column].abs().max() <= AGREEMENT * scale, branch


class Views(nn.Module):
    """View, permute, chunk, mean, max, softmax: what hand-written heads are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.group = nn.GroupNorm(2, 8)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.stem(x))
        tokens = self.norm(x.view(x.shape[0], 8, -1).permute(0, 2, 1))
        first, second = tokens.chunk(2, dim=-1)
        mixed = torch.softmax(first @ second.transpose(1, 2) / 2, dim=-1) @ second
        pooled = mixed.mean(dim=1) + mixed.amax(dim=1) + tokens[:, 0, :4]
        return torch.softmax(self.head(pooled), dim=1)


@pytest.mark.parametrize("dynamic", [True, False], ids=["any batch", "batch 1"])
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
def test_views_at_any_batch(export: Export, dynamic: bool, dynamo: bool) -> None:
    network = perturb(Views())
    path = export(network, images(2 if dynamic else 1, 1, 6, 6), dynamic=dynamic, dynamo=dynamo)
    loaded = load_network(path)
    assert loaded.fixed_batch is None
    assert_agrees(loaded, network, images(5, 1, 6, 6))


@pytest.mark.parametrize(("batch", "dynamo"), [(1, True), (4, True), (1, False)])
def test_literal_batch_is_freed(export: Export, batch: int, dynamo: bool) -> None:
    network = small_cnn()
    path = export(network, images(batch, 1, 12, 12), dynamic=False, dynamo=dynamo)
    loaded = load_network(path)
    assert loaded.fixed_batch is None
    assert_agrees(loaded, network, images(7, 1, 12, 12))


class AcrossTheBatch(nn.Module):
    """Mixes the images of a batch, so that no other batch size means the same."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        mixed = x.reshape(1, 3 * 16).expand(3, 3 * 16)
        return self.head(mixed * (1 + x.reshape(3, 16).sum(1, keepdim=True)))


def test_a_batch_that_cannot_be_freed_is_reported(export: Export) -> None:
    network = perturb(AcrossTheBatch())
    loaded = load_network(export(network, images(3, 1, 4, 4), dynamic=False))
    assert loaded.fixed_batch == 3
    assert any("batch of 3" in note for note in loaded.notes)
    x = images(3, 1, 4, 4)
    assert torch.allclose(loaded.module(x), network(x), atol=1e-5)


def _tiny_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 16, 2, 4, 48, 96, num_classes=10)


TORCHVISION = {
    "resnet18, batch 1": (lambda: torchvision.models.resnet18(num_classes=10), 32, False),
    "mobilenet_v2": (lambda: _short_mobilenet(), 32, True),
    "vgg11_bn": (lambda: _narrow_vgg(), 32, True),
    "vit": (_tiny_vit, 32, True),
    "vit, batch 1": (_tiny_vit, 32, False),
    "convnext, batch 1": (lambda: _tiny_convnext(), 32, False),
}


def _short_mobilenet() -> nn.Module:
    """MobileNetV2 with 5 of its 17 blocks, for speed of the export."""
    blocks = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]
    return torchvision.models.mobilenet_v2(num_classes=10, inverted_residual_setting=blocks)


def _narrow_vgg() -> nn.Module:
    """VGG-11-BN with its head of 100 million weights narrowed, for speed."""
    network = torchvision.models.vgg11_bn(num_classes=10, init_weights=False)
    network.classifier = nn.Sequential(nn.Linear(512 * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10))
    return network


def _tiny_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_default_export(export: Export, name: str) -> None:
    build, size, dynamic = TORCHVISION[name]
    network = perturb(build())
    path = export(network, images(2 if dynamic else 1, 3, size, size), dynamic=dynamic)
    loaded = load_network(path)
    assert loaded.input_shape == (3, size, size)
    assert loaded.num_classes == 10
    assert loaded.layout == "nchw"
    assert loaded.fixed_batch is None
    assert_agrees(loaded, network, images(3, 3, size, size))


def test_resnet18_legacy_export(export: Export) -> None:
    network = perturb(torchvision.models.resnet18(num_classes=10))
    loaded = load_network(export(network, images(1, 3, 32, 32), dynamic=False, dynamo=False))
    assert_agrees(loaded, network, images(3, 3, 32, 32))


@pytest.mark.parametrize("opset", [13, 18])
def test_opsets(export: Export, opset: int) -> None:
    network = small_cnn(nn.GELU())
    loaded = load_network(export(network, images(2, 1, 12, 12), opset_version=opset, dynamo=opset >= 18))
    assert_agrees(loaded, network, images(3, 1, 12, 12))


class ChannelsLastInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = small_cnn()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.permute(0, 3, 1, 2))


def test_nhwc_is_guessed(export: Export) -> None:
    network = ChannelsLastInput().eval()
    loaded = load_network(export(network, images(2, 12, 12, 1)))
    assert loaded.layout == "nhwc"
    assert loaded.input_shape == (1, 12, 12)
    assert_agrees(loaded, network, images(3, 12, 12, 1))


def test_open_image_size(export: Export, tmp_path: Path) -> None:
    network = perturb(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    )
    path = tmp_path / "open.onnx"
    axes = {"input": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(network, (images(2, 3, 16, 16),), path, dynamo=False, input_names=["input"], dynamic_axes=axes)
    loaded = load_network(path)
    assert loaded.input_shape is None
    assert_agrees(loaded, network, images(3, 3, 24, 20))


def test_converted_graph_has_no_shape_arithmetic_left(export: Export) -> None:
    """Shapes are numbers after loading, so that a pass neither builds nor reads back small tensors."""
    network = perturb(Views())
    loaded = load_network(export(network, images(2, 1, 6, 6), dynamo=False))
    kinds = {type(module).__name__ for module in loaded.module.modules()}
    assert not kinds & {"Shape", "Size", "OnnxShape", "Cast"}


@pytest.mark.parametrize(
    ("dtype", "dynamo", "agreement"),
    [
        (torch.float16, True, 1e-2),
        (torch.float16, False, 1e-2),
        (torch.bfloat16, True, 1e-3),
        (torch.bfloat16, False, 5e-2),  # this exporter rounds what it folds together to 8 bits
    ],
)
def test_half_precision_weights_are_computed_in_float32(
    export: Export, dtype: torch.dtype, dynamo: bool, agreement: float
) -> None:
    network = small_cnn()
    half = export(network.to(dtype), images(2, 1, 12, 12).to(dtype), dynamo=dynamo)
    network.float()
    loaded = load_network(half)
    tensors = [tensor for tensor in loaded.module.state_dict().values() if tensor.is_floating_point()]
    assert tensors
    assert all(tensor.dtype == torch.float32 for tensor in tensors)
    assert any("float32" in note for note in loaded.notes)
    x = images(3, 1, 12, 12)
    scores, expected = loaded.module(x), network(x)
    assert (scores - expected).abs().max() <= agreement * expected.abs().max()


def test_a_file_that_names_no_producer(tmp_path: Path) -> None:
    """As Paddle's exporter writes it: the name is there, and empty."""
    model = linear_model()
    model.producer_name, model.producer_version = "", ""
    path = saved(model, tmp_path)
    assert path.read_bytes()[2:6] == b"\x12\0\x1a\0"
    assert load_network(path).num_classes == 2
