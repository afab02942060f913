"""How a network wants its images, told by labelled ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import SHAPE, Templates, draw_images, make_classifier
from torch import Tensor, nn

from auditor.classifier import PRESETS, VALUE_RANGES, Classifier, Preprocess
from auditor.preparation import Told, by_labels, in_another_order
from auditor.preparation.by_labels import as_images_tell, follows
from auditor.preparation.ways import usual_ways
from auditor.request import ModelOptions, ScanRequest
from auditor.search_images import gather

IMAGES, LABELS = draw_images(200)
MEAN, STD = PRESETS["cifar10"]


def better_way(model: Classifier, images: Tensor, labels: Tensor) -> by_labels.Way | None:
    """The best of the usual ways."""
    return by_labels.better_way(model, images, labels, usual_ways(model.preprocess, images.shape[1], images))


class Picky(nn.Module):
    """Right on images as one preprocessing makes them; others drown in a bias towards class 0."""

    def __init__(self, expects: Preprocess) -> None:
        super().__init__()
        self.network = Templates()
        scale, shift = expects.affine(SHAPE[0])
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    def forward(self, x: Tensor) -> Tensor:
        plain = (x - self.shift) / self.scale
        off = (plain.mean((1, 2, 3)) - 0.5).abs() + (plain.std((1, 2, 3)) - IMAGES.std((1, 2, 3)).mean()).abs()
        return self.network(plain) + 400 * off[:, None] * torch.eye(5)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("value_range", ["0..255", "-1..1"])
def test_a_value_range_is_found(value_range: str) -> None:
    model = make_classifier(Picky(Preprocess(value_range=value_range)))
    way = better_way(model, IMAGES, LABELS)
    assert way is not None
    assert way.name == f"range {value_range}"
    assert way.before < 0.5 < way.accuracy
    assert model.preprocess == Preprocess()  # nothing is changed by looking


def test_a_preset_is_found_and_used_where_nothing_is_said() -> None:
    model = make_classifier(Picky(Preprocess(MEAN, STD)))
    (note,) = as_images_tell(model, ModelOptions(), IMAGES, LABELS, role="model").warnings
    assert "preset cifar10" in note
    assert model.preprocess == Preprocess(MEAN, STD)
    assert (model.predict(IMAGES) == LABELS).float().mean() > 0.9


@pytest.mark.parametrize(
    "options",
    [ModelOptions(preprocess="none"), ModelOptions(mean=(0.5,)), ModelOptions(value_range="0..255")],
)
def test_what_is_said_is_obeyed_but_nothing_concluded(options: ModelOptions) -> None:
    model = make_classifier(Picky(Preprocess(MEAN, STD)))
    told = as_images_tell(model, options, IMAGES, LABELS, role="reference")
    assert told.warnings == ()
    (blocker,) = told.blockers
    assert blocker.startswith("the reference is right on")
    assert "preset cifar10" in blocker
    assert model.preprocess == Preprocess()


class Bright(nn.Module):
    """Wrong on every so manieth image unless it is of 0 to 255."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.network, self.every = Templates(), every

    def forward(self, x: Tensor) -> Tensor:
        dim = (x.amax((1, 2, 3)) < 2) & (torch.arange(len(x)) % self.every == 0)
        return torch.where(dim[:, None], -1.0, 1.0) * self.network(x)  # type: ignore[no-any-return]


def test_a_little_better_way_is_told() -> None:
    told = as_images_tell(make_classifier(Bright(10)), ModelOptions(preprocess="none"), IMAGES, LABELS, role="model")
    assert told.blockers == ()
    assert "on 90% of the labelled images" in told.warnings[0]
    assert "range 0..255; check them" in told.warnings[0]


def test_two_images_of_two_hundred_are_chance() -> None:
    assert better_way(make_classifier(Bright(100)), IMAGES, LABELS) is None


def test_nothing_changes_where_nothing_is_clearly_better() -> None:
    """On so few images a little better is chance."""
    model = make_classifier(Templates())
    assert better_way(model, IMAGES, LABELS) is None
    assert better_way(model, IMAGES, torch.where(torch.arange(200) % 2 == 0, LABELS, (LABELS + 1) % 5)) is None
    assert as_images_tell(model, ModelOptions(), IMAGES, LABELS, role="model") == Told()


@pytest.mark.parametrize("name", list(VALUE_RANGES))
def test_the_axis_order_stays(name: str) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Picky(Preprocess(value_range=name))

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]

    model = make_classifier(Last(), preprocess=Preprocess(layout="nhwc"))
    as_images_tell(model, ModelOptions(), IMAGES, LABELS, role="model")
    assert model.preprocess == Preprocess(value_range=name, layout="nhwc")


def test_an_order_is_told_from_chance() -> None:
    order = torch.tensor([2, 0, 1, 4, 3])
    assert in_another_order(order[LABELS], LABELS).all()
    assert follows(LABELS, LABELS).all()
    assert not in_another_order(order[LABELS[:20]], LABELS[:20]).any()  # too few
    guessed = torch.randint(5, (200,), generator=torch.Generator().manual_seed(0))
    assert follows(guessed, LABELS).float().mean() < 0.4


def test_a_scan_prepares_both_models_as_the_images_tell(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=IMAGES.numpy(), y=LABELS.numpy())
    request = ScanRequest(model=tmp_path / "model.onnx", images=tmp_path / "images.npz")
    suspect = make_classifier(Picky(Preprocess(MEAN, STD)))
    reference = make_classifier(Picky(Preprocess(value_range="0..255")))
    images, checks = gather(request, suspect, reference)
    assert images.facts.clean_accuracy is not None
    assert images.facts.clean_accuracy > 0.9
    told = [w.partition("'s images were prepared") for w in checks.warnings]
    assert [who for who, what, _ in told if what] == ["the model", "the reference"]
    assert checks.blockers == ()
    assert reference.preprocess.value_range == "0..255"


def test_a_scan_in_a_way_that_must_be_wrong_is_blocked(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=IMAGES.numpy(), y=LABELS.numpy())
    options = ModelOptions(preprocess="none")
    request = ScanRequest(model=tmp_path / "model.onnx", images=tmp_path / "images.npz", model_options=options)
    _, checks = gather(request, make_classifier(Picky(Preprocess(MEAN, STD))), None)
    assert any("would be on 100% with preset cifar10" in blocker for blocker in checks.blockers)
