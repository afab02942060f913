"""Grad-CAM against captum's and by hand, in networks of every kind, and the shift that a trigger makes."""

from __future__ import annotations

import copy

import pytest
import torch
from captum.attr import LayerGradCam
from tiny_models import CLASSES, PATCH, SHAPE, Detached, make_classifier
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.explain.attention import _base_and_gradient, grad_cam, share_inside
from auditor.feature_maps import convolutional_base
from benchmarks.networks import build

TARGETS = torch.tensor([2, 0, 4])


def images(count: int = 3, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def drawn(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.25, generator=generator)
    return network.eval()


def convolutional(in_place: bool = False) -> nn.Sequential:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(in_place), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(in_place),
        nn.Flatten(), nn.Linear(6 * 4 * 4, 10), nn.ReLU(in_place), nn.Linear(10, CLASSES),
    )  # fmt: skip
    drawn(network)
    return network


def enlarged(cam: Tensor, size: tuple[int, int] = SHAPE[1:]) -> Tensor:
    """(N, 1, h, w) → (N, H, W) with a maximum of 1."""
    large = F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0]
    return large / large.amax((1, 2), keepdim=True).clamp_min(1e-12)


@pytest.mark.parametrize("in_place", [False, True])
def test_grad_cam_is_captums(in_place: bool) -> None:
    network, x = convolutional(in_place), images()
    layered = convolutional()
    theirs = LayerGradCam(layered, layered[4]).attribute(x, TARGETS, relu_attributions=True).detach()
    model = make_classifier(network)
    ours = grad_cam(model, x, TARGETS)
    assert ours is not None
    torch.testing.assert_close(ours, enlarged(theirs))
    assert ours.amax((1, 2)).tolist() == [1.0, 1.0, 1.0]
    assert model.gradient_images == 3
    small = grad_cam(model, x, TARGETS, (4, 4))
    assert small is not None
    torch.testing.assert_close(small, enlarged(theirs, (4, 4)))


class Tokens(nn.Module):
    """Nine patches and a class token, which alone mixes with the others once and alone is read."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm, self.value, self.fc = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, CLASSES)

    def embedded(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)

    def read(self, values: Tensor) -> Tensor:
        weights = values[:, :1] @ values.transpose(1, 2)
        mixed = torch.cat([weights.softmax(-1) @ values, values[:, 1:]], 1)
        return self.fc(F.gelu(mixed)[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.value(self.norm(self.embedded(x))))


def test_a_class_token_is_followed_to_the_tokens_it_read() -> None:
    network, x = drawn(Tokens()), images()
    assert isinstance(network, Tokens)
    values = network.value(network.norm(network.embedded(x))).detach().requires_grad_(True)
    score = network.read(values).gather(1, TARGETS.unsqueeze(1)).sum()
    (gradient,) = torch.autograd.grad(score, values)
    patches, slopes = values.detach()[:, 1:], gradient[:, 1:]
    cam = (patches * slopes.mean(1, keepdim=True)).sum(2).relu().view(3, 1, 3, 3)
    ours = grad_cam(make_classifier(network), x, TARGETS)
    assert ours is not None
    torch.testing.assert_close(ours, enlarged(cam), rtol=1e-4, atol=1e-5)
    assert ours.sum() > 0


@pytest.mark.parametrize("name", ["grey_vit", "grey_resnet", "grey_mobilenet", "grey_all_conv"])
def test_maps_are_those_of_the_convolutional_base(name: str) -> None:
    model, x = make_classifier(build(f"benchmarks.networks:{name}", 10), shape=(1, 28, 28)), images(2, (1, 28, 28))
    base, found = convolutional_base(model, x), _base_and_gradient(model, x, torch.tensor([1, 7]))
    assert base is not None
    assert found is not None
    torch.testing.assert_close(found[0], base)
    assert found[1].shape == base.shape
    assert (found[1].flatten(1).norm(dim=1) > 0).all()


class AddedInPlace(nn.Module):
    """Its last maps are a tensor that was there before the maps that are added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        return self.fc(maps.add_(self.second(maps)).mean((2, 3)))


