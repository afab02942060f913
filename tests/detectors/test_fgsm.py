"""Iterated FGSM and class maps against loops and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, SHAPE, Patched, draw_images, make_classifier, make_context, untied
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.detectors.fgsm import ClassMaps, file_images, iterate, map_distance, starts


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("pair", [False, True])
def test_iterate_against_a_loop(pair: bool) -> None:
    """Eq. 1, x ← clip(x − ε·sign(∇ₓ CE(f(x), t))); Eq. 2 with CE(f(x), t) − CE(f(x), s). One image at a time."""
    model = make_classifier(untied(Patched()))
    images, labels = draw_images(7)
    targets = (labels + 2) % CLASSES
    ours = iterate(model, images, targets, 0.07, 4, labels if pair else None)
    for number, image in enumerate(images):
        x = image[None]
        for _ in range(4):
            x = x.detach().requires_grad_()
            log_f = F.log_softmax(model.logits(x), dim=1)[0]
            loss = -log_f[targets[number]]
            if pair:
                loss = loss + log_f[labels[number]]
            loss.backward()
            assert x.grad is not None
            x = torch.clamp(x - 0.07 * torch.sign(x.grad), 0, 1)
        torch.testing.assert_close(ours[number], x[0].detach())
    assert model.gradient_images == 2 * 7 * 4


def test_iterate_reaches_the_target_and_stays_in_range() -> None:
    model = make_classifier(Patched())
    images, labels = draw_images(20)
    targets = (labels + 1) % CLASSES
    moved = iterate(model, images, targets, 0.1, 10)
    assert (model.predict(moved) == targets).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = draw_images(20)
    whole = iterate(make_classifier(untied(Patched())), images, (labels + 1) % CLASSES, 0.1, 3, labels)
    monkeypatch.setattr(Classifier, "batch_images", property(lambda self: 8))
    pieces = iterate(make_classifier(untied(Patched())), images, (labels + 1) % CLASSES, 0.1, 3, labels)
    torch.testing.assert_close(whole, pieces)


def test_starts() -> None:
    ctx = make_context(Patched())
    assert starts(ctx, "blank", 3).abs().sum() == 0
    noise = starts(ctx, "noise", 50)
    assert noise.shape == (50, *SHAPE)
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.std() == pytest.approx(12**-0.5, abs=0.01)
    wanted = torch.arange(20) % CLASSES
    data = starts(ctx, "data", 20, wanted)
    assert torch.equal(ctx.model.predict(data), wanted)
    pool = {image.numpy().tobytes() for image in ctx.images.search}
    assert all(image.numpy().tobytes() in pool for image in starts(ctx, "data", 20))
    assert all(image.numpy().tobytes() in pool for image in starts(ctx, "data", 2, torch.tensor([99, 99])))


def test_maps_against_numpy() -> None:
    images = torch.rand(30, *SHAPE, generator=rng())
    groups = torch.randint(4, (30,), generator=rng(1))
    groups[groups == 2] = 0
    groups[:3] = torch.tensor([3, 3, 3])
    maps = file_images(images, groups, 6)
    for group in range(6):
        own = images.numpy()[groups.numpy() == group].astype(np.float64)
        assert maps.count[group] == len(own)
        expected = own.mean(0) if len(own) else np.zeros(SHAPE)
        np.testing.assert_allclose(maps.mean[group], expected, atol=1e-5)
        spread = own.var(0, ddof=1) if len(own) > 1 else np.zeros(SHAPE)
        np.testing.assert_allclose(maps.variance[group], spread, atol=1e-5)


def test_distance_against_numpy() -> None:
    ours = torch.rand(40, *SHAPE, generator=rng(2))
    theirs = torch.rand(40, *SHAPE, generator=rng(3)) * 0.5
    groups = torch.tensor([0] * 20 + [1] * 19 + [2])
    raw, corrected = map_distance(file_images(ours, groups, 4), file_images(theirs, groups, 4))
    for group in (0, 1):
        a = ours.numpy()[groups.numpy() == group].astype(np.float64)
        b = theirs.numpy()[groups.numpy() == group].astype(np.float64)
        squared = ((a.mean(0) - b.mean(0)) ** 2).sum()
        noise = (a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b)).sum()
        assert raw[group] == pytest.approx(np.sqrt(squared), rel=1e-3)
        assert corrected[group] == pytest.approx(np.sqrt((squared - noise) / 432), rel=1e-3)
    for group in (2, 3):  # one image, none
        assert torch.isnan(raw[group])
        assert torch.isnan(corrected[group])


def drawn(counts: list[int], shift: float, seed: int) -> ClassMaps:
    """Images of one and the same distribution in every group; group 0 shifted."""
    groups = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.rand(len(groups), *SHAPE, generator=rng(seed))
    images[groups == 0] += shift
    return file_images(images, groups, len(counts))


def test_few_images_filed_raise_the_raw_distance_but_not_the_corrected() -> None:
    """Two models whose maps are equal but for chance: classes of 3 and of 300 images must look alike."""
    counts = [300, 300, 30, 3]
    raws, corrects = [], []
    for seed in range(12):
        raw, corrected = map_distance(drawn(counts, 0.0, seed), drawn(counts, 0.0, 100 + seed))
        raws.append(raw)
        corrects.append(corrected.square())
    raw, corrected = torch.stack(raws).mean(0), torch.stack(corrects).mean(0).sqrt()
    assert raw[3] > 5 * raw[0]  # the false peak
    assert raw[3] > raw[2] > raw[1]
    assert corrected.max() < 0.08  # of a standard deviation of 0.29


def test_a_real_difference_survives_the_correction() -> None:
    counts = [30, 300, 30, 3]
    _, corrected = map_distance(drawn(counts, 0.3, 1), drawn(counts, 0.0, 2))
    assert corrected[0] == pytest.approx(0.3, abs=0.05)
    assert int(corrected.argmax()) == 0
    raw, _ = map_distance(drawn([30, 300, 30, 3], 0.15, 1), drawn(counts, 0.0, 2))
    assert int(raw.argmax()) == 3  # what the correction is for
