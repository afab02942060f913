"""``torch.save(network)``: read as data, put together again from torch's own layers, never executed."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from auditor.errors import ArchitectureError, AuditError, ConfigError, UnsafeFileError
from auditor.loading import LoadedNetwork, load_network
from auditor.loading.torch_weights.kept_objects import keeping
from auditor.opening import open_classifier
from auditor.request import ModelOptions

from .conftest import images, perturb, small_cnn


class Own(nn.Module):
    """A network whose class is somebody's own."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)
        self.register_buffer("passing", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu().mean((2, 3)))


class Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def loaded(value: Any, folder: Path) -> LoadedNetwork:
    path = folder / "model.pt"
    torch.save(value, path)
    return load_network(path)


def resnet_with_a_deep_head() -> nn.Module:
    network = torchvision.models.resnet18(num_classes=5)
    network.fc = nn.Sequential(nn.Linear(512, 16), nn.LeakyReLU(0.3), nn.Dropout(0.2), nn.Linear(16, 4))
    return perturb(network)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "layers in a row": (small_cnn, (1, 12, 12)),
    "a head that no state dict tells": (resnet_with_a_deep_head, (3, 32, 32)),
    "attention": (lambda: perturb(torchvision.models.vit_b_32(num_classes=3, image_size=32)), (3, 32, 32)),
    "auxiliary heads": (lambda: perturb(torchvision.models.googlenet(num_classes=3, init_weights=False)), (3, 64, 64)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_torchs_layers_are_put_together(tmp_path: Path, kind: str) -> None:
    make, shape = NETWORKS[kind]
    network = make()
    found = loaded(network, tmp_path)
    assert found.format == "pickled_module"
    assert not found.executed
    assert any("nothing in the file was executed" in note for note in found.notes)
    x = images(2, *shape)
    assert torch.allclose(found.module(x), network(x), atol=1e-5)
    assert not any(p.requires_grad for p in found.module.parameters())


@pytest.mark.parametrize("wrap", [lambda n: {"model": n, "epoch": 3}, nn.DataParallel, lambda n: n.half()])
def test_wrapped_networks(tmp_path: Path, wrap: Callable[[nn.Module], Any]) -> None:
    network = small_cnn()
    x = images(2, 1, 12, 12)
    expected = network(x)
    assert torch.allclose(loaded(wrap(network), tmp_path).module(x), expected, atol=2e-2)


def test_a_class_of_ones_own_needs_its_name(tmp_path: Path) -> None:
    network, path = perturb(Own()), tmp_path / "model.pt"
    torch.save({"net": network}, path)
    with pytest.raises(ArchitectureError, match=r"with the class '.*Own', without its code; name .*--arch"):
        load_network(path)
    found = load_network(path, arch=f"{__name__}:Own")
    x = images(2, 3, 8, 8)
    assert torch.allclose(found.module(x), network(x), atol=1e-6)
    assert any("weights were read as data, nothing was executed" in note for note in found.notes)


def test_weights_of_a_renamed_class_are_recognised(tmp_path: Path) -> None:
    class Mine(torchvision.models.SqueezeNet):
        """torchvision's network under another name."""

    globals()["Mine"] = Mine
    Mine.__qualname__ = "Mine"
    network = perturb(Mine("1_1", 6))
    found = loaded(network, tmp_path)
    assert found.architecture == "torchvision:squeezenet1_1"
    x = images(1, 3, 64, 64)
    assert torch.allclose(found.module(x), network(x), atol=1e-4)


def hooked(network: nn.Module) -> None:
    network.register_forward_hook(print)


def shadowed(network: nn.Module) -> None:
    network.__dict__["forward"] = "no method"


def with_a_function(network: nn.Module) -> None:
    network[2].act = nn.functional.relu  # type: ignore[index]


@pytest.mark.parametrize("change", [hooked, shadowed, with_a_function])
def test_what_could_change_a_layer_ends_it(tmp_path: Path, change: Callable[[nn.Module], None]) -> None:
    network = small_cnn()
    change(network)
    with pytest.raises((ArchitectureError, UnsafeFileError)):
        loaded(network, tmp_path)


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_a_call_beside_the_network_is_refused(tmp_path: Path, place: str) -> None:
    network, marker = small_cnn(), tmp_path / "marker"
    if place == "inside":
        network.__dict__["extra"] = Writes(marker)
    with pytest.raises(UnsafeFileError, match="mkdir"):
        loaded({"net": network, "extra": Writes(marker)} if place == "beside" else network, tmp_path)
    assert not marker.exists()


def test_an_object_that_is_no_module_is_refused(tmp_path: Path) -> None:
    network = small_cnn()
    network.__dict__["extra"] = pytest.ExitCode.OK
    with pytest.raises(UnsafeFileError, match="ExitCode"):
        loaded(network, tmp_path)


def test_modules_in_themselves(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    network._modules["again"] = network
    with pytest.raises(ArchitectureError):
        loaded(network, tmp_path)


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.hub.load", "somebody.call", "numpy.load"])
def test_names_that_no_network_has(name: str) -> None:
    assert keeping(["torch.nn.modules.linear.Linear", name]) is None


def test_a_pickle_that_calls_a_layer(tmp_path: Path) -> None:
    """A layer of a thousand million million weights is never made."""

    class Calls:
        def __reduce__(self) -> tuple[type, tuple[int, int]]:
            return nn.Linear, (10**9, 10**9)

    path = tmp_path / "model.pt"
    torch.save({"net": small_cnn(), "extra": Calls()}, path, pickle_module=pickle)
    assert load_network(path).format == "pickled_module"


def test_a_class_inside_is_the_one_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match=r"with the class '.*Own', without its code"):
        loaded(nn.Sequential(nn.Conv2d(3, 3, 1), Own()), tmp_path)


def test_a_loss_and_an_optimiser_beside_the_network(tmp_path: Path) -> None:
    network = small_cnn()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    value = {"model": network, "optimizer": optimizer, "criterion": nn.CrossEntropyLoss(), "epoch": 3}
    x = images(2, 1, 12, 12)
    assert torch.allclose(loaded(value, tmp_path).module(x), network(x), atol=1e-5)


class TimmsOwn(torchvision.models.SqueezeNet):
    """Stands for a class of timm's, which leaves its architecture's name in its networks."""

    def __init__(self) -> None:
        super().__init__("1_1", 7)
        self.pretrained_cfg = {"architecture": "squeezenet1_1", "url": ""}


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package timm whose only network is `TimmsOwn`."""
    monkeypatch.setattr(TimmsOwn, "__module__", "timm.models.own")
    for name in ("timm", "timm.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "timm.models.own", sys.modules[__name__])


@pytest.mark.usefixtures("timm")
def test_networks_of_timm_name_their_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = perturb(TimmsOwn()), tmp_path / "model.pt"
    # under other names than torchvision's, which would be recognised
    network.inner = network.classifier
    del network.classifier
    torch.save(network, path)
    asked: list[str] = []

    def build(name: str, *_: Any) -> nn.Module:
        asked.append(name)
        built = TimmsOwn()
        built.inner = built.classifier
        del built.classifier
        built.forward = lambda x: built.inner(built.features(x)).flatten(1)  # type: ignore[method-assign]
        return built

    monkeypatch.setattr("auditor.loading.torch_weights.architectures.build_timm", build)
    found = load_network(path)
    assert asked == ["squeezenet1_1"]
    assert found.architecture == "timm:squeezenet1_1"
    assert any("a pickled network of timm" in note for note in found.notes)


@pytest.mark.usefixtures("timm")
def test_networks_of_timm_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = TimmsOwn(), tmp_path / "model.pt"
    network.inner = network.classifier
    del network.classifier
    torch.save(network, path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"expected the package timm .* pip install timm"):
        load_network(path)


@pytest.mark.parametrize(
    ("place", "attribute", "value"), [(0, "stride", (0, 0)), (0, "padding", "evil"), (2, "output_size", (-5, "x"))]
)
def test_attributes_that_no_layer_takes_are_one_sentence(
    tmp_path: Path, place: int, attribute: str, value: object
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    setattr(network[place], attribute, value)
    path = tmp_path / "model.pt"
    torch.save(network, path)
    with pytest.raises(AuditError, match=r"^expected '?model.pt.* got: "):
        open_classifier(path, ModelOptions(input_size="3x16x16"), device="cpu")
