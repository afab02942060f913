"""Write auditor/calibration.json from audits of develop models.

    python -m benchmarks.evaluate --zoo zoo --split develop --out results --jobs 2
    python -m benchmarks.calibrate --zoo zoo --results results

With ``--renew``, only the nulls of what these audits measured (`benchmarks.evaluate --detector NAME`).

For each judged statistic, and for each mode (with images or class impressions, with a reference or without), an
exponential null from the clean models; its scale depends on the number of classes, the input size and the clean
accuracy (a generalised linear model with a logarithmic link and a ridge penalty on the slopes). Models of one network
and data set are alike, so a null is as certain as the number of such groups, not of models. Then the weights of the
score: a logistic model of the statistics' evidence with weights of at least 0, held near 1 (fitted to a few dozen
models they did no better on unseen architectures than equal ones), clean and backdoored models counting alike, and
among these the attacks, so that many variants of one do not drown the others. Where the score alarms is set so that
clean models of the develop split, judged by a calibration that never saw their architecture, alarm in at most
``--false-alarms`` of the cases, before what only the score suspects is measured again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from auditor.calibrating import FLOOR, as_json, entry, sample_of
from auditor.calibration import Calibration, Given, Null, Weights, using
from auditor.findings import Evidence, Verdict
from auditor.scoring import combine, key_of, kind_of, surprise
from auditor.weighing import FAINT, FAR
from benchmarks.judged import MODES, Judged, Kept, judged, read_kept
from benchmarks.rates import rates

TRAITS = ("classes", "size", "weakness")
CAP = 3.0
PRIOR_WEIGHT = 1.0
"""what a statistic counts for as long as the models do not say otherwise"""


@dataclass(frozen=True)
class Sample:
    """One audited model: what was seen, and the truth."""

    kept: Kept
    given: Given
    evidence: tuple[Evidence, ...]
    """p-values not yet formed"""
    in_shares: frozenset[str] = frozenset()
    """detectors whose values are shares of images"""

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
            measured = sample_of(kept.audit, images=kept.images)
            found.append(Sample(kept, measured.given, measured.evidence, measured.in_shares))
    return found


def fit_nulls(clean: Sequence[Sample], near: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Null]:
    """Key → null, from clean models; slopes are held near those of ``near``, else near 0."""
    slopes = near or {}
    seen: dict[str, list[tuple[float, Sample]]] = defaultdict(list)
    for sample in clean:
        for item in sample.evidence:
            seen[sample.given.keys(item.detector, kind_of(item))[0]].append((item.value, sample))
    return {
        key: fit_null(
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
    theta = minimize(loss, start, method="L-BFGS-B", bounds=[(None, None), *[(-4, 4)] * len(TRAITS)]).x
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
    judged = [with_p_values(s, nulls) for s in train]
    names = sorted({key_of(item) for items in judged for item in items})
    truth = np.array([1.0 if s.backdoored else -1.0 for s in train])
    balance = balanced([str(s.kept.card["attack"]) if s.backdoored else "" for s in train])
    model = Weights(of=dict.fromkeys(names, 1.0), cap=CAP)
    for _ in range(4):  # which class leads depends on the weights, and they on it
        x, free = np.zeros((len(judged), len(names))), np.zeros((len(judged), len(names)), dtype=bool)
        for row, items in enumerate(judged):
            leading = combine(items, model).target_class
            for item in items:
                if leading in item.target_classes:
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
    return model


def fit(every: Sequence[Sample], alarm: float = 0.5) -> Calibration:
    """Nulls and weights from these audits."""
    nulls = fit_nulls([s for s in every if not s.backdoored])
    model = fit_weights(every, nulls)
    weights = replace(
        model,
        intercept=round(model.intercept, 4),
        of={k: round(v, 4) for k, v in model.of.items()},
        alarm=round(min(alarm, 0.999), 4),
    )
    return Calibration(nulls, weights, "python -m benchmarks.calibrate, models of the develop split")


def out_of_fold(every: Sequence[Sample], alarm: float = 0.5) -> list[Judged]:
    """The verdict on each sample by a calibration that saw no model of its architecture."""
    found: dict[int, Judged] = {}
    for left_out in sorted({s.architecture for s in every}):
        with using(fit([s for s in every if s.architecture != left_out], alarm)):
            found |= {i: judged(s.kept) for i, s in enumerate(every) if s.architecture == left_out}
    return [found[i] for i in range(len(every))]


ON_IMAGES = "faint changes of the whole image, on images"


def least_clean(every: Sequence[Sample]) -> dict[str, tuple[float, str]]:
    """What `auditor.weighing.FAR` and `FAINT` are set beyond: statistic → the least p-value of a clean model without a
    reference, by nulls that saw no model of its architecture, and the model's name."""
    found: dict[str, tuple[float, str]] = {}
    alone = [s for s in every if not s.backdoored and not s.given.reference]
    for left_out in sorted({s.architecture for s in alone}):
        nulls = fit_nulls([s for s in alone if s.architecture != left_out])
        for sample in (s for s in alone if s.architecture == left_out):
            for item in with_p_values(sample, nulls):
                faint = sample.given.images and item.detector in ("blend", "low_frequency")
                name = ON_IMAGES if faint else item.statistic
                if faint or name in FAR:
                    found[name] = min(found.get(name, (1.0, "")), (item.p_value, sample.kept.card["name"]))
    return found


