"""SSIM against scikit-image's, against the formula summed place by place, and where its value is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from auditor.explain.ssim import gaussian, ssim


def pairs(*shape: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    first = torch.rand(shape, generator=rng)
    return first, 0.6 * first + 0.4 * torch.rand(shape, generator=rng)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (4.0, 0.0), (3.0, 500.0)])
@pytest.mark.parametrize("size", [(11, 11), (20, 17), (33, 12)])
def test_agrees_with_scikit_image(size: tuple[int, int], scale: float, offset: float) -> None:
    first, second = (maps * scale + offset for maps in pairs(3, 4, *size))
    theirs = [
        structural_similarity(
            a.double().numpy(), b.double().numpy(), channel_axis=0, data_range=scale,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for a, b in zip(first, second, strict=True)
    ]  # fmt: skip
    assert ssim(first, second, scale).tolist() == pytest.approx(theirs, abs=2e-5)


@pytest.mark.parametrize(
    ("size", "window"), [((9, 10), (9, 9)), ((4, 4), (3, 3)), ((2, 2), (2, 2)), ((2, 12), (2, 11))]
)
def test_small_maps_have_a_smaller_window(size: tuple[int, int], window: tuple[int, int]) -> None:
    first, second = pairs(2, 3, *size)

    def weights(side: int) -> np.ndarray:
        bell = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * 1.5**2))
        return bell / bell.sum()

    kernel = np.outer(weights(window[0]), weights(window[1]))

    def one_map(x: np.ndarray, y: np.ndarray) -> float:
        places = []
        for top in range(size[0] - window[0] + 1):
            for left in range(size[1] - window[1] + 1):
                here = np.s_[top : top + window[0], left : left + window[1]]
                mx, my = (kernel * x[here]).sum(), (kernel * y[here]).sum()
                vx, vy = (kernel * (x[here] - mx) ** 2).sum(), (kernel * (y[here] - my) ** 2).sum()
                cov = (kernel * (x[here] - mx) * (y[here] - my)).sum()
                c1, c2 = 0.01**2, 0.03**2
                places.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        return float(np.mean(places))

    expected = [
        np.mean([one_map(first[n, c].double().numpy(), second[n, c].double().numpy()) for c in range(3)])
        for n in range(2)
    ]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-5)


def test_equal_maps_are_1_and_constant_ones_differ_by_luminance_alone() -> None:
    first, _ = pairs(2, 3, 14, 14)
    assert ssim(first, first).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    dark, bright = torch.full((1, 1, 12, 12), 0.2), torch.full((1, 1, 12, 12), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(ssim(dark, bright)) == pytest.approx(expected, abs=1e-6)


def test_a_gaussian_is_centred_and_sums_to_1() -> None:
    weights = gaussian(5, 1.0)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert weights.tolist() == pytest.approx(weights.flip(0).tolist())
    assert float(weights[1] / weights[2]) == pytest.approx(np.exp(-0.5))


def test_maps_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="expected two batches"):
        ssim(torch.rand(2, 3, 12, 12), torch.rand(1, 3, 12, 12))
