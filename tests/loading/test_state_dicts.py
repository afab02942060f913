"""Weights find their architecture: recognised, named, or taken from the suspect's ONNX graph."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from auditor.errors import ArchitectureError, ConfigError
from auditor.loading import load_network
from auditor.loading.torch_weights.architectures import recognise, torchvision_names
from auditor.loading.torch_weights.families import FAMILIES
from auditor.loading.torch_weights.heads import head_size

from .conftest import Export, images, perturb, small_cnn

BUILDERS = {
    "resnet18": {},
    "mobilenet_v3_small": {},
    "squeezenet1_1": {},
    "shufflenet_v2_x0_5": {},
    "mnasnet0_5": {},
    "regnet_x_400mf": {},
    "googlenet": {"init_weights": False, "aux_logits": False},
}


@pytest.mark.parametrize("name", BUILDERS)
def test_torchvision_with_43_classes_is_recognised(tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        network = (
            None if name.startswith("regnet") else torchvision.models.get_model(name, num_classes=43, **BUILDERS[name])
        )
    network = torchvision.models.get_model(name, num_classes=43) if network is None else network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        value.copy_(torch.rand(value.shape, generator=generator) * 0.05 + 0.01)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    started = time.process_time()
    loaded = load_network(tmp_path / "model.pt")
    assert time.process_time() - started < 4
    assert loaded.architecture == f"torchvision:{name}"
    assert loaded.num_classes == 43
    assert loaded.format == "state_dict"
    assert loaded.input_shape is None
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        expected, scores = network.eval()(x), loaded.module(x)
    assert torch.allclose(scores, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_every_torchvision_classifier_belongs_to_a_family() -> None:
    assert set(torchvision_names()) == {member for _, members in FAMILIES for member in members}


@pytest.mark.parametrize(("name", "size"), [("vit_l_16", 48), ("vit_b_32", 96)])
def test_a_vision_transformer_for_images_that_its_family_does_not_divide(name: str, size: int) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(name, num_classes=10, image_size=size).state_dict()
    small = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    found = recognise(small)
    assert found is not None
    assert found[0] == f"torchvision:{name}"


WRAPPERS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model, module.": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    "net, compiled": lambda state: {"net": {f"_orig_mod.module.{key}": value for key, value in state.items()}},
    "lightning": lambda state: {
        "state_dict": {f"model.net.{key}": value for key, value in state.items()},
        "lr": 0.1,
    },
    "half": lambda state: {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return perturb(torchvision.models.resnet18(num_classes=7))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_and_prefixes(tmp_path: Path, resnet: nn.Module, wrapper: str) -> None:
    torch.save(WRAPPERS[wrapper](resnet.state_dict()), tmp_path / "model.bin")
    loaded = load_network(tmp_path / "model.bin")
    assert loaded.architecture == "torchvision:resnet18"
    assert not loaded.module.training
    assert all(not p.requires_grad and p.dtype == torch.float32 for p in loaded.module.parameters())
    x = images(2, 3, 32, 32)
    tolerance = 2e-2 if wrapper == "half" else 1e-5
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), resnet(x), rtol=tolerance, atol=tolerance)


def test_safetensors_and_legacy_files(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "model.pt")
    torch.save(resnet.state_dict(), tmp_path / "model.safetensors", _use_new_zipfile_serialization=False)
    x = images(2, 3, 32, 32)
    formats = []
    for name in ("model.pt", "model.safetensors"):
        loaded = load_network(tmp_path / name)
        formats.append(loaded.format)
        assert loaded.num_classes == 7
        with torch.no_grad():
            assert torch.allclose(loaded.module(x), resnet(x), atol=1e-5)
    assert formats == ["safetensors", "state_dict"]


@pytest.mark.parametrize(
    ("names", "head"),
    [
        (["conv1.weight", "fc.weight", "layer4.1.conv2.weight"], "fc.weight"),
        (["classifier.10.weight", "classifier.9.weight", "features.0.weight"], "classifier.10.weight"),
        (["blocks.0.mlp.fc1.weight", "head.fc1.weight", "head.fc2.weight", "patch.weight"], "head.fc2.weight"),
        (["stem.weight", "fc.weight", "body.weight", "answer.weight"], "answer.weight"),
        (["a.weight", "b.weight"], "b.weight"),
    ],
)
def test_the_number_of_classes_in_the_order_of_the_alphabet_or_not(names: list[str], head: str) -> None:
    state = {name: torch.zeros(7 if name == head else 64, 3) for name in names}
    assert head_size(state) == 7


def test_other_channels_than_three(tmp_path: Path) -> None:
    network = torchvision.models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    perturb(network)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    loaded = load_network(tmp_path / "model.pt")
    assert loaded.architecture == "torchvision:resnet18"
    x = images(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x), atol=1e-5)


FACTORY = """
from torch import nn

def small(num_classes=10):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, num_classes))
"""


def _small(classes: int) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    return perturb(network)


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "callers_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "callers_networks", raising=False)
    return tmp_path


def test_arch_names_a_factory_in_the_current_folder(own_code: Path) -> None:
    network = _small(6)
    torch.save(network.state_dict(), own_code / "model.pt")
    path_before = list(sys.path)
    loaded = load_network(own_code / "model.pt", arch="callers_networks:small")
    assert loaded.architecture == "callers_networks:small"
    assert sys.path == path_before
    x = images(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x))


def test_arch_must_take_the_weights(own_code: Path, resnet: nn.Module) -> None:
    torch.save(resnet.state_dict(), own_code / "model.pt")
    with pytest.raises(
        ArchitectureError, match=r"expected weights of 'callers_networks:small', got missing '0.weight'"
    ):
        load_network(own_code / "model.pt", arch="callers_networks:small")
    with pytest.raises(ArchitectureError, match=r"'layer1.0.conv1.weight'|missing|unexpected"):
        load_network(own_code / "model.pt", arch="torchvision:resnet50")


@pytest.mark.parametrize("arch", ["resnet18", "torchvision:resnet19", "no_such_package:net", "callers_networks:absent"])
def test_arch_that_leads_nowhere(own_code: Path, resnet: nn.Module, arch: str) -> None:
    torch.save(resnet.state_dict(), own_code / "model.pt")
    with pytest.raises(ConfigError, match=r"expected .* got "):
        load_network(own_code / "model.pt", arch=arch)


def test_named_torchvision_architecture(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save(resnet.state_dict(), tmp_path / "model.pt")
    assert load_network(tmp_path / "model.pt", arch="torchvision:resnet18").architecture == "torchvision:resnet18"


class Named(nn.Module):
    """No batch norm, so that the exporter keeps every weight under its own name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
def test_reference_reuses_the_graph_of_the_suspect(export: Export, tmp_path: Path, dynamo: bool) -> None:
    suspect, reference = perturb(Named(), seed=1), perturb(Named(), seed=2)
    template = load_network(export(suspect, images(2, 1, 8, 8), dynamo=dynamo))
    torch.save(reference.state_dict(), tmp_path / "clean.pt")
    loaded = load_network(tmp_path / "clean.pt", template=template)
    x = images(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), reference(x), atol=1e-5)
        assert not torch.allclose(loaded.module(x), template.module(x), atol=1e-3)


def test_weights_that_fit_nothing_ask_for_the_architecture(export: Export, tmp_path: Path) -> None:
    template = load_network(export(perturb(Named()), images(2, 1, 8, 8)))
    torch.save(small_cnn().state_dict(), tmp_path / "clean.pt")
    for given in (None, template):
        with pytest.raises(ArchitectureError, match="--arch"):
            load_network(tmp_path / "clean.pt", template=given)
