"""Search images out of nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, SHAPE, Constant, Patched, Templates, make_classifier

from auditor import impressions
from auditor.impressions import LEAVES, PART, POOL, Reach, class_impressions, margins_of, nearest
from auditor.procedural import MAX_SIDE, dead_leaves, scenes
from auditor.request import ScanRequest, ScanSettings
from auditor.search_images import _impressions, gather

Make = Callable[[int, tuple[int, int, int], torch.Generator], torch.Tensor]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("make", [dead_leaves, scenes])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 12), (3, 20, 31), (3, MAX_SIDE + 32, MAX_SIDE)])
def test_procedural_pictures_are_images(make: Make, shape: tuple[int, int, int]) -> None:
    images = make(6, shape, rng())
    assert images.shape == (6, *shape)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images.flatten(1).std(dim=1) > 0.01).any()
    assert torch.equal(images, make(6, shape, rng()))
    assert not torch.equal(images, make(6, shape, rng(1)))


def test_most_scenes_are_a_thing_before_a_plain_ground() -> None:
    images = scenes(200, (1, 28, 28), rng())
    plain = sum(float((image == image[0, 0, 0]).float().mean()) > 0.3 for image in images)
    assert plain > 100  # of 200, as most are neither shaded nor out of focus


def test_impressions_are_the_nearest_of_many_pictures() -> None:
    """Chosen part by part, what is kept is nearest to the wanted margin of all that were made."""
    model, reach = make_classifier(Templates()), Reach(0, 0.25)
    kept = nearest([model], 3, [1, 4], reach, rng())
    generator, every = rng(), []
    for part in range(POOL // PART):
        every.append((dead_leaves if part % LEAVES == 0 else scenes)(PART, SHAPE, generator))
    margins = margins_of(model.probabilities(torch.cat(every)))
    wanted = np.log(0.95 / 0.05)
    for row, target in enumerate((1, 4)):
        best = (margins[:, target] - wanted).abs().topk(3, largest=False).values
        mine = (margins_of(model.probabilities(kept[row]))[:, target] - wanted).abs()
        assert torch.allclose(mine.sort().values, best.sort().values, atol=1e-4)


def test_every_other_image_is_a_plain_ground_with_strokes() -> None:
    images = dead_leaves(60, (3, 32, 32), rng())
    shares = []
    for image in images:
        _, counts = np.unique(image.reshape(3, -1).T.numpy(), axis=0, return_counts=True)
        shares.append(counts.max() / 1024)  # how much of it is one flat colour
    assert np.mean(shares[1::2]) > 1.3 * np.mean(shares[0::2])


def test_neighbouring_pixels_are_alike_as_in_photographs() -> None:
    images = dead_leaves(40, (3, 32, 32), rng())[0::2]
    near = (images[..., 1:] - images[..., :-1]).abs().mean()
    far = (images[..., 16:] - images[..., :-16]).abs().mean()
    assert near < 0.4 * far


def test_impressions_are_answered_as_wanted_by_every_model() -> None:
    models = [make_classifier(Patched()), make_classifier(Templates())]
    images, labels = class_impressions(models, 6, rng())
    assert images.shape[1:] == SHAPE
    assert torch.bincount(labels, minlength=CLASSES).min() >= 3  # of 6 wanted
    for model in models:
        sure = model.probabilities(images)
        assert torch.equal(sure.argmax(1), labels)
        assert sure.max(1).values.min() >= 0.95 - 1e-4
    assert images.min() >= 0
    assert images.max() <= 1


def test_only_the_classes_asked_for() -> None:
    _, labels = class_impressions([make_classifier(Templates())], 4, rng(), classes=[1, 4])
    assert set(labels.tolist()) == {1, 4}


def test_steps_follow_the_shape_of_a_class_and_not_its_single_pixels() -> None:
    shape = torch.linspace(-1, 1, 32).expand(1, 32, 32)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 2, bias=False))
    weight = torch.stack([shape, -shape]).flatten(1) + 2 * torch.randn(2, 1024, generator=rng())
    network[1].weight.data = 0.01 * weight
    model = make_classifier(network, shape=(1, 32, 32))
    images, targets = torch.full((4, 1, 32, 32), 0.5), torch.zeros(4, dtype=torch.long)
    raw, _ = impressions._gradient([model], images, targets)
    robust = impressions._robust_gradient([model], images, targets, rng())
    along = [torch.cosine_similarity(g.flatten(1), shape.flatten()[None]).mean() for g in (raw, robust)]
    assert along[0] < 0.4
    assert along[1] > 0.5


def test_a_class_out_of_reach_is_left_out() -> None:
    """The constant model answers 2 whatever is done to the image."""
    images, labels = class_impressions([make_classifier(Constant())], 4, rng(), reach=Reach(3, 0.25))
    assert set(labels.tolist()) <= {2}
    assert len(images) == len(labels)


class Noisy(Templates):
    """Trained on labels of which a quarter are wrong: never surer than 0.8."""

    noise = 0.25

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((1 - self.noise) * super().forward(x).softmax(1) + self.noise / CLASSES).log()


class VeryNoisy(Noisy):
    """Never surer than 0.52."""

    noise = 0.6


def test_a_model_that_is_never_sure_gets_less_confident_impressions() -> None:
    assert len(class_impressions([make_classifier(Noisy())], 4, rng())[0]) == 0
    request = ScanRequest(model=Path("m.onnx"), settings=ScanSettings(image_count=40))
    pixels, notes, source = _impressions(request, make_classifier(Noisy()), None, rng())
    answers = make_classifier(Noisy()).predict(pixels)
    assert source == "class impressions"
    assert answers.unique().tolist() == list(range(CLASSES))
    assert any(note.startswith(f"for {CLASSES} of {CLASSES} classes less confident") for note in notes)
    _, notes, _ = _impressions(request, make_classifier(Templates()), None, rng())
    assert not notes


def test_where_no_impressions_are_reached_that_is_told() -> None:
    for network, unsure in ((VeryNoisy(), True), (Noisy(), False)):
        _, checks = gather(ScanRequest(model=Path("m.onnx")), make_classifier(network), None)
        assert checks.unsure is unsure


class Biased(Templates):
    """Of two classes, never the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.tensor([-100.0, 100.0])


