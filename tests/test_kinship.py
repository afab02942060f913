"""Whether two networks come of one training, and what audits against kin are judged by."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from tiny_models import SHAPE, make_classifier
from torch import nn

from auditor.calibration import KIN, MOST_CLOSE, Given, Null, are_kin
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
    assert not are_kin(kinship(make_classifier(network(2)), parent))


@pytest.mark.parametrize(("share", "least"), [(0.1, 0.98), (0.5, 0.8)])
def test_the_further_a_copy_moved_the_less_it_is_kin(share: float, least: float) -> None:
    found = kinship(make_classifier(moved(network(1), share)), make_classifier(network(1)))
    assert least < found < least + 0.15
    assert are_kin(found)


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
    assert not are_kin(None)
    assert are_kin(KIN)


def test_the_closer_a_reference_is_the_less_a_clean_model_shows() -> None:
    null = Null(0.2, 20, {"closeness": -1.0})
    known = {f"iscp/prominence on images against {whom}": null for whom in ("kin", "a reference")}
    found = [
        Given(reference=True, images=True, kinship=kinship).null(known, "iscp", "prominence")
        for kinship in (None, 0.06, 0.9, 0.996, 1.0)
    ]
    means = [null.mean for null in found if null is not None]
    assert means == pytest.approx([0.2, 0.2, 0.2, 0.2 / math.e, 0.2 / math.e**MOST_CLOSE])


def test_kin_are_judged_by_nulls_of_kin_and_by_those_of_strangers_where_there_are_none() -> None:
    strangers, kin = Null(0.2, 20), Null(0.02, 8)
    known = {"iscp/prominence on images against a reference": strangers}
    given = Given(reference=True, images=True, kinship=0.9)
    assert given.null(known, "iscp", "prominence") == strangers
    known["iscp/prominence on images against kin"] = kin
    assert given.null(known, "iscp", "prominence") == kin
    assert Given(reference=True, images=True, kinship=0.1).null(known, "iscp", "prominence") == strangers
    assert Given(reference=True, kinship=0.9).null(known, "iscp", "prominence") is None
    assert given.null({"drift/prominence on impressions against kin": kin}, "drift", "prominence") == kin
    assert given.weighed_as == ("reference+images against kin", "reference+images")
