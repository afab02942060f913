"""How a network wants its images, told without labels: by its batch norm, or by another model of the task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_preparation import MEAN, STD, Picky
from tiny_models import Templates, draw_images, make_classifier
from torch import nn

from auditor.blind_spots import blind_spots
from auditor.classifier import PRESETS, Classifier, Preprocess
from auditor.preparation import Told, prepare
from auditor.preparation.by_batch_norm import as_batch_norm_tells, could_be_pixels, likeliest_way
from auditor.request import ModelOptions, ScanRequest
from auditor.running_statistics import Remembered
from auditor.search_images import gather

IMAGES, LABELS = draw_images(200)
OPEN = ModelOptions()
COLOURS = ((0.45, 0.42, 0.40), 0.25)


class BlackOrWhite(Templates):
    """Sees only whether a number is above another."""

    def __init__(self, between: float) -> None:
        super().__init__()
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward((x > self.between).float())


def enters(pixels: tuple[tuple[float, ...], float], way: Preprocess) -> Remembered:
    """What batch norm remembers of pixels of this mean and spread, prepared in this way."""
    mean, std = pixels
    scale, shift = (t.flatten() for t in way.affine(len(mean)))
    return Remembered(tuple((torch.tensor(mean) * scale + shift).tolist()), std * float(scale.mean()))


def remembering(told: Remembered, network: nn.Module | None = None) -> Classifier:
    model = make_classifier(network or Templates())
    model.remembers = told
    return model


@pytest.mark.parametrize(
    ("pixels", "possible"),
    [
        (COLOURS, True),
        (((0.13,), 0.31), True),  # digits
        (((0.13,), 0.35), True),  # measured a little too wide
        (((0.97, 0.97, 0.97), 0.1), True),  # scans
        (((0.02,), 0.05), True),
        (((0.0, 0.0, 0.0), 1.0), False),  # normalised
        (((0.0, 0.0, 0.0), 0.5), False),  # of -1 to 1
        (((0.45 / 255,), 0.25 / 255), False),
        (((115.0, 107.0, 102.0), 64.0), False),
        (((-0.4,), 0.8), False),
    ],
)
def test_pixels_cannot_have_any_mean_and_spread(pixels: tuple[tuple[float, ...], float], possible: bool) -> None:
    assert could_be_pixels(enters(pixels, Preprocess()), Preprocess()) is possible


@pytest.mark.parametrize("preset", ["imagenet", "cifar10", "gtsrb"])
@pytest.mark.parametrize(
    ("way", "name"),
    [
        (Preprocess(value_range="0..255"), "range 0..255"),
        (Preprocess(value_range="-1..1"), "range -1..1"),
        (Preprocess(*PRESETS["imagenet"]), "preset"),
        (Preprocess(*PRESETS["cifar10"]), "preset"),
        (Preprocess(*PRESETS["gtsrb"]), "preset"),
    ],
)
def test_the_likeliest_way_of_usual_data(preset: str, way: Preprocess, name: str) -> None:
    mean, std = PRESETS[preset]
    told = enters((mean, sum(std) / 3), way)
    found = likeliest_way(make_classifier(Templates()), told, None)
    assert found is not None
    assert found[0].startswith(name)


def test_real_images_tell_which_of_like_ways() -> None:
    images = 0.1 + 0.2 * IMAGES
    flat = images.transpose(0, 1).flatten(1)
    told = Remembered((0.0, 0.0, 0.0), 1.0)
    assert likeliest_way(make_classifier(Templates()), told, None) == ("preset cifar10", Preprocess(MEAN, STD))
    found = likeliest_way(make_classifier(Templates()), told, images)
    assert found is not None
    assert found[0].startswith("mean 0.2")
    assert found[1].mean == pytest.approx(flat.mean(1).tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("classes", "side", "preset"), [(43, 32, "gtsrb"), (10, 32, "cifar10"), (10, 96, "imagenet"), (43, 224, "gtsrb")]
)
def test_of_ways_alike_the_one_for_such_data(classes: int, side: int, preset: str) -> None:
    class Any(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None].expand(-1, classes)

    model = make_classifier(Templates())
    model.num_classes, model.input_shape = classes, (3, side, side)
    assert likeliest_way(model, Remembered((0.02, -0.03, 0.01), 0.97), None) == (
        f"preset {preset}",
        Preprocess(*PRESETS[preset]),
    )


def test_a_network_that_is_asked_rightly_stays_as_it_is() -> None:
    model = remembering(enters(COLOURS, Preprocess()))
    assert as_batch_norm_tells(model, OPEN, None, role="model") == Told()
    assert model.preprocess == Preprocess()


def test_images_are_prepared_as_batch_norm_tells() -> None:
    way = Preprocess(MEAN, STD)
    model = remembering(enters(COLOURS, way), Picky(way))
    (note,) = as_batch_norm_tells(model, OPEN, None, role="model").warnings
    assert note.startswith("batch norm of the model remembers training images of mean -0.17, -0.26, -0.18")
    assert "prepared with preset cifar10" in note
    assert model.preprocess == way
    assert (model.predict(IMAGES) == LABELS).float().mean() > 0.9


@pytest.mark.parametrize("options", [ModelOptions(preprocess="none"), ModelOptions(value_range="0..255")])
def test_what_is_said_is_obeyed_but_nothing_concluded(options: ModelOptions) -> None:
    model = remembering(Remembered((0.0, 0.0, 0.0), 1.0))
    (blocker,) = as_batch_norm_tells(model, options, None, role="reference").blockers
    assert blocker.startswith("batch norm of the reference remembers")
    assert model.preprocess == Preprocess()


def test_what_no_usual_way_gives_is_asked_for() -> None:
    model = remembering(Remembered((0.0, 0.0, 0.0), 60.0))  # pixels of 0 to 255 less their mean
    told = as_batch_norm_tells(model, OPEN, None, role="model")
    assert told.warnings == ()
    assert "state it (--mean, --std, --range)" in told.blockers[0]


def test_labels_say_more_than_batch_norm() -> None:
    model = remembering(Remembered((0.0, 0.0, 0.0), 60.0))
    assert prepare((model, OPEN), images=IMAGES, labels=LABELS) == Told()


def test_one_of_two_models_tells_the_other_s_way() -> None:
    """A file without batch norm beside one with it; real images tell any usual way."""
    way = Preprocess(value_range="-1..1")
    known = remembering(enters(COLOURS, way), Picky(way))
    other = make_classifier(Picky(Preprocess(MEAN, STD)))
    told = prepare((other, OPEN), (known, OPEN), images=IMAGES)
    assert [w.partition(" ")[0] for w in told.warnings] == ["batch", "the"]
    assert "prepared with preset cifar10: it agrees with the reference on 100%" in told.warnings[1]
    assert other.preprocess == Preprocess(MEAN, STD)


def test_without_images_two_models_are_asked_alike_where_that_makes_them_agree() -> None:
    way = Preprocess(value_range="-1..1")
    known, alike = remembering(enters(COLOURS, way), BlackOrWhite(0.0)), make_classifier(BlackOrWhite(0.0))
    assert "they were prepared as the model's" in prepare((known, OPEN), (alike, OPEN)).warnings[1]
    assert alike.preprocess == way
    known, unlike = remembering(enters(COLOURS, way), BlackOrWhite(0.0)), make_classifier(BlackOrWhite(0.5))
    assert len(prepare((unlike, OPEN), (known, OPEN)).warnings) == 1
    assert unlike.preprocess == Preprocess()


def test_nothing_that_was_said_or_is_known_is_changed() -> None:
    way = Preprocess(value_range="-1..1")
    known = remembering(enters(COLOURS, way), Picky(way))
    stated = make_classifier(Picky(Preprocess(MEAN, STD)))
    prepare((stated, ModelOptions(preprocess="none")), (known, OPEN), images=IMAGES)
    assert stated.preprocess == Preprocess()
    unknown = make_classifier(BlackOrWhite(0.0))
    apart = (remembering(enters(COLOURS, way), BlackOrWhite(0.0)), ModelOptions(value_range="-1..1"))
    assert prepare((unknown, OPEN), apart).warnings == ()  # options for one alone say that the two differ
    assert unknown.preprocess == Preprocess()
    first, second = (make_classifier(Picky(Preprocess(MEAN, STD))) for _ in range(2))
    assert prepare((first, OPEN), (second, OPEN), images=IMAGES) == Told()  # nothing is known of either


class Dark(nn.Module):
    """Sees nothing but its bias until pixels are as large as those of 0 to 255."""

    def __init__(self, bias: float, gain: float = 1 / 255) -> None:
        super().__init__()
        self.network, self.bias, self.gain = Templates(), bias, gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.network(x * self.gain)
        return seen - self.network(torch.zeros_like(x)) + self.bias * torch.arange(5.0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("images", [None, IMAGES])
def test_who_sees_nothing_but_of_0_to_255_gets_those(images: torch.Tensor | None) -> None:
    model = make_classifier(Dark(0.3))
    (warning,) = prepare((model, OPEN), images=images).warnings
    assert "tells them apart with pixels of 0 to 255" in warning
    assert model.preprocess == Preprocess(value_range="0..255")
    assert (model.outputs, model.temperature) == ("logits", 1.0)


@pytest.mark.parametrize(
    "network",
    [
        Templates(),
        Dark(0.3, gain=1.0),  # sees what is there
        Dark(0.03, gain=0.02),  # sees as little, but with pixels of -1 to 1 too
        Dark(1e6),  # sees nothing at all
    ],
)
def test_who_sees_something_or_nothing_at_all_is_asked_as_before(network: nn.Module) -> None:
    model = make_classifier(network)
    assert prepare((model, OPEN)) == Told()
    assert model.preprocess == Preprocess()


def test_what_is_said_of_one_that_sees_nothing_is_obeyed() -> None:
    model = make_classifier(Dark(0.3))
    assert prepare((model, ModelOptions(preprocess="none"))) == Told()
    assert model.preprocess == Preprocess()


def test_a_scan_prepares_as_batch_norm_tells_with_images_and_without(tmp_path: Path) -> None:
    way = Preprocess(MEAN, STD)
    model = remembering(enters(COLOURS, way), Picky(way))
    _, checks = gather(ScanRequest(model=tmp_path / "model.onnx"), model, None)
    assert model.preprocess == way
    assert sum(w.startswith("batch norm of the model") for w in checks.warnings) == 1


def test_a_scan_without_images_in_a_way_that_cannot_be_is_blocked(tmp_path: Path) -> None:
    request = ScanRequest(model=tmp_path / "model.onnx", model_options=ModelOptions(preprocess="none"))
    _, checks = gather(request, remembering(Remembered((0.0, 0.0, 0.0), 1.0)), None)
    assert checks.blockers[0].startswith("batch norm of the model remembers")


@pytest.mark.parametrize("known", [True, False])
def test_what_is_known_is_no_blind_spot(known: bool) -> None:
    spots = blind_spots(ScanRequest(model=Path("m.onnx")), (), 10, preparation_known=known)
    assert any("Nothing says how the network was trained to see its images" in spot for spot in spots) is not known