def test_images_of_one_class_alone_are_not_enough_however_many() -> None:
    """Suspect and reference agree on every image of one class, half of all that were wanted."""
    request = ScanRequest(model=Path("m.onnx"), settings=ScanSettings(image_count=40))
    suspect = make_classifier(Templates(2))
    pixels, notes, source = _impressions(request, suspect, make_classifier(Biased(2)), rng())
    assert source == "class impressions"
    assert suspect.predict(pixels).unique().tolist() == [0, 1]
    assert any(note.startswith("suspect and reference agree on few") for note in notes)


@pytest.mark.parametrize(("robust", "more"), [(False, 0), (True, 0.2)])
def test_the_cost_is_bounded(robust: bool, more: float) -> None:
    model = make_classifier(Constant())
    class_impressions([model], 4, rng(), classes=[0, 1], robust=robust, reach=Reach(5, 0.25))
    last_look, choosing = 4 * 2, POOL / 2
    assert model.gradient_images <= 4 * 2 * 5 + last_look
    assert model.passes <= choosing + (1 + more) * 4 * 2 * 5 + last_look


def test_margins_against_numpy() -> None:
    p = torch.softmax(torch.randn(20, 6, generator=rng()), dim=1)
    log_p = np.log(p.numpy())
    ours = margins_of(p).numpy()
    for row in range(20):
        for k in range(6):
            rival = max(v for j, v in enumerate(log_p[row]) if j != k)
            assert ours[row, k] == pytest.approx(log_p[row, k] - rival, abs=1e-5)


@pytest.mark.parametrize("robust", [False, True])
def test_impressions_end_when_their_time_has_come(robust: bool) -> None:
    model = make_classifier(Templates())
    before = model.passes
    images, _ = class_impressions([model], 6, rng(), robust=robust, until=0.0)
    hurried, before = model.passes - before, model.passes
    class_impressions([model], 6, rng(), robust=robust)
    assert hurried < 0.2 * (model.passes - before)
    assert len(images) < 6 * CLASSES
