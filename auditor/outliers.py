"""Pure statistics: order statistics, MAD anomaly index, p-values, family-wise correction. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.floating]
Numbers = npt.NDArray[Any]

MOST_SHARE = 0.995
"""half an image short of all of a hundred"""

LEAST_CHANCE = 1e-30
"""beyond which a chance is not told"""

MAD_TO_SIGMA = 1.4826
"""MAD × this = standard deviation of a normal distribution"""


def anomaly_index(values: Values) -> npt.NDArray[np.float64]:
    """Distance from the median in robust standard deviations, signed; (K,) → (K,).

    (v − median) / (1.4826·MAD) as in Neural Cleanse (Wang et al. 2019, Section IV-B). A MAD of zero yields NaN
    throughout: with no spread there is no scale, and pretending otherwise raises false alarms.
    """
    v = np.asarray(values, dtype=np.float64)
    deviation = v - np.median(v)
    mad = float(np.median(np.abs(deviation)))
    return deviation / (MAD_TO_SIGMA * mad) if mad > 0 else np.full_like(v, np.nan)


def leading_gap(values: Values, most: int = 3) -> tuple[float, tuple[int, ...]]:
    """The largest step down among the top of the ranking, and the classes above it.

    A backdoor lifts its target classes away from all others; a weak or odd clean model lifts several classes
    gradually. So the step between neighbours in the ranking is compared instead of the distance to the median. It is
    read after the first, second … ``most``-th class, so that two or three targets are seen too, but never past half
    of the classes. A step after the m-th class is divided by m: the more leaders a step is allowed to have, the more
    chances a clean model gets to show one.

    Returns (gap ≥ 0, leading classes in falling order); (0.0, ()) for fewer than two values.
    """
    order, steps, _ = _ranking(values, most)
    return _largest(order, steps)


def prominence(values: Values, most: int = 3) -> tuple[float, tuple[int, ...]]:
    """How far the leading classes rise above both zero and the rest: √(step × their mean), as in `leading_gap`.

    The step alone is small when a backdoor drags a similar class up with its target, the height alone is large when
    several classes of a weak model are within reach; the geometric mean wants both. For values that are at least 0 and
    stay near 0 on a clean model, in their unit.

    Returns (prominence ≥ 0, leading classes in falling order); (0.0, ()) for fewer than two values.
    """
    order, steps, heights = _ranking(values, most)
    return _largest(order, np.sqrt(steps * heights))


def _ranking(values: Values, most: int) -> tuple[Numbers, Numbers, Numbers]:
    """Order of the values; for 1, 2 … leaders the step below them and their mean (at least 0). Empty if unrankable."""
    v = np.asarray(values, dtype=np.float64)
    if len(v) < 2 or not np.isfinite(v).all():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.argsort(-v, kind="stable")
    ranked = v[order]
    counts = np.arange(1, max(1, min(most, len(v) // 2)) + 1)
    steps = (ranked[counts - 1] - ranked[counts]) / counts
    return order, steps, np.clip(np.cumsum(ranked)[counts - 1] / counts, 0, None)


def _largest(order: Numbers, rises: Numbers) -> tuple[float, tuple[int, ...]]:
    if not len(rises):
        return 0.0, ()
    best = int(np.argmax(rises))
    return float(rises[best]), tuple(int(c) for c in order[: best + 1])


def surprises(values: Values, *beside: Values) -> npt.NDArray[np.float64]:
    """How unlikely each value is to lie so far above the others, in orders of magnitude; (K,) → (K,), at least 0.

    −log₁₀ of the chance that any of K normal values comes so high: the studentised deleted residual, each value judged
    by a line through all others, whose covariates are ``beside``. Of normal values the largest is exponential with a
    mean of 0.5, however many they are. Where one leads, the scale is of those beside it alone, all of which tell of
    it; the median of their distances (`anomaly_index`) wastes most of ten.

    Zeros for fewer than four values more than covariates, or no spread.
    """
    v = np.asarray(values, dtype=np.float64)
    if len(v) < len(beside) + 4 or not np.isfinite(v).all() or np.ptp(v) == 0:
        return np.zeros(len(v))
    with np.errstate(divide="ignore"):  # of a value below all others the chance is 1
        of_any = -np.expm1(len(v) * np.log1p(-_chances(v, *beside)))
    return np.asarray(-np.log10(np.clip(of_any, LEAST_CHANCE, 1.0)))


def _chances(v: Numbers, *beside: Values) -> Numbers:
    """Of each of K values the chance of one so high, by a line through the K − 1 others; (K,), not yet for any of K."""
    from scipy.stats import t as student_t

    design = np.column_stack([np.ones(len(v)), *beside])
    hat = design @ np.linalg.pinv(design)
    residual, free = v - hat @ v, np.clip(1 - np.diag(hat), 1e-9, None)
    dof = len(v) - design.shape[1] - 1
    variance = np.clip((residual @ residual - residual**2 / free) / dof, 1e-12 * v.var(), None)
    return np.asarray(student_t.sf(residual / np.sqrt(variance * free), dof))


def holm(p_values: Values) -> npt.NDArray[np.float64]:
    """Holm's step-down correction: family-wise p-values, (M,) → (M,), whatever their dependence."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    corrected = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    out = np.empty_like(p)
    out[order] = corrected
    return out


