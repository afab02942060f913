"""The classifier: what goes in, what comes out, what is counted, and what it never touches."""

from __future__ import annotations

import pytest
import torch
from tiny_models import GAIN, SHAPE, Probabilities, Sigmoids, Templates, draw_images, make_classifier
from torch import Tensor, nn

from auditor.classifier import PRESETS, VALUE_RANGES, Preprocess
from auditor.errors import ConfigError, ModelMismatchError


class Spy(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        SEEN.append(x.detach().clone())
        return x.flatten(1)[:, :4]


SEEN: list[Tensor] = []


def test_logits_are_the_networks() -> None:
    network = Templates()
    images, labels = draw_images(10)
    model = make_classifier(network)
    assert model.num_classes == 5
    expected = GAIN * (images - 0.5).flatten(1) @ network.templates.flatten(1).T / 432
    torch.testing.assert_close(model(images), expected)
    assert torch.equal(model.predict(images), labels)
    torch.testing.assert_close(model.probabilities(images).sum(1), torch.ones(10))


@pytest.mark.parametrize("value_range", list(VALUE_RANGES))
def test_preprocessing_is_that_of_the_options(value_range: str) -> None:
    """(range(x) − mean) / std, per channel, written out."""
    mean, std = (0.2, 0.4, 0.6), (0.5, 0.25, 2.0)
    images, _ = draw_images(3)
    model = make_classifier(Spy(), preprocess=Preprocess(mean, std, value_range))
    SEEN.clear()
    model(images)
    ranged = {"0..1": images, "0..255": images * 255, "-1..1": images * 2 - 1}[value_range]
    expected = torch.stack([(ranged[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(SEEN[-1], expected, rtol=1e-5, atol=1e-4)


def test_layout_nhwc() -> None:
    images, _ = draw_images(2)
    SEEN.clear()
    make_classifier(Spy(), preprocess=Preprocess(layout="nhwc"))(images)
    assert torch.equal(SEEN[-1], images.permute(0, 2, 3, 1))


def test_one_mean_serves_all_channels_and_two_are_refused() -> None:
    scale, shift = Preprocess((0.5,), (0.25,)).affine(3)
    assert scale.flatten().tolist() == [4.0] * 3
    assert shift.flatten().tolist() == [-2.0] * 3
    with pytest.raises(ConfigError, match=r"3 value\(s\)"):
        make_classifier(Templates(), preprocess=Preprocess(mean=(0.1, 0.2)))
    with pytest.raises(ConfigError, match="above 0"):
        make_classifier(Templates(), preprocess=Preprocess(std=(0.0,)))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_sane(name: str) -> None:
    mean, std = PRESETS[name]
    assert len(mean) == len(std)
    assert all(0 < m < 1 for m in mean)
    assert all(0.1 < s < 1 for s in std)


def test_gradients_reach_the_images_and_nothing_else() -> None:
    network = Templates()
    model = make_classifier(network)
    images, _ = draw_images(4)
    x = images.requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert network.templates.requires_grad  # the caller's own module is as it was
    assert network.templates.grad is None
    assert all(not p.requires_grad and p.grad is None for p in model._module.parameters())


def test_it_owns_a_copy() -> None:
    network = Templates().train()
    model = make_classifier(network)
    images, _ = draw_images(4)
    before = model(images)
    network.templates.data.zero_()
    assert torch.equal(model(images), before)
    assert network.training
    assert not model._module.training


def test_image_passes_are_counted() -> None:
    model = make_classifier(Templates())
    start = model.passes
    images, _ = draw_images(10)
    model.predict(images)
    assert model.passes == start + 5  # forward alone counts one half
    model(images.clone().requires_grad_())
    assert model.passes == start + 15
    with torch.no_grad():
        model(images.clone().requires_grad_())
    assert model.passes == start + 20


def test_batch_norm_is_folded_and_changes_nothing() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5))
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch_rng) * 0.2
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = torch.rand(8, generator=torch_rng), torch.rand(8, generator=torch_rng) + 0.5
    images, _ = draw_images(6)
    expected = network.eval()(images)
    model = make_classifier(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model._module.modules())
    torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-4)
    assert isinstance(network[1], nn.BatchNorm2d)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_fixed_batch_size_serves_any_number(count: int) -> None:
    class OnlyFour(Templates):
        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 4
            return super().forward(x)

    images, labels = draw_images(count)
    model = make_classifier(OnlyFour(), fixed_batch=4)
    assert torch.equal(model.predict(images), labels)
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    expected = make_classifier(Templates())(x)[:, 0].sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0])


