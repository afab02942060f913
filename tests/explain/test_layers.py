"""Filters that a trigger excites, and images that excite filters, on networks whose answers are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import torch
from known_filters import MAGENTA, OfTwo, calm_images, conv, fully_connected, head, rng, transformer
from tiny_models import PATCH, SHAPE, make_classifier
from torch import Tensor, nn

from auditor.classifier import Classifier
from auditor.errors import ModelMismatchError
from auditor.explain.layers import (
    ActivationMaximisation,
    compared_layers,
    end_layers,
    excited_filters,
    maximise,
)
from auditor.feature_maps import FeatureMap, base_name, feature_maps
from auditor.settings import values_of

PLAN = ActivationMaximisation()


# layers


def found_as(*functions: str, side: int = 4) -> list[FeatureMap]:
    return [FeatureMap(name, torch.zeros(1, 2, side, side)) for name in functions]


def test_activations_are_compared_else_convolutions_else_all() -> None:
    assert compared_layers(found_as("conv2d", "relu_", "add", "conv2d", "gelu.default")) == (1, 4)
    assert compared_layers(found_as("conv2d.default", "add", "conv2d")) == (0, 2)
    assert compared_layers(found_as("matmul", "add")) == (0, 1)
    assert compared_layers([]) == ()
    assert [base_name(n) for n in ("relu", "relu_", "relu_.default", "clamp_min_")] == ["relu"] * 3 + ["clamp_min"]


def test_of_many_layers_some_are_compared_at_even_distances() -> None:
    chosen = compared_layers(found_as(*("conv2d", "relu") * 46), most=16)
    assert chosen == tuple(range(1, 92, 6))  # 46 activations: every third one
    assert len(compared_layers(found_as(*["relu"] * 100))) == 16
    assert compared_layers(found_as(*["relu"] * 100))[-1] == 99


def test_the_ends_are_the_first_convolutions_activation_and_the_deepest() -> None:
    assert end_layers(found_as("conv2d", "batch_norm", "relu", "conv2d", "relu", "max_pool2d")) == (2, 4)
    assert end_layers(found_as("conv2d", "layer_norm", "linear", "gelu")) == (0, 3)
    assert end_layers([*found_as("conv2d"), *found_as("relu", side=2)]) == (0, 1)  # of other maps
    assert end_layers(found_as("conv2d", "relu")) == (1,)
    assert end_layers(found_as("matmul", "add")) == (0, 1)
    assert end_layers([]) == ()


# filters that rise


def planted(filters: int = 12, where: int = 5) -> Classifier:
    """Random filters; and one that is silent, but where it sees two magenta pixels beside each other."""
    noise = torch.randn(filters, 3, 1, 1, generator=rng()) * 0.3
    noise[where] = MAGENTA[0]
    bias = [0.0] * filters
    bias[where] = -1.6
    second = torch.randn(filters, filters, 1, 2, generator=rng()) * 0.2
    second[:, where] = 0
    second[where] = 0
    second[where, where] = 1
    both = [conv(noise, bias), nn.ReLU(inplace=True), conv(second), nn.ReLU(inplace=True)]
    return make_classifier(nn.Sequential(*both, head(filters)))


def test_the_planted_filter_rises_most_in_both_layers() -> None:
    model, images = planted(), calm_images(20)
    found = excited_filters(model, images, PATCH.put_on(images), most=3)
    assert {f.layer for f in found} == set(end_layers(feature_maps(model, images[:2])))
    for layer in {f.layer for f in found}:
        first, *rest = [f for f in found if f.layer == layer]
        assert first.filter == 5
        assert all(first.rise > 3 * other.rise > 0 for other in rest)
        assert len(rest) <= 2
    nothing = excited_filters(model, images, images)
    assert nothing == ()


def test_rises_are_in_deviations_of_the_images_before() -> None:
    weight = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 0.01]]).view(4, 3, 1, 1)
    model = make_classifier(nn.Sequential(conv(weight), head(4)))
    before, after = torch.rand(9, *SHAPE, generator=rng()), torch.rand(4, *SHAPE, generator=rng())
    after[:, 0] += 0.3
    after[:, 2] += 0.1  # lowers the third filter, raises the fourth
    values = [(x.unsqueeze(1) * weight.view(1, 4, 3, 1, 1)).sum(2).mean((2, 3)) for x in (before, after)]
    spread = values[0].std(0)
    expected = (values[1].mean(0) - values[0].mean(0)) / torch.maximum(spread, 0.1 * spread.mean())
    assert float(spread[3]) < 0.1 * float(spread.mean())
    order = [i for i in expected.argsort(descending=True).tolist() if expected[i] > 0]
    found = excited_filters(model, before, after, layers=[0])
    assert [f.filter for f in found] == order
    assert 2 not in order
    assert [f.rise for f in found] == pytest.approx(expected[order].tolist(), rel=1e-3)
    assert [f.layer for f in found] == [0] * len(order)


def test_layers_are_taken_as_given_and_must_be_there() -> None:
    model, images = planted(), calm_images(4)
    found = excited_filters(model, images, PATCH.put_on(images), layers=[3, 0], most=1)
    assert [(f.layer, f.filter) for f in found] == [(3, 5), (0, 5)]
    with pytest.raises(ModelMismatchError, match="expected a layer"):
        excited_filters(model, images, images, layers=[17])
    with pytest.raises(ValueError, match="2 images before"):
        excited_filters(model, images[:1], images)
    assert excited_filters(fully_connected(), images, PATCH.put_on(images)) == ()


# images that excite


def test_a_colour_detectors_image_is_its_colour() -> None:
    weights = torch.cat([MAGENTA, -MAGENTA])
    model = make_classifier(nn.Sequential(conv(weights, 1.0), nn.ReLU(), head(2)))
    magenta, green = maximise(model, 1, [0, 1], PLAN, rng())
    assert torch.equal(magenta, torch.tensor([1.0, 0, 1]).view(3, 1, 1).expand(SHAPE))
    assert torch.equal(green, torch.tensor([0.0, 1, 0]).view(3, 1, 1).expand(SHAPE))


def test_an_edge_detectors_image_is_its_edge() -> None:
    """Windows that do not overlap: the maximum is 1 where the weight is positive, and else 0."""
    across = torch.tensor([[1.0, 1, -1, -1]]).expand(3, 4, 4)
    speckled = torch.randn(3, 4, 4, generator=rng()).sign()
    weights = torch.stack([across, across.transpose(1, 2), speckled])
    model = make_classifier(nn.Sequential(conv(weights, stride=4), head(3)))
    images = maximise(model, 0, [2, 0, 1], PLAN, rng())
    assert images.shape == (3, *SHAPE)
    for image, weight in zip(images, weights[[2, 0, 1]], strict=True):
        assert torch.equal(image, (weight > 0).float().tile(1, 3, 3))


def test_overlapping_edges_alternate_behind_a_rectifier() -> None:
    """Of relu(left − right) over all places, no more than every second can be 1: stripes."""
    edge = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2) / 3
    model = make_classifier(nn.Sequential(conv(edge), nn.ReLU(), head(1)))
    (image,) = maximise(model, 1, [0], PLAN, rng())
    found = feature_maps(model, torch.stack([image, torch.rand(SHAPE, generator=rng())]))[1].values.sum((1, 2, 3))
    assert found[0] > 72 / 2  # twelve rows of six falls; ascent stops at stripes of uneven widths
    assert found[0] > 2 * found[1]


def test_a_silent_filter_is_looked_for() -> None:
    """At mid-grey the rectified filter gives nothing and has no gradient."""
    model = make_classifier(nn.Sequential(conv(torch.ones(1, 3, 1, 1), -1.9), nn.ReLU(), head(1)))
    assert feature_maps(model, torch.full((2, *SHAPE), 0.5))[1].values.max() == 0
    (image,) = maximise(model, 1, [0], PLAN, rng())
    assert feature_maps(model, image.repeat(2, 1, 1, 1))[1].values[0].max() > 1  # white gives 1.1


def test_the_best_image_on_the_way_is_kept() -> None:
    """With a step of 1 the ascent jumps over the maximum at 0.6 for ever."""

    class Tuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = conv(torch.ones(2, 3, 1, 1) / 3), head(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((1 - (self.conv(x) - 0.6) ** 2).sigmoid())

    model = make_classifier(Tuned())
    plan = ActivationMaximisation(step_size=1.0, steps=5, noise=0.0)
    (image,) = maximise(model, 3, [0], plan, rng())
    assert image.tolist() == torch.full(SHAPE, 0.5).tolist()


def test_smoothness_smooths_and_is_off_by_default() -> None:
    assert values_of(PLAN)["smoothness"] == 0
    speckled = torch.randn(1, *SHAPE, generator=rng())
    model = make_classifier(nn.Sequential(conv(torch.cat([speckled, -speckled]), padding=1), head(2)))
    plain, smooth = (
        maximise(model, 0, [0], ActivationMaximisation(steps=10, smoothness=s), rng())[0] for s in (0, 1.5)
    )

    def variation(image: Tensor) -> float:
        return float(image.diff(dim=1).abs().mean() + image.diff(dim=2).abs().mean())

    assert variation(smooth) < 0.5 * variation(plain)
    sums = feature_maps(model, torch.stack([plain, smooth, torch.full(SHAPE, 0.5)]))[0].values[:, 0].sum((1, 2))
    assert sums[0] > sums[1] > sums[2]


def test_images_ascend_in_one_batch_and_the_network_is_left_alone() -> None:
    model = planted()
    before = {name: value.clone() for name, value in model._module.state_dict().items()}
    passes, seen = model.gradient_images, []

    def track(items: Iterable[int], label: str) -> Iterator[int]:
        seen.append(label)
        yield from items

    plan = ActivationMaximisation(steps=4)
    images = maximise(model, 1, [5, 0, 1], plan, rng(), track)
    assert model.gradient_images - passes == 3 * 5
    assert seen == ["images that excite layer 1"]
    assert torch.equal(images, maximise(model, 1, [5, 0, 1], plan, rng()))
    assert not images.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model._module.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model._module.parameters())
    assert not any(m._forward_hooks for m in model._module.modules())
    assert maximise(model, 1, [], plan, rng()).shape == (0, *SHAPE)


def test_missing_layers_and_filters_are_said() -> None:
    model = planted()
    for layer, filters in ((40, [0]), (0, [12]), (-1, [0])):
        with pytest.raises(ModelMismatchError, match="expected"):
            maximise(model, layer, filters, PLAN, rng())
    with pytest.raises(ModelMismatchError, match="of the 0"):
        maximise(fully_connected(), 0, [0], PLAN, rng())


def test_fixed_batches_are_filled() -> None:
    model, images = make_classifier(OfTwo(), fixed_batch=2), calm_images(5)
    magenta = torch.tensor([1.0, 0, 1]).view(3, 1, 1).expand(SHAPE)
    found = maximise(model, 1, [0, 1, 2], PLAN, rng())
    assert torch.equal(found, torch.stack([magenta, 1 - magenta, magenta]))
    assert {f.filter for f in excited_filters(model, images, PATCH.put_on(images))} == {0, 2}


class Places(nn.Module):
    """Subtracts from a bias that is computed on the way: with one image, that looks like another map."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.full((1, 2, *SHAPE[1:]), 6.0))
        self.conv, self.head = conv(torch.cat([MAGENTA, -MAGENTA]), 1.0), head(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.places * 0.5 - self.conv(x)).relu())


