"""Section 5.2 of "Attack to Explain": its Gaussian, Eq. 4, and pictures made on models whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import CLASSES, SHAPE, Templates, draw_images, make_classifier
from torch import Tensor, nn

from auditor.errors import ConfigError, ImagesError
from auditor.explain.generation import (
    INPAINTING,
    MANIPULATION,
    Generation,
    gaussian_samples,
    generate,
    keeping,
    read_image,
    read_mask,
    write_image,
)
from auditor.explain.salient_pattern import mean_probability
from auditor.settings import build, declared

SMALL = Generation(samples=24, batch=8, steps=30, eta=8.0)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def corrupt_region() -> Tensor:
    region = torch.zeros(SHAPE[1:], dtype=torch.bool)
    region[3:8, 4:10] = True
    return region


class Blobs(nn.Module):
    """A network with maps, unsure of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(SHAPE[0], 4, 3, padding=1)
        self.fc = nn.Linear(4, CLASSES)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=rng())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_the_constants_are_the_papers() -> None:
    assert (Generation().eta, INPAINTING.eta, MANIPULATION.eta) == (40, 21, 60)
    assert (INPAINTING.penalty, Generation().coarser, Generation().samples, Generation().batch) == (10, 4, 256, 32)
    assert [plan.refinement for plan in (Generation(), INPAINTING, MANIPULATION)] == [False, False, True]


def test_a_norm_is_brought_to_another_size_at_the_same_change_a_value() -> None:
    assert Generation().at((3, 224, 224)).eta == pytest.approx(40)
    assert INPAINTING.at((3, 56, 56)).eta == pytest.approx(21 / 4)
    assert Generation().at((1, 28, 28)).eta / math.sqrt(28 * 28) == pytest.approx(40 / math.sqrt(3 * 224 * 224))


def test_its_settings_are_declared() -> None:
    assert {"eta", "penalty", "coarser", "spread", "refinement", "steps"} <= set(declared(Generation))
    built = build(Generation, {"refinement": "yes", "eta": "5"}, where="generation")
    assert built == Generation(refinement=True, eta=5)
    with pytest.raises(ConfigError, match="penalty"):
        build(Generation, {"penalty": -1}, where="generation")


def test_samples_have_the_mean_and_covariance_of_the_images() -> None:
    shape = (1, 2, 3)
    images = 0.5 + 0.05 * torch.randn(8, *shape, generator=rng())
    drawn = gaussian_samples(40_000, shape, rng(), Generation(coarser=1), images).flatten(1)
    expected = torch.from_numpy(np.cov(images.flatten(1).numpy().T, bias=True)).float()
    assert torch.allclose(drawn.mean(0), images.flatten(1).mean(0), atol=1e-3)
    assert torch.allclose(torch.from_numpy(np.cov(drawn.numpy().T)).float(), expected, atol=2e-4)
    assert expected.abs().fill_diagonal_(0).max() > 1e-3  # far from independent


def test_samples_are_drawn_smaller_and_enlarged() -> None:
    plain = 0.5 + 0.1 * torch.randn(6, 3, 1, 1, generator=rng())
    even = gaussian_samples(8, (3, 16, 16), rng(), Generation(), plain.expand(6, 3, 16, 16))
    assert torch.allclose(even, even.mean((2, 3), keepdim=True).expand_as(even), atol=1e-5)  # of even images
    assert even.std(0).mean() > 0.02
    noise = gaussian_samples(50, (3, 16, 16), rng(), Generation(), torch.rand(50, 3, 16, 16, generator=rng()))
    # the mean of 4 × 4 values of U[0, 1] has a standard deviation of 0.29 / 4
    assert 0.02 < float(noise.std(0).mean()) < 0.08


def test_without_images_the_gaussian_is_isotropic() -> None:
    plan = Generation(coarser=1, spread=0.1)
    for images in (None, torch.zeros(1, 3, 8, 8)):
        drawn = gaussian_samples(500, (3, 8, 8), rng(), plan, images)
        assert float(drawn.mean()) == pytest.approx(0.5, abs=0.005)
        assert float(drawn.std(0).mean()) == pytest.approx(0.1, abs=0.005)
    wide = gaussian_samples(20, (3, 5, 3), rng(), Generation(spread=1.0))  # smaller than 4 × 4 too, and clipped
    assert wide.shape == (20, 3, 5, 3)
    assert (float(wide.min()), float(wide.max())) == (0.0, 1.0)


def test_equation_4_by_hand() -> None:
    kept = torch.tensor([[True, True, False]])
    p = torch.tensor([[[3.0, -4.0, 7.0]]], requires_grad=True)
    loss = keeping(kept, 10.0)(p)
    (gradient,) = torch.autograd.grad(loss, p)
    assert loss.item() == pytest.approx(50.0)
    assert gradient.flatten().tolist() == pytest.approx([6.0, -8.0, 0.0])
    start = torch.zeros(1, 1, 3, requires_grad=True)
    assert torch.autograd.grad(keeping(kept, 10.0)(start), start)[0].abs().sum() == 0