def calibrate(every: Sequence[Sample], false_alarms: float) -> tuple[dict[str, Any], list[Judged]]:
    """The content of calibration.json, and the verdicts on these models out of fold."""
    # a confirmed trigger decides whatever the alarm is
    clean = [r.score for r in out_of_fold(every) if not r.backdoored and r.verdict is not Verdict.BACKDOORED]
    alarm = max(0.5, float(np.quantile(clean, 1 - false_alarms, method="higher")) + 1e-3)
    models = {
        "clean audits": sum(not s.backdoored for s in every),
        "backdoored audits": sum(s.backdoored for s in every),
    }
    return as_json(fit(every, alarm), models), out_of_fold(every, alarm)


def keeping(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """``found`` with the nulls of statistics that none of the audits measured, as they were ``before``.

    Of the detectors that run at thorough effort only, nothing is known beside others: their weight is 0, and a
    confirmed trigger of theirs is what counts.
    """
    measured = {key.partition("/")[0] for key in found["statistics"]}
    kept = {k: e for k, e in before.get("statistics", {}).items() if k.partition("/")[0] not in measured}
    known = {k.partition(" on ")[0]: 0.0 for k in kept}
    statistics = {**kept, **found["statistics"]}
    weights = known | found["score"]["weights"]
    return {**found, "statistics": statistics, "score": {**found["score"], "weights": weights}}


def renewed(before: dict[str, Any], clean: Sequence[Sample]) -> dict[str, Any]:
    """The calibration ``before``, with new nulls for what these audits of clean models measured.

    For a detector that searches better than it did, audited alone and on fewer models: so slopes are held near those
    from before, and the nulls are only as certain as the groups of models now. The weights of the score stay.
    """
    statistics = dict(before["statistics"])
    for key, null in fit_nulls(clean, {k: e.get("slopes", {}) for k, e in statistics.items()}).items():
        if key in statistics:
            statistics[key] = entry(null)
    return {**before, "statistics": statistics}


def main() -> None:
    """Read audits, write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("auditor/calibration.json"))
    parser.add_argument("--false-alarms", type=float, default=0.03)
    parser.add_argument(
        "--renew", action="store_true", help="only the nulls of what these audits measured; the score's weights stay"
    )
    options = parser.parse_args()
    every = samples(options.zoo, options.results, "develop")
    if options.renew:
        before = json.loads(options.out.read_text(encoding="utf-8"))
        found = renewed(before, [s for s in every if not s.backdoored])
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return
    found, verdicts = calibrate(every, options.false_alarms)
    if options.out.exists():
        found = keeping(found, json.loads(options.out.read_text(encoding="utf-8")))
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["score"], indent=2))
    for mode in MODES:
        if rows := [v for v, s in zip(verdicts, every, strict=True) if s.kept.mode == mode]:
            r = rates(rows)
            print(f"{mode}, architecture unseen: detected {r.detected}, false alarms {r.false_alarms}, "
                  f"false confirmations {r.false_confirmations}, AUROC {r.auroc:.3f}")  # fmt: skip
    for statistic, (p, name) in least_clean(every).items():
        print(f"{statistic}: least p-value of a clean model, architecture unseen, {p:.1e} ({name}); "
              f"counts below {FAR.get(statistic, FAINT):.0e}")  # fmt: skip


if __name__ == "__main__":
    main()
