"""Each transform against another implementation, and at the strengths where it must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.ndimage import median_filter as scipy_median
from torch import Tensor

from auditor.explain.transforms import (
    BLUR,
    FAMILIES,
    JPEG,
    MEDIAN,
    Family,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    median_filter,
    median_of,
    reverse_colours,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=rng(1))


def smooth(channels: int = 3) -> Tensor:
    """Two pictures of a soft bump on a ramp, (2, C, 32, 32)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    bump = 0.5 * torch.exp(-4 * (x**2 + y**2)) + 0.2 + 0.1 * x
    return torch.stack([bump, bump.flip(1)]).unsqueeze(1).repeat(1, channels, 1, 1)


def test_blur_is_a_separable_gaussian_of_seven_taps() -> None:
    images, sigma = drawn(2, 3, 12, 15), 1.75
    taps = np.exp(-0.5 * (np.arange(-3, 4) / sigma) ** 2)
    taps /= taps.sum()
    expected = images.numpy().astype(np.float64)
    for axis in (2, 3):
        expected = correlate1d(expected, taps, axis=axis, mode="mirror")
    assert np.allclose(gaussian_blur(images, sigma).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 12), (5, 5), (12, 4), (3, 2), (1, 6), (1, 1)])
def test_median_is_scipys_with_mirrored_edges_and_a_kernel_that_fits(shape: tuple[int, int]) -> None:
    images = drawn(2, 3, *shape)
    rows, columns = ([1, 1, 3, 3, 5][min(side, 5) - 1] for side in shape)
    once = scipy_median(images.numpy(), size=(1, 1, rows, columns), mode="mirror")
    assert np.array_equal(median_filter(images, 1).numpy(), once)
    twice = scipy_median(once, size=(1, 1, rows, columns), mode="mirror")
    assert np.array_equal(median_filter(images, 2).numpy(), twice)


def test_median_does_not_depend_on_how_images_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    images = drawn(5, 1, 8, 8)
    whole = median_filter(images, 1)
    monkeypatch.setattr("auditor.explain.transforms.CHUNK", 2 * 64)
    assert torch.equal(median_filter(images, 1), whole)


@pytest.mark.parametrize("count", [1, 3, 5, 15, 25])
def test_forgetful_selection_is_the_median(count: int) -> None:
    items = (drawn(count, 200) * 8).round()  # with ties
    assert torch.equal(median_of(list(items)), items.median(0).values)


def test_small_sides_are_blurred_with_the_kernel_that_fits() -> None:
    images = drawn(1, 1, 6, 12)
    expected = images.numpy().astype(np.float64)
    for axis, reach in ((2, 2), (3, 3)):
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 2.0) ** 2)
        expected = correlate1d(expected, taps / taps.sum(), axis=axis, mode="mirror")
    assert np.allclose(gaussian_blur(images, 2.0).numpy(), expected, atol=1e-6)
    assert torch.equal(gaussian_blur(drawn(1, 3, 1, 2), 2.0), drawn(1, 3, 1, 2))


def test_colours_are_reversed_around_the_mean_of_each_channel() -> None:
    images = torch.tensor([[[[0.2, 0.4]], [[0.5, 0.9]]]])
    assert reverse_colours(images).flatten().tolist() == pytest.approx([0.4, 0.2, 0.9, 0.5])
    stated = reverse_colours(images, torch.tensor([0.25, 0.3]))
    assert stated.flatten().tolist() == pytest.approx([0.3, 0.1, 0.1, 0.0])  # 2·0.3 − 0.9 is clipped


def test_reversing_twice_is_the_identity_where_nothing_clips() -> None:
    images = 0.3 + 0.4 * drawn(4, 3, 6, 6)
    mean = images.mean((0, 2, 3))
    once = reverse_colours(images, mean)
    assert (once - images).abs().max() > 0.1
    assert torch.allclose(reverse_colours(once, mean), images, atol=1e-6)


def test_noise_has_the_level_it_says_and_is_the_generators() -> None:
    grey = torch.full((4, 3, 32, 32), 0.5)
    noisy = gaussian_noise(grey, 0.1, rng(5))
    assert float((noisy - 0.5).std()) == pytest.approx(0.1, rel=0.03)
    assert torch.equal(noisy, gaussian_noise(grey, 0.1, rng(5)))
    assert not torch.equal(noisy, gaussian_noise(grey, 0.1, rng(6)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_changes_little_at_95_and_much_at_10(channels: int) -> None:
    images = (smooth(channels) + 0.15 * (drawn(2, channels, 32, 32) - 0.5)).clamp(0, 1)
    grey = images.mean(1, keepdim=True).expand_as(images)  # fine colour is lost to chroma subsampling at any quality
    fine, coarse = ((jpeg(grey, quality) - grey).abs().mean() for quality in (95, 10))
    assert fine < 0.01
    assert coarse > 3 * fine
    assert jpeg(images, 50).shape == images.shape


def test_jpeg_keeps_channels_apart_and_in_order() -> None:
    for channels in (2, 3, 5):
        levels = torch.linspace(0.2, 0.8, channels)
        flat = levels.view(1, -1, 1, 1).expand(2, channels, 16, 16)
        assert torch.allclose(jpeg(flat, 95), flat, atol=0.015)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.identity is not None], ids=lambda f: f.name)
def test_strength_zero_is_the_identity(family: Family) -> None:
    images = drawn(2, 3, 9, 9)
    assert family.identity is not None
    assert family.identity in family.standard
    assert torch.equal(family.apply(images, family.identity, rng()), images)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_families_stay_in_range_grow_and_leave_their_input(family: Family) -> None:
    images = smooth()
    before = images.clone()
    mean = images.mean((0, 2, 3))
    changes = []
    for strength in family.full:
        moved = family.apply(images, strength, rng(), mean)
        assert moved.shape == images.shape
        assert moved.min() >= 0
        assert moved.max() <= 1
        changes.append(float((moved - images).abs().mean()))
    assert torch.equal(images, before)
    assert changes[-1] > 1.5 * changes[0]
    assert set(family.standard) <= set(family.full)
    assert 2 <= len(family.standard) <= 6


def test_strengths_are_the_papers() -> None:
    assert [f"{s:.2f}" for s in BLUR.strengths("full")] == [f"{0.25 * i:.2f}" for i in range(21)]
    assert MEDIAN.strengths("full") == (0, 1, 2, 3, 4, 5)
    assert len(BLUR.strengths("standard")) == 6
    assert JPEG.identity is None


def test_the_median_keeps_a_silhouette_that_blur_softens() -> None:
    """Section 4.1: the reason for both probes."""
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 1
    speckled = edge.clone()
    speckled[0, 0, 3, 3], speckled[0, 0, 10, 12] = 1, 0
    assert torch.equal(median_filter(speckled, 5), edge)
    steps = gaussian_blur(edge, 2.0).diff(dim=3)
    assert steps.max() < 0.3