@pytest.mark.parametrize("count", [1, 2])
def test_layers_are_counted_alike_whatever_the_number_of_images(count: int) -> None:
    model = make_classifier(Places())
    assert len(feature_maps(model, torch.rand(1, *SHAPE))) == 4
    images, magenta = calm_images(8), torch.tensor([1.0, 0, 1]).view(3, 1, 1).expand(SHAPE)
    (found,) = {f.layer for f in excited_filters(model, images[:7], PATCH.put_on(images[:count]))}
    assert found == 2
    for layer, image in ((0, magenta), (1, 1 - magenta), (2, 1 - magenta)):
        assert torch.equal(maximise(model, layer, [0] * count, PLAN, rng()), image.repeat(count, 1, 1, 1))


def test_transformers_have_filters_too() -> None:
    model = transformer()
    images = torch.rand(8, 1, 28, 28, generator=rng())
    triggered = images.clone()
    triggered[..., -12:, -12:] = 1.0
    found = excited_filters(model, images, triggered, most=1)
    names = [m.function for m in feature_maps(model, images)]
    assert [names[f.layer] for f in found] == ["conv2d", "gelu"]
    before = feature_maps(model, torch.full((2, 1, 28, 28), 0.5))
    for f in found:
        image = maximise(model, f.layer, [f.filter], ActivationMaximisation(steps=10), rng())
        assert image.shape == (1, 1, 28, 28)
        assert image.min() >= 0
        assert image.max() <= 1
        after = feature_maps(model, image.repeat(2, 1, 1, 1))[f.layer].values[0, f.filter].sum()
        assert after > before[f.layer].values[0, f.filter].sum() + 1
