"""Maps are found in any graph, and watching leaves the network as it was."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CLASSES, make_classifier
from torch import nn

from auditor.feature_maps import as_grid, base_size, feature_maps, layer_at, shifted_logits
from benchmarks.networks import build


def test_a_convolutional_base_is_the_last_map_before_it_is_flattened() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 14 * 14, CLASSES),
    )  # fmt: skip
    model = make_classifier(network, shape=(1, 28, 28))
    assert base_size(model) == (6, 14, 14)
    names = [m.function for m in feature_maps(model, torch.rand(2, 1, 28, 28))]
    assert [n for n in names if n == "conv2d"] == ["conv2d", "conv2d"]


def test_a_transformers_tokens_are_a_grid() -> None:
    model = make_classifier(build("benchmarks.networks:grey_vit", 10), shape=(1, 28, 28))
    size = base_size(model)
    assert size is not None
    assert size[1] == size[2] > 1


def test_a_class_token_is_left_out() -> None:
    grid = as_grid(torch.arange(2 * 10 * 3.0).view(2, 10, 3), 2)
    assert grid is not None
    assert grid.shape == (2, 3, 3, 3)
    assert float(grid[0, 0, 0, 0]) == 3.0


def test_fully_connected_networks_have_none() -> None:
    assert base_size(make_classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), shape=(1, 28, 28))) is None


def test_maps_carry_gradients_and_hooks_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
    model = make_classifier(network, shape=(1, 28, 28))
    images = torch.rand(3, 1, 28, 28, requires_grad=True)
    last = feature_maps(model, images)[-1].values
    (gradient,) = torch.autograd.grad(last.sum(), images)
    assert gradient.abs().sum() > 0
    assert not any(m._forward_hooks for m in model._module.modules())


def layered() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, CLASSES),
    )  # fmt: skip


def test_a_shift_is_added_to_the_channels_of_one_layer_and_moves_answers_alone() -> None:
    network = layered()
    model = make_classifier(network, shape=(1, 28, 28))
    images = torch.rand(5, 1, 28, 28)
    layer = layer_at(model, images, 0.9)
    assert layer is not None
    assert (layer.position, layer.channels, layer.lowest) == (1, 6, 0.0)
    with torch.no_grad():
        maps = network[:4](images)
    assert layer.length == pytest.approx(float(maps.square().sum(1).mean((1, 2)).sqrt().median()), rel=1e-4)
    shift = torch.randn(5, 6, requires_grad=True)
    found = shifted_logits(model, images, layer, shift)
    expected = network[4:]((maps + shift[:, :, None, None]).clamp_min(0))
    torch.testing.assert_close(found, expected)
    before = model.gradient_images
    (gradient,) = torch.autograd.grad(shifted_logits(model, images, layer, shift).sum(), shift)
    assert gradient.shape == (5, 6)
    assert model.gradient_images == before + 5
    torch.testing.assert_close(model.logits(images), network(images))


def test_tokens_are_shifted_in_their_last_dimension() -> None:
    model = make_classifier(build("benchmarks.networks:grey_vit", 10), shape=(1, 28, 28))
    images = torch.rand(3, 1, 28, 28)
    layer = layer_at(model, images, 0.9)
    assert layer is not None
    still = shifted_logits(model, images, layer, torch.zeros(3, layer.channels))
    torch.testing.assert_close(still, model.logits(images))
    assert not torch.allclose(shifted_logits(model, images, layer, torch.ones(3, layer.channels)), still)


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner = nn.Conv2d(1, 6, 4, stride=4), nn.Linear(6, 9)
        self.last = nn.Linear(9, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.inner(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))


def test_channels_may_come_last() -> None:
    network = ChannelsLast()
    model = make_classifier(network, shape=(1, 28, 28))
    images, shift = torch.rand(3, 1, 28, 28), torch.rand(3, 9)
    layer = layer_at(model, images, 0.9)
    assert layer is not None
    assert layer.channels == 9
    maps = torch.relu(network.inner(network.conv(images).permute(0, 2, 3, 1)))
    expected = network.last((maps + shift[:, None, None]).mean((1, 2)))
    torch.testing.assert_close(shifted_logits(model, images, layer, shift), expected)


def test_networks_without_such_a_layer_have_none() -> None:
    plain = make_classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), shape=(1, 28, 28))
    assert layer_at(plain, torch.rand(2, 1, 28, 28), 0.8) is None
    fixed = make_classifier(layered(), shape=(1, 28, 28))
    fixed.fixed_batch = 4
    assert layer_at(fixed, torch.rand(4, 1, 28, 28), 0.8) is None
