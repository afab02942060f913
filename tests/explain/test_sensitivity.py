"""Sensitivity maps against captum's and by hand, and guided backpropagation for every way to write a ReLU."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, Saliency
from tiny_models import CLASSES, SHAPE, Detached, Probabilities, Templates, draw_images, make_classifier
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.errors import ConfigError, ModelMismatchError
from auditor.explain.guided import GuidedBackpropagation, relus
from auditor.explain.sensitivity import METHODS, Method, Sensitivity, as_picture, sensitivity

PLAN = Sensitivity(samples=4, steps=8)
TARGETS = torch.tensor([2, 0, 4])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(network: nn.Module) -> nn.Module:
    """Weights from a generator of their own, large enough for the logits to differ."""
    generator = rng(3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.25, generator=generator)
    return network.eval()


def convolutional(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    base = (nn.Conv2d(3, 4, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), activation())
    network = nn.Sequential(*base, nn.Flatten(), nn.Linear(96, 10), activation(), nn.Linear(10, CLASSES))
    drawn(network)
    return network


def images(count: int = 3) -> Tensor:
    return torch.rand(count, *SHAPE, generator=rng(1))


def scores(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).gather(1, TARGETS.unsqueeze(1))[:, 0]


def test_vanilla_gradient_is_captums_saliency() -> None:
    network, x = convolutional(), images()
    theirs = Saliency(network).attribute(x.clone().requires_grad_(True), TARGETS, abs=False)
    ours = sensitivity(make_classifier(network), x, TARGETS, "vanilla gradient", PLAN, rng())
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


def test_loss_gradient_is_the_right_side_of_equation_9() -> None:
    network, x = convolutional(), images()
    model = make_classifier(network)
    classes = torch.arange(CLASSES).unsqueeze(1).expand(-1, 3)
    each = torch.stack([sensitivity(model, x, k, "vanilla gradient", PLAN, rng()) for k in classes])
    y = network(x).softmax(1).detach()
    expected = -each[TARGETS, torch.arange(3)] + torch.einsum("nk,knchw->nchw", y, each)
    torch.testing.assert_close(sensitivity(model, x, TARGETS, "loss gradient", PLAN, rng()), expected)


@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
def test_guided_backpropagation_is_captums() -> None:
    network, x = convolutional(), images()
    theirs = GuidedBackprop(copy.deepcopy(network)).attribute(x.clone().requires_grad_(True), TARGETS)
    ours = sensitivity(make_classifier(network), x, TARGETS, "guided backpropagation", PLAN, rng())
    torch.testing.assert_close(ours, theirs)
    vanilla = sensitivity(make_classifier(network), x, TARGETS, "vanilla gradient", PLAN, rng())
    assert not torch.allclose(ours, vanilla, atol=1e-3)


def test_integrated_gradients_are_captums() -> None:
    network, x = convolutional(), images()
    integrated, plan = IntegratedGradients(network), Sensitivity(steps=8, baseline=0.3)
    theirs = integrated.attribute(x, torch.full_like(x, 0.3), TARGETS, n_steps=8, method="riemann_middle")
    ours = sensitivity(make_classifier(network), x, TARGETS, "integrated gradients", plan, rng())
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_integrated_gradients_are_complete() -> None:
    network, x = convolutional(), images()
    ours = sensitivity(make_classifier(network), x, TARGETS, "integrated gradients", Sensitivity(steps=200), rng())
    difference = scores(network, x) - scores(network, torch.full_like(x, 0.5))
    torch.testing.assert_close(ours.sum((1, 2, 3)), difference.detach(), rtol=0.01, atol=0.01)
    assert difference.abs().min() > 0.1


def test_smoothgrad_is_the_mean_over_the_same_noise() -> None:
    network, x = convolutional(), images()
    x[1] *= 0.1  # its noise must be a tenth, too
    generator, expected = rng(5), torch.zeros_like(x)
    for _ in range(PLAN.samples):
        spread = torch.stack([image.max() - image.min() for image in x]).view(-1, 1, 1, 1)
        moving = (x + PLAN.noise * spread * torch.randn(x.shape, generator=generator)).requires_grad_(True)
        expected += torch.autograd.grad(scores(network, moving).sum(), moving)[0] / PLAN.samples
    model = make_classifier(network)
    torch.testing.assert_close(sensitivity(model, x, TARGETS, "SmoothGrad", PLAN, rng(5)), expected)
    still = sensitivity(model, x, TARGETS, "SmoothGrad", Sensitivity(samples=2, noise=0), rng())
    torch.testing.assert_close(still, sensitivity(model, x, TARGETS, "vanilla gradient", PLAN, rng()))


@pytest.mark.parametrize("method", METHODS)
def test_batches_do_not_matter_and_passes_are_counted(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_classifier(convolutional())
    whole = sensitivity(model, images(), TARGETS, method, PLAN, rng())
    times = {"SmoothGrad": PLAN.samples, "integrated gradients": PLAN.steps}.get(method, 1)
    assert model.gradient_images == 3 * times
    monkeypatch.setattr(Classifier, "batch_images", 2)
    pieces = sensitivity(model, images(), TARGETS, method, PLAN, rng())
    torch.testing.assert_close(pieces, whole)


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_left_as_it_was(method: Method) -> None:
    model, x = make_classifier(nn.Sequential(nn.BatchNorm2d(3), *convolutional())), images()
    module, before, kept = model._module, model.logits(images()), x.clone()
    state = copy.deepcopy(module.state_dict())
    sensitivity(model, x, TARGETS, method, PLAN, rng())
    assert model._module is module
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    for part in module.modules():
        assert not part.training
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        assert not any(hooks)
    assert torch.equal(model.logits(images()), before)
    assert torch.equal(x, kept)
    assert not x.requires_grad
    moving = images().requires_grad_(True)  # the rule of guided backpropagation is gone, too
    (gradient,) = torch.autograd.grad(scores(model.logits, moving).sum(), moving)
    torch.testing.assert_close(gradient, sensitivity(model, x, TARGETS, "vanilla gradient", PLAN, rng()))


def test_networks_that_answer_probabilities_are_explained_by_their_logarithms() -> None:
    model, (x, labels) = make_classifier(Probabilities()), draw_images(5)
    model.outputs = "probabilities"
    ours = sensitivity(model, x, labels, "vanilla gradient", PLAN, rng())
    plain = sensitivity(make_classifier(Templates()), x, labels, "loss gradient", PLAN, rng())
    torch.testing.assert_close(ours, -plain, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_had_is_said_in_one_sentence() -> None:
    with pytest.raises(ModelMismatchError, match=r"expected 'tiny\.pt' to give gradients"):
        sensitivity(make_classifier(Detached()), images(), TARGETS, "vanilla gradient", PLAN, rng())
    with pytest.raises(ConfigError, match=r"got 'LRP'; known kinds: vanilla gradient, .*SmoothGrad"):
        sensitivity(make_classifier(Templates()), images(), TARGETS, "LRP", PLAN, rng())  # type: ignore[arg-type]


def test_pictures_are_the_mean_size_over_its_99th_percentile() -> None:
    maps = torch.zeros(4, 2, 10, 10)
    maps[0, 0], maps[0, 1] = torch.arange(100.0).view(10, 10), -torch.arange(100.0).view(10, 10)
    maps[1, 0, 3, 3], maps[1, 1, 3, 4] = 8.0, -4.0  # its 99th percentile is 2, the smaller of the two means
    maps[2, 0, 0, 0] = float("nan")
    few = torch.zeros(1, 1, 20, 20)
    few[0, 0, 0, :2] = torch.tensor([-8.0, 2.0])  # the 99th percentile is 0 here
    shown = as_picture(maps)
    assert shown.shape == (4, 1, 10, 10)
    torch.testing.assert_close(shown[0, 0], (torch.arange(100.0) / 98).clamp(max=1).view(10, 10))
    assert shown.sum((1, 2, 3))[1:].tolist() == [shown[1, 0, 3, 3:5].sum(), 0, 0] == [2, 0, 0]
    assert as_picture(few)[0, 0, 0, :3].tolist() == [1, 0.25, 0]


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu by name": lambda x: F.relu(input=x),
    "torch.relu": torch.relu,
    "Tensor.relu": lambda x: x.relu(),
    "nn.ReLU": nn.ReLU(),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp by a tensor": lambda x: torch.clamp(x, torch.tensor(0.0)),
    "clip": lambda x: x.clip(0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "aten.relu": torch.ops.aten.relu.default,
    "aten.clamp_min": lambda x: torch.ops.aten.clamp_min.default(x, min=0.0),
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place by position": lambda x: F.relu(x, True),
    "Tensor.relu_": lambda x: x.relu_(),
    "torch.relu_": torch.relu_,
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "clamp_": lambda x: x.clamp_(min=0),
    "aten.relu_": torch.ops.aten.relu_.default,
}
BOUNDED: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "F.relu6": (F.relu6, 6),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), 6),
    "clamp(0, 6)": (lambda x: x.clamp(0, 6), 6),
    "hardtanh": (lambda x: F.hardtanh(x, 0, 2), 2),
    "nn.Hardtanh": (nn.Hardtanh(0.0, 2.0), 2),
    "hardtanh_": (lambda x: F.hardtanh_(x, 0.0, 2.0), 2),
    "aten.hardtanh": (lambda x: torch.ops.aten.hardtanh.default(x, 0.0, 6.0), 6),
}
NOT_RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "range of pixels": lambda x: x.clamp(0, 1),
    "clamp from another value": lambda x: x.clamp_min(-0.5),
    "clamp from above": lambda x: x.clamp(max=0),
    "hardtanh": F.hardtanh,
    "threshold": lambda x: F.threshold(x, 0.1, 0),
    "leaky": F.leaky_relu,
    "gelu": F.gelu,
    "integers": lambda x: x + x.detach().long().clamp(min=0),
}


def through(function: Callable[[Tensor], Tensor], *, guided: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """Input, output, gradient of Σ weight · (output + the tensor it was given), and how many ReLUs were replaced.

    What in-place kinds leave in the tensor they were given counts once more, as a shortcut would.
    """
    x = (4 * torch.randn(200, generator=rng())).requires_grad_(True)
    weight = torch.randn(200, generator=rng(1))
    given = x * 1
    with GuidedBackpropagation() as mode:
        out = function(given) if guided else None
    out = function(given) if out is None else out
    (gradient,) = torch.autograd.grad((weight * (out + given)).sum(), x)
    return x.detach(), torch.stack([out.detach(), given.detach()]), gradient, mode.replaced


@pytest.mark.parametrize("name", [*RELUS, *BOUNDED])
def test_every_way_to_write_a_relu_gets_springenbergs_rule(name: str) -> None:
    function, ceiling = BOUNDED.get(name) or (RELUS[name], float("inf"))
    x, out, gradient, replaced = through(function, guided=True)
    _, plain, _, none = through(function, guided=False)
    assert (replaced, none) == (1, 0)
    assert torch.equal(out, plain)
    weight, in_place = torch.randn(200, generator=rng(1)), torch.equal(out[0], out[1])
    passes = (x > 0) & (x < ceiling) & (weight > 0)
    torch.testing.assert_close(gradient, 2 * weight * passes if in_place else weight * passes + weight)
    assert in_place == ("in place" in name or name.endswith("_"))


@pytest.mark.parametrize("name", NOT_RELUS)
def test_other_functions_keep_their_gradient(name: str) -> None:
    _, out, gradient, replaced = through(NOT_RELUS[name], guided=True)
    _, plain, expected, _ = through(NOT_RELUS[name], guided=False)
    assert replaced == 0
    assert torch.equal(out, plain)
    assert torch.equal(gradient, expected)


class Functional(nn.Module):
    """Two layers and a shortcut, with ReLUs that are no modules and one that changes what the shortcut adds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        active = x.relu_()
        return self.fc(F.relu(self.second(active) + x).mean((2, 3)))


