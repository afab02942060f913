"""Networks for small images, recognised by their weights: against the forward passes that are usually written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.errors import ArchitectureError
from auditor.loading import load_network
from auditor.loading.torch_weights.small_networks import recognise_small


def conv(given: int, made: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, size, stride, size // 2, bias=False)


class Basic(nn.Module):
    """He et al., 2016a."""

    def __init__(self, given: int, made: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(given, made, 3, stride), nn.BatchNorm2d(made)
        self.conv2, self.bn2 = conv(made, made), nn.BatchNorm2d(made)
        self.added, self.stride, self.option = made - given, stride, option
        if given != made and option != "padded":
            setattr(self, option, nn.Sequential(conv(given, made, 1, stride), nn.BatchNorm2d(made)))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added and self.option == "padded":
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        elif self.added:
            x = getattr(self, self.option)(x)
        return F.relu(out + x)


class Bottleneck(nn.Module):
    def __init__(self, given: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(given, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, 4 * inner, 1), nn.BatchNorm2d(4 * inner)
        self.shortcut = nn.Sequential()
        if given != 4 * inner:
            self.shortcut = nn.Sequential(conv(given, 4 * inner, 1, stride), nn.BatchNorm2d(4 * inner))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class PreActivated(nn.Module):
    """He et al., 2016b; with ``wide``, as in WideResNet's code."""

    def __init__(self, given: int, made: int, stride: int, wide: bool = False) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(given), conv(given, made, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(made), conv(made, made)
        self.name = "convShortcut" if wide else "shortcut"
        if given != made:
            projection = conv(given, made, 1, stride)
            setattr(self, self.name, projection if wide else nn.Sequential(projection))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        x = getattr(self, self.name)(out) if hasattr(self, self.name) else x
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + x


class PreBottleneck(nn.Module):
    def __init__(self, given: int, inner: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(given), conv(given, inner, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(inner), conv(inner, inner, 3, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(inner), conv(inner, 4 * inner, 1)
        if given != 4 * inner:
            self.shortcut = nn.Sequential(conv(given, 4 * inner, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        x = self.shortcut(out) if hasattr(self, "shortcut") else x
        return self.conv3(F.relu(self.bn3(self.conv2(F.relu(self.bn2(self.conv1(out))))))) + x


def staged(
    block: Callable[[int, int, int], nn.Module], stem: int, widths: tuple[int, ...], depth: int, grow: int
) -> list[nn.Sequential]:
    stages, given = [], stem
    for number, width in enumerate(widths):
        blocks = []
        for i in range(depth):
            blocks.append(block(given, width, 2 if number and not i else 1))
            given = width * grow
        stages.append(nn.Sequential(*blocks))
    return stages


class Net(nn.Module):
    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        stem: int,
        widths: tuple[int, ...],
        depth: int,
        *,
        grow: int = 1,
        normed: bool = True,
        head: str = "linear",
    ) -> None:
        super().__init__()
        self.conv1 = conv(3, stem)
        if normed:
            self.bn1 = nn.BatchNorm2d(stem)
        stages = staged(block, stem, widths, depth, grow)
        self.stages = [f"layer{i}" for i in range(1, len(stages) + 1)]
        for name, stage in zip(self.stages, stages, strict=True):
            setattr(self, name, stage)
        self.head = head
        setattr(self, head, nn.Linear(widths[-1] * grow, 7))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = F.relu(self.bn1(out)) if hasattr(self, "bn1") else out
        for name in self.stages:
            out = getattr(self, name)(out)
        out = F.avg_pool2d(out, out.shape[-1])
        return getattr(self, self.head)(out.view(out.size(0), -1))


class Wide(nn.Module):
    """WideResNet."""

    def __init__(self, depth: int, widen: int) -> None:
        super().__init__()
        widths = (16 * widen, 32 * widen, 64 * widen)
        self.conv1 = conv(3, 16)
        stages = staged(lambda *a: PreActivated(*a, wide=True), 16, widths, (depth - 4) // 6, 1)
        for name, stage in zip(("block1", "block2", "block3"), stages, strict=True):
            holder = nn.Module()
            holder.layer = stage
            setattr(self, name, holder)
        self.bn1, self.fc = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], 7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            out = block.layer(out)
        out = F.avg_pool2d(F.relu(self.bn1(out)), 8)
        return self.fc(out.view(-1, out.shape[1]))


class Functional(nn.Module):
    """Blocks of one `nn.Sequential`, stages counted from the stem, as projects on CIFAR-100 have it."""

    def __init__(self, given: int, inner: int, stride: int, grow: int) -> None:
        super().__init__()
        made = inner * grow
        layers = [conv(given, inner, 3, stride), nn.BatchNorm2d(inner), nn.ReLU(inplace=True), conv(inner, made)]
        if grow > 1:
            layers = [conv(given, inner, 1), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
            layers += [conv(inner, inner, 3, stride), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
            layers.append(conv(inner, made, 1))
        self.residual_function = nn.Sequential(*layers, nn.BatchNorm2d(made))
        self.shortcut = nn.Sequential()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(conv(given, made, 1, stride), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        return nn.ReLU(inplace=True)(self.residual_function(x) + self.shortcut(x))


class FromConv2(nn.Module):
    def __init__(self, depth: int, grow: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        stages = staged(lambda *a: Functional(*a, grow), 8, FOUR, depth, grow)
        self.conv2_x, self.conv3_x, self.conv4_x, self.conv5_x = stages
        self.avg_pool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(FOUR[-1] * grow, 7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(self.conv1(x)))))
        return self.fc(self.avg_pool(out).view(out.size(0), -1))


class VGG(nn.Module):
    def __init__(self, plan: tuple[int | str, ...], *, norm: bool = True, head: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        given = 3
        for width in plan:
            if isinstance(width, int):
                layers.append(nn.Conv2d(given, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
                given = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers, nn.AvgPool2d(1, 1))
        self.classifier = head or nn.Linear(given, 7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.features(x)
        return self.classifier(out.view(out.size(0), -1))


def hidden(*first: nn.Module) -> nn.Sequential:
    """Two more linear layers behind the first."""
    return nn.Sequential(*first, nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 7))


PLAN = (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M")
FOUR, THREE = (8, 16, 32, 64), (16, 32, 64)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "ResNet-20, padded": (lambda: Net(lambda *a: Basic(*a, "padded"), 16, THREE, 3), "ResNet of 20 layers"),
    "ResNet-32, projected": (lambda: Net(lambda *a: Basic(*a, "shortcut"), 16, THREE, 5), "ResNet of 32 layers"),
    "ResNet-20 of a hub": (
        lambda: Net(lambda *a: Basic(*a, "downsample"), 16, THREE, 3, head="fc"),
        "ResNet of 20 layers",
    ),
    "ResNet-18": (lambda: Net(lambda *a: Basic(*a, "shortcut"), 8, FOUR, 2), "ResNet of 18 layers"),
    "ResNet-50": (lambda: Net(Bottleneck, 8, FOUR, 2, grow=4), "ResNet of 26 layers"),
    "PreActResNet-18": (lambda: Net(PreActivated, 8, FOUR, 2, normed=False), "pre-activation ResNet of 18 layers"),
    "pre-activation, normed stem": (lambda: Net(PreActivated, 8, FOUR, 2), "pre-activation ResNet of 18 layers"),
    "PreActResNet-50": (
        lambda: Net(PreBottleneck, 8, FOUR, 2, grow=4, normed=False),
        "pre-activation ResNet of 26 layers",
    ),
    "WRN-16-1": (lambda: Wide(16, 1), "WideResNet of"),
    "WRN-22-2": (lambda: Wide(22, 2), "WideResNet of"),
    "ResNet-18, counted from conv2": (lambda: FromConv2(2, 1), "ResNet of 18 layers"),
    "ResNet-26, counted from conv2": (lambda: FromConv2(2, 4), "ResNet of 26 layers"),
    "VGG-11": (lambda: VGG(PLAN), "VGG of 9 layers"),
    "VGG-11 without batch norm, with dropout": (
        lambda: VGG(PLAN, norm=False, head=hidden(nn.Dropout(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout())),
        "VGG of 11 layers",
    ),
    "VGG-11 with hidden layers": (
        lambda: VGG(PLAN, head=hidden(nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Dropout())),
        "VGG of 11 layers",
    ),
}


def trained(network: nn.Module) -> nn.Module:
    """With statistics and scales that are not as torch starts them."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_computes_what_its_code_does(name: str) -> None:
    build, called = NETWORKS[name]
    network = trained(build())
    found = recognise_small(network.state_dict())
    assert found is not None
    assert found[0].startswith(called)
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(found[1].eval()(x), network(x), atol=1e-5)


@pytest.mark.parametrize("name", ["ResNet-20, padded", "PreActResNet-18"])
def test_greys_of_other_sizes(name: str) -> None:
    network = trained(NETWORKS[name][0]())
    network.conv1 = conv(1, network.conv1.out_channels)
    found = recognise_small(network.state_dict())
    assert found is not None
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(found[1].eval()(x), network(x), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tensor_more_or_less_is_another_network(name: str) -> None:
    state = NETWORKS[name][0]().state_dict()
    assert recognise_small(state | {"layer1.0.se.weight": torch.zeros(3)}) is None
    for missing in ("bias", "running_var"):
        key = next((key for key in reversed(state) if key.endswith(missing)), "features.0.bias")
        assert recognise_small({k: v for k, v in state.items() if k != key}) is None


class Pooling(Net):
    """torchvision's network with a small stem, and a pool behind it or none."""

    def __init__(self, pooled: bool) -> None:
        super().__init__(lambda *a: Basic(*a, "downsample"), 16, (16, 32, 48, 64), 2, head="fc")
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            out = getattr(self, name)(out)
        return self.fc(out.mean((2, 3)))


@pytest.mark.parametrize("pooled", [False, True])
def test_a_pool_behind_the_stem_is_told_by_what_batch_norm_remembers(pooled: bool) -> None:
    torch.manual_seed(3)
    network = Pooling(pooled)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.momentum = 0.5
    smooth = F.interpolate(torch.randn(64, 3, 16, 16), scale_factor=2, mode="bilinear")
    for _ in range(8):
        network.train()(smooth)
    found = recognise_small(network.eval().state_dict())
    assert found is not None
    assert found[0] == "ResNet of 18 layers for small images" + ", with a pool" * pooled
    with torch.no_grad():
        assert torch.allclose(found[1].eval()(smooth), network(smooth), atol=1e-4)


def test_untrained_ones_with_torchvision_names_may_have_a_pool_or_none() -> None:
    assert recognise_small(Net(lambda *a: Basic(*a, "downsample"), 8, FOUR, 2, head="fc").state_dict()) is None


def test_shapes_that_ask_for_more_than_the_file_holds() -> None:
    state = NETWORKS["ResNet-18"][0]().state_dict()
    wide = torch.zeros(0).expand(10**6, 0)[:, :, None, None].expand(-1, -1, 3, 3)
    for key in ("conv1.weight", "layer4.1.conv2.weight", "layer1.0.conv1.weight"):
        assert recognise_small(state | {key: wide}) is None
    assert recognise_small({"conv1.weight": torch.zeros(()), "fc.weight": torch.zeros(3)}) is None
    features = {"features.0.weight": torch.zeros(4, 3, 3, 3)}
    assert recognise_small(features | {"classifier.weight": torch.zeros(2, 4)}) is None


def test_a_checkpoint_of_a_benchmark_loads_and_says_what_it_was_taken_for(tmp_path: Path) -> None:
    network = trained(NETWORKS["PreActResNet-18"][0]())
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    picture.save(tmp_path / "0.png")
    png = Image.open(tmp_path / "0.png")
    png.load()
    torch.save(
        {
            "model_name": "preactresnet18",
            "num_classes": 7,
            "model": network.state_dict(),
            "img_size": [32, 32, 3],
            "clean_data": "cifar10",
            "bd_train": {"x": [picture, png], "y": [0, 0], "poison_indicator": np.ones(2)},
        },
        tmp_path / "attack_result.pt",
    )
    loaded = load_network(tmp_path / "attack_result.pt")
    assert loaded.architecture == "pre-activation ResNet of 18 layers for small images"
    assert any("put together by the names and shapes of its weights" in note for note in loaded.notes)
    assert loaded.input_shape == (3, 32, 32)
    assert any("says that its images are 3×32×32" in note for note in loaded.notes)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x), atol=1e-5)


def test_names_of_data_parallel_and_counters_of_old_files(tmp_path: Path) -> None:
    network = trained(NETWORKS["ResNet-20, padded"][0]())
    old = {f"module.{key}": value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save({"state_dict": old, "best_prec1": 91.7}, tmp_path / "model.th")
    assert load_network(tmp_path / "model.th").architecture == "ResNet of 20 layers for small images"


def test_others_are_asked_for_by_name(tmp_path: Path) -> None:
    state = NETWORKS["ResNet-18"][0]().state_dict() | {"layer1.0.se.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ArchitectureError, match="--arch"):
        load_network(tmp_path / "model.pt")