def standard_error(rate: float, count: int) -> float:
    """Standard error of a share of ``count`` images (Agresti-Coull, so never zero)."""
    n = count + 4
    p = (rate * count + 2) / n
    return float(np.sqrt(p * (1 - p) / n))


def wilson(rate: float, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share ``rate`` of ``count`` (Wilson); (0, 1) for none."""
    if not count:
        return 0.0, 1.0
    z = 1.96
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5 / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def label_map_index(shares: Values, targets: Sequence[int]) -> float:
    """How much a label map looks like one that sends every class to another: (S,) and S answers → [0, 1].

    ``shares`` holds, for each source class, the share of its images that get the wrong answer in ``targets``. Median
    over the sources, times the share of distinct answers. 0.0 for fewer than three sources: with two classes any
    confusion is a map.
    """
    if len(targets) < 3:
        return 0.0
    return float(np.median(np.asarray(shares, dtype=np.float64)) * len(set(targets)) / len(targets))


def all_to_all_index(matrix: npt.NDArray[np.floating]) -> tuple[float, tuple[int, ...]]:
    """`label_map_index` of a source × target matrix and the answers it consists of; (K, K) → (index, targets).

    NaN entries (the diagonal, pairs that were not searched) do not count; (0.0, ()) unless every source was searched.
    """
    m = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(m, np.nan)
    if len(m) < 3 or np.isnan(m).all(axis=1).any():
        return 0.0, ()
    targets = np.nanargmax(m, axis=1).tolist()
    return label_map_index(np.nanmax(m, axis=1), targets), tuple(sorted(set(targets)))


def unbounded(share: float) -> float:
    """A share in [0, 1] on a scale that does not end: −log(1 − v); like v itself where it is small.

    Shares are counted on some hundred images, so that 1 is taken for `MOST_SHARE`.
    """
    return -math.log1p(-min(max(share, 0.0), MOST_SHARE))


def exponential_p_value(value: float, mean: float, count: int) -> float:
    """Chance that a clean model shows at least ``value``, given ``count`` clean models with this ``mean``.

    The predictive tail of an exponential distribution whose scale is itself estimated: (1 + v/(n·mean))^−n. It falls
    more slowly than the plain exponential, so few calibration models make for cautious p-values.
    """
    return float((1 + max(value, 0.0) / (count * mean)) ** -count)


def exponential_threshold(p: float, mean: float, count: int) -> float:
    """The value whose `exponential_p_value` is ``p``."""
    return float(count * mean * (p ** (-1 / count) - 1))


def leader_p_value(values: Values) -> float:
    """Chance that the largest of K exchangeable normal values lies this far above the others.

    Student-t prediction interval of the leader against the rest, Bonferroni over K. For statistics without a
    calibration. 1.0 for fewer than four values or no spread.
    """
    v = np.sort(np.asarray(values, dtype=np.float64))
    if len(v) < 4 or not np.isfinite(v).all() or np.ptp(v[:-1]) == 0:
        return 1.0
    return float(min(1.0, len(v) * _chances(v)[-1]))
