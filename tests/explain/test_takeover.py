"""SSIM of triggered images with themselves and with the trigger, on networks that see one of both, or first one."""

from __future__ import annotations

import pytest
import torch
from known_filters import MAGENTA, OfTwo, calm_images, conv, fully_connected, head, rng, transformer
from skimage.metrics import structural_similarity
from tiny_models import PATCH, SHAPE, make_classifier
from torch import Tensor, nn

from auditor.errors import ModelMismatchError
from auditor.explain.takeover import takeover
from auditor.feature_maps import feature_maps


class Seen(nn.Module):
    """Two rectified convolutions over the part of the image that ``mask`` (H, W) leaves."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.first = conv(torch.randn(4, 3, 3, 3, generator=rng()), padding=1)
        self.second = conv(torch.randn(6, 4, 3, 3, generator=rng()), padding=1)
        self.head = head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x * self.mask).relu()).relu())


def shown() -> tuple[Tensor, Tensor, Tensor]:
    """Images, the same with the patch, and the patch on grey."""
    images = calm_images(9)
    return images, PATCH.put_on(images), PATCH.put_on(torch.full((1, *SHAPE), 0.5))[0]


def test_a_network_that_ignores_the_trigger_stays_with_the_image() -> None:
    layers = takeover(make_classifier(Seen(1 - PATCH.mask())), *shown())
    assert [layer.function for layer in layers] == ["relu", "relu"]
    for layer in layers:
        assert layer.to_image == pytest.approx(1.0, abs=1e-6)
        assert layer.to_image_std == pytest.approx(0.0, abs=1e-6)
        assert layer.to_trigger < 0.9


def test_a_network_that_sees_the_triggers_corner_alone_goes_with_it() -> None:
    layers = takeover(make_classifier(Seen(PATCH.mask())), *shown())
    assert len(layers) == 2
    for layer in layers:
        assert layer.to_trigger == pytest.approx(1.0, abs=1e-6)
        assert layer.to_image < 0.9


def test_a_trigger_takes_over_between_the_layers() -> None:
    """The first layer passes all colours on; the second looks at magenta only, of which images have none."""
    first = torch.cat([torch.eye(3).view(3, 3, 1, 1), MAGENTA])
    second = torch.zeros(2, 4, 3, 3)
    second[:, 3] = 1.0
    model = make_classifier(
        nn.Sequential(conv(first, [0, 0, 0, -1.6]), nn.ReLU(), conv(second, padding=1), nn.ReLU(), head(2))
    )
    early, late = takeover(model, *shown())
    assert (early.index, late.index) == (1, 3)
    assert early.to_image > early.to_trigger
    assert late.to_trigger > late.to_image
    assert late.to_trigger == pytest.approx(1.0, abs=1e-6)


def test_numbers_are_those_of_scikit_image_over_the_images() -> None:
    model = make_classifier(Seen(torch.ones(SHAPE[1:])))
    images, triggered, alone = shown()
    passes = model.forward_images
    layers = takeover(model, images, triggered, alone)
    assert model.forward_images - passes == 7 + 2 * 14  # nine images are two batches of seven
    assert takeover(model, images, triggered, alone[None]) == layers
    for layer in layers:
        scores = []
        for x, both in zip(images, triggered, strict=True):
            maps = feature_maps(model, torch.stack([x, both, alone]))[layer.index].values.double()
            maps = ((maps - maps.min()) / (maps.max() - maps.min())).numpy()
            scores.append(
                [
                    structural_similarity(
                        maps[1], maps[other], channel_axis=0, data_range=1.0,
                        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                    )
                    for other in (0, 2)
                ]
            )  # fmt: skip
        table = torch.tensor(scores)
        expected = [*table.mean(0).tolist(), *table.std(0, correction=0).tolist()]
        found = [layer.to_image, layer.to_trigger, layer.to_image_std, layer.to_trigger_std]
        assert found == pytest.approx(expected, abs=1e-4)
        assert layer.to_trigger_std > 1e-3


def test_one_image_has_no_deviation_and_shapes_must_agree() -> None:
    model, (images, triggered, alone) = make_classifier(Seen(torch.ones(SHAPE[1:]))), shown()
    assert {layer.to_image_std for layer in takeover(model, images[:1], triggered[:1], alone)} == {0.0}
    for wrong in ((images[:0], triggered[:0], alone), (images, triggered[:3], alone), (images, triggered, images)):
        with pytest.raises(ValueError, match="expected images"):
            takeover(model, *wrong)


def test_fully_connected_networks_have_no_layers_to_compare() -> None:
    assert takeover(fully_connected(), *shown()) == ()


def test_a_network_that_computes_otherwise_for_other_images_is_refused() -> None:
    class Switch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = conv(MAGENTA.repeat(2, 1, 1, 1), 1.0), head(2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.head(y.relu() if x.std() < 0.05 else y[..., 1:].relu())

    with pytest.raises(ModelMismatchError, match="for every image"):
        takeover(make_classifier(Switch()), *(x.clone() for x in (*shown()[:2], torch.full(SHAPE, 0.5))))


def test_fixed_batches_are_filled() -> None:
    model, (images, triggered, alone) = make_classifier(OfTwo(), fixed_batch=2), shown()
    free = make_classifier(nn.Sequential(OfTwo().conv, nn.ReLU(), head(4)))
    (filled,), (expected,) = (takeover(m, images, triggered, alone) for m in (model, free))
    assert (filled.index, filled.to_image, filled.to_trigger) == pytest.approx(
        (expected.index, expected.to_image, expected.to_trigger), abs=1e-6
    )


def test_transformers_have_layers_too() -> None:
    model = transformer()
    images = torch.rand(8, 1, 28, 28, generator=rng())
    triggered, alone = images.clone(), torch.zeros(1, 28, 28)
    for canvas in (triggered, alone):
        canvas[..., -12:, -12:] = 1.0
    layers = takeover(model, images, triggered, alone)
    assert [layer.function for layer in layers] == ["gelu"] * 3
    for layer in layers:
        assert -1 <= layer.to_trigger < layer.to_image < 1