def test_functional_relus_and_shortcuts_by_hand() -> None:
    network, x = drawn(Functional()), images()
    ours = sensitivity(make_classifier(network), x, TARGETS, "guided backpropagation", PLAN, rng())
    assert isinstance(network, Functional)
    a = network.first(x)
    b = network.second(a.relu()) + a.relu()
    top = network.fc.weight[TARGETS][:, :, None, None].expand_as(b) / b[0, 0].numel()
    top = top.clamp_min(0) * (b > 0)
    middle = F.conv_transpose2d(top, network.second.weight, padding=1) + top
    middle = middle.clamp_min(0) * (a > 0)
    torch.testing.assert_close(ours, F.conv_transpose2d(middle, network.first.weight, padding=1).detach())


def test_relus_are_counted_once_a_pass() -> None:
    assert relus(make_classifier(convolutional())) == 3
    assert relus(make_classifier(Functional())) == 2
    assert relus(make_classifier(convolutional(nn.GELU))) == 0
    network, moving = convolutional(), images().requires_grad_(True)
    with GuidedBackpropagation() as guided:
        torch.autograd.grad(network(moving).sum(), moving)  # going backward inside counts nothing
    assert guided.replaced == 3


def test_without_relus_guided_backpropagation_is_the_vanilla_gradient() -> None:
    model, x = make_classifier(convolutional(nn.Tanh)), images()
    guided = sensitivity(model, x, TARGETS, "guided backpropagation", PLAN, rng())
    assert torch.equal(guided, sensitivity(model, x, TARGETS, "vanilla gradient", PLAN, rng()))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_programs_keep_their_gradient() -> None:
    network, x = convolutional().requires_grad_(False), images()
    model = make_classifier(torch.jit.trace(network, x))
    assert relus(model) == 0
    ours = sensitivity(model, x, TARGETS, "guided backpropagation", PLAN, rng())
    torch.testing.assert_close(ours, sensitivity(make_classifier(network), x, TARGETS, "vanilla gradient", PLAN, rng()))
