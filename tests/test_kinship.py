"""Whether two networks come of one training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_models import SHAPE, make_classifier
from torch import nn

from auditor.kinship import have_same_weights, kinship
from auditor.opening import open_classifier
from auditor.request import ModelOptions
from benchmarks import zoo


def network(seed: int, width: int = 12) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(
            nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
            nn.Linear(100 * width, 16), nn.ReLU(), nn.Linear(16, 5),
        )  # fmt: skip
        norm = made[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.uniform_(norm.weight, 0.2, 3.0)
        return made.eval()


def moved(module: nn.Module, share: float) -> nn.Module:
    """A copy whose weights moved by a share of their size."""
    own = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in own.parameters():
            weight += share * weight.std(correction=0) * torch.randn(weight.shape, generator=generator)
    return own


def test_a_network_is_its_own_kin_and_a_stranger_is_not() -> None:
    parent = make_classifier(network(1))
    assert kinship(parent, parent) == pytest.approx(1.0, abs=1e-5)
    assert kinship(make_classifier(network(2)), parent) < 0.3
    assert kinship(make_classifier(network(1, width=20)), parent) < 0.3  # few shapes in common


@pytest.mark.parametrize(("share", "least"), [(0.1, 0.98), (0.5, 0.8)])
def test_the_further_a_copy_moved_the_less_it_is_kin(share: float, least: float) -> None:
    found = kinship(make_classifier(moved(network(1), share)), make_classifier(network(1)))
    assert least < found < least + 0.15


def test_a_copy_saved_as_a_graph_with_folded_norms_is_kin_of_its_weights(tmp_path: Path) -> None:
    own = moved(network(1), 0.1)
    zoo.export(own, SHAPE, tmp_path / "copy.onnx")
    suspect, _ = open_classifier(tmp_path / "copy.onnx", ModelOptions(), device="cpu")
    assert kinship(suspect, make_classifier(network(1))) > 0.9


def test_the_same_network_in_two_files_is_told_from_a_copy(tmp_path: Path) -> None:
    zoo.export(network(1), SHAPE, tmp_path / "same.onnx")
    suspect, _ = open_classifier(tmp_path / "same.onnx", ModelOptions(), device="cpu")
    assert have_same_weights(suspect, make_classifier(network(1)))
    assert not have_same_weights(suspect, make_classifier(moved(network(1), 0.01)))
    assert not have_same_weights(suspect, make_classifier(network(1, width=20)))


def test_networks_without_weights_are_not_kin() -> None:
    plain = make_classifier(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(5)))
    assert kinship(plain, plain) == 0.0
    assert not have_same_weights(plain, plain)
