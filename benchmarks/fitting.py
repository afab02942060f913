"""Fits on audits whose truth is known: nulls from clean models, and what statistics are worth beside each other.

For each judged statistic an exponential null whose scale depends on the number of classes, the input size, the clean
accuracy and whether the network has convolutions (a generalised linear model with a logarithmic link and a ridge
penalty on the slopes). Models of one network and data set are alike, so a null is as certain as the number of such
groups, not of models. The weights of the score are a logistic model of the statistics' evidence with weights of at
least 0, held near 1 (fitted to a few dozen models they did no better on unseen architectures than equal ones), clean
and backdoored models counting alike, and among these the attacks, so that many variants of one do not drown the
others.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from auditor.calibrating import FLOOR, sample_of
from auditor.calibration import Given, Null, Weights
from auditor.findings import Evidence
from auditor.scoring import combine, key_of, kind_of, surprise
from benchmarks.judged import MODES, Kept, read_kept

TRAITS = ("classes", "size", "weakness", "dense")
WIDENING = frozenset({"weakness"})
"""traits that never narrow a null: of weakly trained clean networks there are few, which happen to show little of some
statistics, and one that was right on a third of its images was `backdoored` for it"""

CAP = 3.0
PRIOR_WEIGHT = 1.0
"""what a statistic counts for as long as the models do not say otherwise"""

KNOWN = {"head": Null(1 / math.log(10), 1000)}
"""detectors whose values are chances on a clean network, as −log₁₀, by a distribution that hangs on no network: what
few models show beyond it is chance too (clean ones have means of 0.35 to 0.42 in every mode, where 0.43 is expected)"""

UNWEIGHED = frozenset({"warp"})
"""detectors whose small values tell nothing: clean models and those with other triggers show the same, and weighed with
the rest they raise the alarm for all. What they find is large, and judged by itself (`auditor.confirming.FAINT`)"""


@dataclass(frozen=True)
class Sample:
    """One audited model: what was seen, and the truth."""

    kept: Kept
    given: Given
    evidence: tuple[Evidence, ...]
    """p-values not yet formed"""
    in_shares: frozenset[str] = frozenset()
    """detectors whose values are shares of images"""
    unexplained: tuple[Evidence, ...] = ()
    """the same evidence with what a verdict leaves out (`auditor.confirming.unexplained`), where that is more"""

    @property
    def backdoored(self) -> bool:
        """The truth."""
        return bool(self.kept.card["backdoored"])

    @property
    def architecture(self) -> str:
        """Grey and colour variants of a network are one."""
        return str(self.kept.card["architecture"]).partition("_")[2]

    @property
    def group(self) -> str:
        """Models of one group are alike: network and data set."""
        return f"{self.kept.card['architecture']} {self.kept.card['dataset']}"


def samples(zoo: Path, results: Path, split: str, modes: Sequence[str] = MODES) -> list[Sample]:
    """All audits of a split that exist."""
    found = []
    for mode in modes:
        for kept in read_kept(zoo, results, split, mode):
            judged = sample_of(kept.audit, images=kept.images, explained=True)
            whole = sample_of(kept.audit, images=kept.images)
            found.append(Sample(kept, judged.given, judged.evidence, judged.in_shares, whole.evidence))
    return found


def fit_nulls(clean: Sequence[Sample], near: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Null]:
    """Key → null, from clean models; slopes are held near those of ``near``, else near 0."""
    slopes = near or {}
    seen: dict[str, list[tuple[float, Sample]]] = defaultdict(list)
    for sample in clean:
        for item in sample.unexplained or sample.evidence:
            seen[sample.given.keys(item.detector, kind_of(item))[0]].append((item.value, sample))
    return {
        key: KNOWN.get(key.partition("/")[0])
        or fit_null(
            [v for v, _ in pairs],
            [s.given for _, s in pairs],
            len({s.group for _, s in pairs}),
            near=slopes.get(key),
            shares=key.partition("/")[0] in pairs[0][1].in_shares,
        )
        for key, pairs in sorted(seen.items())
    }


def fit_null(
    values: Sequence[float],
    given: Sequence[Given],
    groups: int,
    ridge: float = 0.5,
    near: Mapping[str, float] | None = None,
    shares: bool = False,
) -> Null:
    """Exponential with a log-linear scale: minimises Σ log m + v / m + ridge · |slopes − near|²; means ≥ FLOOR.

    Of ``shares``, v is −log(1 − share).
    """
    scale = Null(FLOOR, groups, shares=shares)
    prior = np.array([(near or {}).get(name, 0.0) for name in TRAITS])
    v = np.array([max(FLOOR, scale.scaled(value)) for value in values])
    x = np.array([[g.traits[name] for name in TRAITS] for g in given])

    def loss(theta: np.ndarray) -> float:
        log_mean = theta[0] + x @ theta[1:]
        return float((log_mean + v * np.exp(-log_mean)).sum() + ridge * ((theta[1:] - prior) ** 2).sum())

    start = np.array([math.log(v.mean()), *prior])
    bounds = [(None, None), *((0 if name in WIDENING else -4, 4) for name in TRAITS)]
    theta = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    slopes = {name: round(float(b), 3) for name, b in zip(TRAITS, theta[1:], strict=True)}
    return Null(round(max(FLOOR, math.exp(theta[0])), 4), groups, slopes, shares)


def with_p_values(sample: Sample, nulls: dict[str, Null]) -> list[Evidence]:
    """The evidence of one model, judged by these nulls."""
    done = []
    for item in sample.evidence:
        null = sample.given.null(nulls, item.detector, kind_of(item))
        done.append(replace(item, p_value=null.p_value(item.value) if null else 1.0))
    return done


def balanced(attacks: Sequence[str]) -> npt.NDArray[np.float64]:
    """Weights of samples, sum 1: clean ones (no attack) half of it, each attack the same share of the other half."""
    counts = Counter(attacks)
    planted = max(1, len(counts) - ("" in counts))
    return np.array([0.5 / counts[name] / (1 if not name else planted) for name in attacks])


def fit_weights(train: Sequence[Sample], nulls: dict[str, Null], ridge: float = 0.3) -> Weights:
    """Logistic regression on the evidence that names the leading class, with weights near `PRIOR_WEIGHT`."""
    every = [with_p_values(s, nulls) for s in train]
    judged = [[item for item in items if item.detector not in UNWEIGHED] for items in every]
    names = sorted({key_of(item) for items in judged for item in items})
    truth = np.array([1.0 if s.backdoored else -1.0 for s in train])
    balance = balanced([str(s.kept.card["attack"]) if s.backdoored else "" for s in train])
    model = Weights(of=dict.fromkeys(names, 1.0), cap=CAP)
    for _ in range(4):  # which class leads depends on the weights, and they on it
        x, free = np.zeros((len(judged), len(names))), np.zeros((len(judged), len(names)), dtype=bool)
        for row, items in enumerate(judged):
            together = combine(items, model)
            for item in (items[i] for i in together.counting):
                column = names.index(key_of(item))
                x[row, column] += surprise(item, model)
                free[row, column] |= item.confirmed

        def loss(theta: np.ndarray, x: np.ndarray = x, free: np.ndarray = free) -> float:
            parts = x * theta[1:]
            # as in scoring: unconfirmed, no statistic reaches even odds alone
            parts = np.where(free, parts, np.minimum(parts, max(0.0, -theta[0] - 0.1)))
            margin = truth * (theta[0] + parts.sum(1))
            loss = float((balance * np.logaddexp(0, -margin)).sum())
            return loss + ridge * float(((theta[1:] - PRIOR_WEIGHT) ** 2).mean())

        start = np.array([model.intercept, *(model.of[name] for name in names)])
        theta = minimize(loss, start, method="L-BFGS-B", bounds=[(None, None), *[(0, None)] * len(names)]).x
        model = Weights(float(theta[0]), dict(zip(names, theta[1:].tolist(), strict=True)), CAP)
    silent = {key_of(item): 0.0 for items in every for item in items if item.detector in UNWEIGHED}
    return replace(model, of={**model.of, **silent})
