"""Torchvision classifiers with another head are recognised where their weights say enough, else named."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from auditor.errors import ArchitectureError
from auditor.loading import load_network
from auditor.loading.torch_weights.architectures import nearest, recognise

from .conftest import images, perturb

Build = Callable[[], nn.Module]


def with_head(network: nn.Module, path: str, head: nn.Module) -> nn.Module:
    owner, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(owner), leaf, head)
    return perturb(network)


REPLACED: dict[str, tuple[str, Build]] = {
    "dropout before": (
        "resnet18 with the head 'fc.1'",
        lambda: with_head(models.resnet18(), "fc", nn.Sequential(nn.Dropout(), nn.Linear(512, 7))),
    ),
    "named layers": (
        "shufflenet_v2_x0_5 with the head 'fc.out'",
        lambda: with_head(
            models.shufflenet_v2_x0_5(), "fc", nn.Sequential(OrderedDict(drop=nn.Dropout(), out=nn.Linear(1024, 7)))
        ),
    ),
    "no bias": (
        "resnet18 with the head 'fc'",
        lambda: with_head(models.resnet18(), "fc", nn.Linear(512, 7, bias=False)),
    ),
    "last layer of several": (
        "mobilenet_v2 with the head 'classifier.1.1'",
        lambda: with_head(models.mobilenet_v2(), "classifier.1", nn.Sequential(nn.Dropout(), nn.Linear(1280, 7))),
    ),
    "all of the head": (
        "mobilenet_v3_small with the head 'classifier'",
        lambda: with_head(models.mobilenet_v3_small(), "classifier", nn.Linear(576, 7)),
    ),
    "convolution": (
        "squeezenet1_1",
        lambda: with_head(models.squeezenet1_1(), "classifier.1", nn.Conv2d(512, 7, 1)),
    ),
}


@pytest.mark.parametrize("case", REPLACED)
def test_one_new_layer_is_recognised(tmp_path: Path, case: str) -> None:
    name, build = REPLACED[case]
    network = build()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    loaded = load_network(tmp_path / "model.pt")
    assert loaded.architecture == f"torchvision:{name}"
    assert loaded.num_classes == 7
    x = images(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x), rtol=1e-4, atol=1e-5)


def test_two_new_layers_are_not_guessed_at(tmp_path: Path) -> None:
    """What lies between them, a state dict does not say."""
    head = nn.Sequential(nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 7))
    state = with_head(models.resnet18(), "fc", head).state_dict()
    assert recognise(state) is None
    near = nearest(state)
    assert near is not None
    assert near.name == "resnet18"
    assert near.shared == 100
    assert "'fc.0.weight' (32, 512)" in near.sentence()
    assert "no 'fc.weight'" in near.sentence()
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ArchitectureError, match=re.escape("nearest is torchvision:resnet18, with 100 tensors alike")):
        load_network(tmp_path / "model.pt")


def test_a_layer_with_other_inputs_is_no_head() -> None:
    state = with_head(models.resnet18(), "fc", nn.Sequential(nn.Flatten(), nn.Linear(2048, 7))).state_dict()
    assert recognise(state) is None


def test_an_index_from_the_file_makes_no_long_network() -> None:
    state = models.resnet18(num_classes=7).state_dict()
    weight, bias = state.pop("fc.weight"), state.pop("fc.bias")
    assert recognise({**state, "fc.99999999.weight": weight, "fc.99999999.bias": bias}) is None


def test_nothing_is_nearest_to_other_networks() -> None:
    assert nearest({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3), "other": torch.zeros(3)}) is None
    assert nearest({"stem.weight": torch.zeros(3)}) is None