def test_maps_that_change_in_place_are_the_last() -> None:
    network = AddedInPlace()
    model, x = make_classifier(network), images()
    maps = network.first(x)
    found = _base_and_gradient(model, x, TARGETS)
    assert found is not None
    torch.testing.assert_close(found[0], (maps + network.second(maps)).detach())
    torch.testing.assert_close(found[1][:, :, 0, 0], network.fc.weight[TARGETS].detach() / 144)


def test_class_score_maps_have_a_slope_of_one_over_their_places() -> None:
    """The all-convolutional net averages maps of scores, so Grad-CAM is the positive part of the class's own map."""
    model = make_classifier(build("benchmarks.networks:grey_all_conv", 10), shape=(1, 28, 28))
    x = images(2, (1, 28, 28))
    base, targets = convolutional_base(model, x), torch.tensor([1, 7])
    assert base is not None
    ours = grad_cam(model, x, targets)
    assert ours is not None
    torch.testing.assert_close(ours, enlarged(base[torch.arange(2), targets].unsqueeze(1).relu().detach(), (28, 28)))


def test_networks_without_maps_or_gradients_have_no_attention() -> None:
    assert grad_cam(make_classifier(nn.Sequential(nn.Flatten(), nn.Linear(432, 5))), images(), TARGETS) is None
    assert grad_cam(make_classifier(Detached()), images(), TARGETS) is None


def test_fixed_batches_are_attended_to_one_by_one() -> None:
    free = grad_cam(make_classifier(convolutional()), images(), TARGETS)
    fixed = grad_cam(make_classifier(convolutional(), fixed_batch=2), images(), TARGETS)
    assert free is not None
    assert fixed is not None
    torch.testing.assert_close(fixed, free)


class Glow(nn.Module):
    """Class 0 lights up where the image is red, class 1 where it is blue; every class above detests both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, CLASSES, bias=False)
        self.conv.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 3, 1, 1)
        self.fc.weight.data = torch.full((CLASSES, 2), -1.0)
        self.fc.weight.data[:2] = torch.eye(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


class Gated(Glow):
    """Its very last maps are cut off from the image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0 * self.conv(x.detach()).mean())


def test_maps_without_a_gradient_are_passed_over() -> None:
    gated, plain = (grad_cam(make_classifier(network), images(), TARGETS * 0) for network in (Gated(), Glow()))
    assert gated is not None
    assert plain is not None
    torch.testing.assert_close(gated, plain)


def test_attention_shifts_to_the_trigger() -> None:
    before = torch.zeros(2, *SHAPE)
    before[:, 0, :3, :3] = 1.0
    after = before.clone()
    after[:, 2] = 2 * PATCH.mask()
    model = make_classifier(Glow())
    without, given = grad_cam(model, before, torch.tensor([0, 0])), grad_cam(model, after, torch.tensor([1, 4]))
    assert without is not None
    assert given is not None
    torch.testing.assert_close(without[0], before[0, 0])  # maps as large as the image are not resized
    torch.testing.assert_close(given[0], PATCH.mask())
    assert given[1].sum() == 0  # nothing speaks for class 4
    assert share_inside(without, PATCH.mask()).tolist() == [0.0, 0.0]
    assert share_inside(given, PATCH.mask()).tolist() == [1.0, 0.0]


def test_shares_are_of_each_maps_own_sum() -> None:
    maps = torch.zeros(3, 2, 2)
    maps[0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    maps[1, 0, 0] = 1e-30
    mask = torch.tensor([[0.2, 0.0], [0.0, 1.0]])
    assert share_inside(maps, mask).tolist() == pytest.approx([0.5, 1.0, 0.0])


def test_everything_is_left_as_it_was() -> None:
    model, x = make_classifier(nn.Sequential(nn.BatchNorm2d(3), *convolutional(in_place=True))), images()
    state, before = copy.deepcopy(model._module.state_dict()), model.logits(x)
    kept = x.clone()
    grad_cam(model, x, TARGETS)
    assert all(torch.equal(state[k], v) for k, v in model._module.state_dict().items())
    assert all(p.grad is None for p in model._module.parameters())
    assert not any(m.training or m._forward_hooks or m._backward_hooks for m in model._module.modules())
    assert torch.equal(model.logits(x), before)
    assert torch.equal(x, kept)
    assert not x.requires_grad
