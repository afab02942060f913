"""Bias maps: where they differ, there the trigger is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, TARGET, Patched, Templates, make_context

from auditor.detectors.bias_map import BiasMap
from auditor.detectors.fgsm import file_images, iterate, starts


def test_the_target_of_a_planted_patch_has_the_largest_distance() -> None:
    found = list(BiasMap().detect(make_context(Patched(), Templates())))
    values = [m.value for m in found]
    assert int(np.argmax(values)) == TARGET
    assert values[TARGET] > 1.5 * np.sort(values)[-2]
    ours, theirs, difference = (e.pixels for e in found[TARGET].exhibits)
    np.testing.assert_allclose(difference, 0.5 + 0.5 * (ours - theirs), atol=1e-6)  # grey = equal
    assert np.abs(ours - theirs).max() > 0.2


def test_two_equal_models_have_equal_maps() -> None:
    """Same starts on both models: without a difference in weights there is none in the maps."""
    for found in BiasMap(epsilons=(0.1,), samples=8).detect(make_context(Patched(), Patched())):
        assert found.value == 0
        assert found.extras["raw L2 distance"] == 0


def test_without_a_reference_there_are_pictures_and_no_numbers() -> None:
    found = list(BiasMap(epsilons=(0.1,), samples=4, iterations=3).detect(make_context(Patched())))
    assert [m.target_class for m in found] == list(range(CLASSES))
    assert all(math.isnan(m.value) for m in found)
    assert all([e.title for e in m.exhibits] == ["bias map, suspect"] for m in found)
    assert "raw L2 distance" not in found[0].extras


def test_the_map_is_the_mean_of_what_the_model_files_under_a_class() -> None:
    """From a blank start at one ε, computed again: one image a class, filed under the answer it gets."""
    found = list(BiasMap(epsilons=(0.1,), iterations=2).detect(make_context(Patched(), seed=4)))
    ctx = make_context(Patched(), seed=4)
    files: list[list[np.ndarray]] = [[] for _ in range(CLASSES)]
    for kind, count in (("blank", CLASSES), ("noise", 4 * CLASSES), ("data", 4 * CLASSES)):
        moved = iterate(ctx.model, starts(ctx, kind, count), torch.arange(count) % CLASSES, 0.1, 2)
        for image, answer in zip(moved.numpy(), ctx.model.predict(moved).tolist(), strict=True):
            files[answer].append(image)
    for m, own in zip(found, files, strict=True):
        assert m.extras["images filed"] == len(own)
        if own:
            np.testing.assert_allclose(m.exhibits[0].pixels, np.mean(own, axis=0), atol=1e-5)


def test_the_raw_distance_of_the_paper_on_request() -> None:
    ctx = make_context(Patched(), Templates())
    for found in BiasMap(epsilons=(0.1,), samples=6, iterations=4, corrected=False).detect(ctx):
        if not math.isnan(found.value):
            assert found.value == found.extras["raw L2 distance"]


def test_distances_are_averaged_over_noise_and_data_starts() -> None:
    ctx, again = make_context(Patched(), Templates(), seed=3), make_context(Patched(), Templates(), seed=3)
    found = list(BiasMap(epsilons=(0.5,), samples=10, iterations=4, corrected=False).detect(ctx))
    assert again.reference is not None
    starts(again, "blank", CLASSES)
    distances = []
    for kind in ("noise", "data"):
        begin = starts(again, kind, 10 * CLASSES)
        targets = torch.arange(10 * CLASSES) % CLASSES
        means = []
        for model in (again.model, again.reference):
            moved = iterate(model, begin, targets, 0.5, 4)
            means.append(file_images(moved, model.predict(moved), CLASSES).mean)
        distances.append((means[0] - means[1]).flatten(1).norm(dim=1))
    expected = torch.stack(distances).mean(0)
    finite = [k for k in range(CLASSES) if not math.isnan(found[k].value)]
    assert len(finite) >= 3
    for k in finite:
        assert found[k].value == pytest.approx(float(expected[k]), rel=1e-4)


def test_with_many_classes_each_gets_fewer_starts_but_four() -> None:
    for most, expected in ((5 * CLASSES, 5), (CLASSES, 4), (1000, 7)):
        ctx = make_context(Templates(), Templates())
        list(BiasMap(epsilons=(0.1,), samples=7, iterations=1, most_starts=most).detect(ctx))
        assert ctx.model.gradient_images == CLASSES * (2 * expected + 1)


def test_cost_is_as_the_docstring_says() -> None:
    ctx = make_context(Templates(), Templates())
    list(BiasMap(epsilons=(0.1, 0.5), samples=3, iterations=4).detect(ctx))
    assert ctx.reference is not None
    passes = ctx.model.gradient_images + ctx.reference.gradient_images
    assert passes == 2 * CLASSES * 2 * 4 * (2 * 3 + 1)