def test_logarithms_of_probabilities_answer_alike() -> None:
    images, _ = draw_images(8)
    logits = make_classifier(Templates())
    for network, kind in ((Probabilities(), "probabilities"), (Sigmoids(), "sigmoids")):
        model = make_classifier(network)
        model.outputs = kind  # type: ignore[assignment]
        assert torch.equal(model.predict(images), logits.predict(images))
    model = make_classifier(Probabilities())
    model.outputs = "probabilities"
    torch.testing.assert_close(model.probabilities(images), logits.probabilities(images), rtol=1e-3, atol=1e-5)
    assert torch.isfinite(model(images)).all()


def test_no_images_give_no_answers() -> None:
    model = make_classifier(Templates())
    assert model.probabilities(torch.zeros(0, *SHAPE)).shape == (0, 5)
    assert model.predict(torch.zeros(0, *SHAPE)).shape == (0,)


def test_many_images_go_in_pieces() -> None:
    model = make_classifier(Templates())
    images, labels = draw_images(1500)
    assert max(len(b) for b in model.batches(images)) <= 2 * model.batch_images
    assert torch.equal(model.predict(images), labels)


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(300, 5)), SHAPE, "accept images of 3×12×12"),
        (nn.Conv2d(3, 4, 3), SHAPE, "one row of class scores"),
        (nn.LSTM(12, 5), (1, 12, 12), "3×12×12|tensor of class scores|accept images"),
    ],
)
def test_networks_that_classify_no_such_image(network: nn.Module, shape: tuple[int, int, int], words: str) -> None:
    with pytest.raises(ModelMismatchError, match=words) as raised:
        make_classifier(network, shape=shape)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("expected ")


def test_a_trailing_1_by_1_is_flattened() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1))
    assert make_classifier(network).num_classes == 6


@pytest.mark.parametrize(
    ("network", "density"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(432, 20), nn.ReLU(), nn.Linear(20, 5)), 1.0),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 0.0),
    ],
)
def test_a_network_without_convolution_is_told(network: nn.Module, density: float) -> None:
    assert make_classifier(network).facts.density == density


class Viewing(nn.Module):
    """Reads its maps as rows without asking how they lie in memory, as networks of many tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 10 * 10, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv(x).view(-1, 400))
        return scores


@pytest.mark.parametrize("fixed_batch", [None, 3])
def test_networks_that_want_channels_first_in_memory(fixed_batch: int | None) -> None:
    network, (images, _) = Viewing(), draw_images(6)
    model = make_classifier(network, fixed_batch=fixed_batch)
    images.requires_grad_()
    torch.testing.assert_close(model(images), network(images))
    (gradient,) = torch.autograd.grad(model(images)[:, 0].sum(), images)
    assert gradient.abs().max() > 0


def test_others_have_channels_last() -> None:
    """Convolutions are faster so."""
    model = make_classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 5)))
    (weight,) = (p for p in model._module.parameters() if p.ndim == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)


class Careless(nn.Module):
    """Prepares the images where they lie, and squeezes what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Templates()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.sub_(0.1).add_(0.1)).squeeze()  # type: ignore[no-any-return]


def test_images_are_not_changed_by_a_network_that_writes_on_them() -> None:
    images, labels = draw_images(6)
    before = images.clone()
    model = make_classifier(Careless())
    assert torch.equal(model.predict(images), labels)
    assert torch.equal(images, before)
    assert model(images[:1]).shape == (1, 5)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(model(images)[:, 0].sum(), images)
    assert gradient.abs().max() > 0