@pytest.mark.parametrize("given", [False, True])
def test_a_seed_becomes_a_picture_of_the_class(given: bool) -> None:
    model, (images, labels) = make_classifier(Templates()), draw_images(40)
    weights = {k: v.clone() for k, v in model._module.state_dict().items()}
    statistics = images[labels == 2] if given else None
    made = generate(model, images[0], 2, SMALL, rng(), images=statistics)
    assert mean_probability(model, images[:1], 2) < 0.01
    assert made.probability > 0.9
    assert made.probability == pytest.approx(mean_probability(model, made.image[None], 2))
    assert made.steps == SMALL.steps  # though γ was reached long before
    assert float(made.perturbation.norm()) <= SMALL.eta * (1 + 1e-4)
    assert torch.equal(made.image, (images[0] - made.perturbation).clamp(0, 1))
    again = generate(model, images[0], 2, SMALL, rng(), images=statistics)
    assert torch.equal(made.image, again.image)
    assert all(torch.equal(v, weights[k]) for k, v in model._module.state_dict().items())


def test_inpainting_changes_the_corrupt_region_and_little_else() -> None:
    model, (images, _), region = make_classifier(Templates()), draw_images(40), corrupt_region()

    def change(plan: Generation, corrupt: Tensor | None) -> float:
        made = generate(model, images[0], 2, plan, rng(), corrupt)
        assert made.probability > mean_probability(model, images[:1], 2)
        moved = made.perturbation.abs().mean(0)
        return float(moved[region].mean() / moved[~region].mean())

    plan = replace(SMALL, eta=3.0)
    assert change(plan, region) > 10
    assert change(plan, None) == pytest.approx(1.0, abs=0.2)
    assert change(replace(plan, penalty=0.0), region) == pytest.approx(1.0, abs=0.2)


def test_manipulation_refines_where_there_are_maps_and_makes_all_steps_where_not() -> None:
    images, _ = draw_images(4)
    plan = replace(SMALL, refinement=True, gamma=0.01, refine_every=4)
    refined, plain = (
        generate(make_classifier(Blobs()), images[0], 2, replace(plan, refinement=on), rng()) for on in (True, False)
    )
    assert not torch.equal(refined.image, plain.image)
    made = generate(make_classifier(Templates()), images[0], 2, plan, rng())
    assert made.steps == plan.steps
    assert made.probability > 0.9


@pytest.mark.parametrize("refinement", [False, True])
def test_the_cost_is_what_the_model_counts(refinement: bool) -> None:
    plan = Generation(refinement=refinement, gamma=0.01).affordable(700)
    assert plan is not None
    assert isinstance(plan, Generation)
    model, (images, _) = make_classifier(Blobs()), draw_images(4)
    generate(model, images[0], 2, plan, rng(), corrupt_region())
    assert model.passes <= plan.passes <= 700
    assert model.gradient_images == plan.steps * plan.batch
    assert model.forward_images == plan.forwards


def test_progress_is_reported() -> None:
    seen: list[tuple[str, int]] = []

    def track(loop: object, label: str) -> list[int]:
        steps = list(loop)  # type: ignore[call-overload]
        seen.append((label, len(steps)))
        return steps

    images, _ = draw_images(2)
    generate(make_classifier(Templates()), images[0], 2, SMALL, rng(), track=track)
    assert seen == [("picture of class 2", SMALL.steps)]


def test_what_does_not_fit_the_model_is_refused() -> None:
    model, (images, _) = make_classifier(Templates()), draw_images(2)
    with pytest.raises(ConfigError, match="a class from 0 to 4, got 5"):
        generate(model, images[0], 5, SMALL, rng())
    with pytest.raises(ImagesError, match="a seed of 3×12×12, got 3×8×8"):
        generate(model, torch.rand(3, 8, 8), 2, SMALL, rng())
    with pytest.raises(ImagesError, match="a region of 12×12, got 3×12×12"):
        generate(model, images[0], 2, SMALL, rng(), torch.ones(SHAPE, dtype=torch.bool))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_written_and_read_back(tmp_path: Path, channels: int) -> None:
    image = torch.rand(channels, 7, 9, generator=rng())
    write_image(tmp_path / "a.png", image)
    back = read_image(tmp_path / "a.png", (channels, 7, 9))
    assert back.dtype == torch.float32
    assert float((back - image).abs().max()) <= 0.5 / 255 + 1e-6
    assert read_image(tmp_path / "a.png", (3, 14, 18)).shape == (3, 14, 18)
    with pytest.raises(ConfigError, match=r"expected to write 'b\.png'"):
        write_image(tmp_path / "none" / "b.png", image)


def test_a_mask_is_white_where_something_is_restored(tmp_path: Path) -> None:
    levels = np.zeros((8, 10), dtype=np.uint8)
    levels[2:4, 6:10] = 255
    Image.fromarray(levels).convert("RGB").save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", (3, 8, 10))
    assert mask.dtype == torch.bool
    assert torch.equal(mask, torch.from_numpy(levels > 0))
    assert int(read_mask(tmp_path / "mask.png", (1, 16, 20)).sum()) == pytest.approx(32, abs=8)
    Image.fromarray(levels * 0).save(tmp_path / "black.png")
    with pytest.raises(ImagesError, match=r"'black\.png' to be white where"):
        read_mask(tmp_path / "black.png", (3, 8, 10))


def test_bad_picture_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    Image.new("RGB", (64, 64)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    for name, error in (("bad.png", "does not decode"), ("cut.png", "does not decode"), ("no.png", "no such file")):
        with pytest.raises(ImagesError, match=error):
            read_image(tmp_path / name, SHAPE)
    with pytest.raises(ImagesError, match="no such file"):
        read_image(tmp_path, SHAPE)
    with pytest.raises(ImagesError, match="1 or 3 channels"):
        read_image(tmp_path / "bad.png", (4, 12, 12))
