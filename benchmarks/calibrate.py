"""Write auditor/calibration.json from audits of develop models.

    python -m benchmarks.evaluate --zoo zoo --split develop --out results --jobs 2
    python -m benchmarks.calibrate --zoo zoo --results results

With ``--renew``, only the nulls of what these audits measured (`benchmarks.evaluate --detector NAME`, ``--mode``), and
what statistics are worth in their modes.

Nulls come from the clean models, for each mode (with images or class impressions, with a reference or without), and so
do the weights of the score (`benchmarks.fitting`): what a statistic is worth on class impressions it is not on
photographs. Where the score alarms is set, mode by mode, so that clean models of these splits, judged by a calibration
that never saw their architecture, alarm in at most ``--false-alarms`` of the cases, before what only the score suspects
is measured again. A mode of which there are too few audits has the weights of all together, and the highest alarm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from auditor.calibrating import as_json, entry, score_as_json
from auditor.calibration import Calibration, Given, Null, Weights, parse, using
from auditor.confirming import DEFORMED, FAR, FAR_OF_EACH, FAR_READY_MADE, faint_from
from auditor.findings import Verdict
from auditor.scoring import ALIKE
from benchmarks.catalogue import SPLITS
from benchmarks.fitting import Sample, fit_nulls, fit_weights, samples, with_p_values
from benchmarks.judged import MODES, Judged, judged
from benchmarks.rates import rates

SHIPPED = Path("auditor/calibration.json")
"""the calibration of the checkout, which a renewal starts from"""

FEWEST = 8
"""audits of clean models, and of backdoored ones, that a mode must have for weights of its own"""

Alarms = Mapping[str, float]
"""mode → score from which its audits alarm"""


def fit(every: Sequence[Sample], alarms: Alarms = MappingProxyType({})) -> Calibration:
    """Nulls and weights from these audits."""
    nulls = fit_nulls([s for s in every if not s.backdoored])
    weights = rounded(fit_weights(every, nulls), max(alarms.values(), default=0.5))
    return Calibration(nulls, weights, of_mode=of_modes(every, nulls, alarms))


def of_modes(every: Sequence[Sample], nulls: dict[str, Null], alarms: Alarms) -> dict[str, Weights]:
    """The weights of each mode of which there are enough audits."""
    found = {}
    for mode in MODES:
        own = [s for s in every if s.given.mode == mode]
        planted = sum(s.backdoored for s in own)
        if min(planted, len(own) - planted) >= FEWEST:
            found[mode] = rounded(fit_weights(own, nulls), alarms.get(mode, 0.5))
    return found


def rounded(model: Weights, alarm: float) -> Weights:
    """Weights as they are written, with where they alarm."""
    of = {k: round(v, 4) for k, v in model.of.items()}
    return replace(model, intercept=round(model.intercept, 4), of=of, alarm=round(min(alarm, 0.999), 4))


Fit = Callable[[Sequence[Sample]], Calibration]


def folds(every: Sequence[Sample], fit_to: Fit) -> dict[str, Calibration]:
    """For each architecture, a calibration that saw no model of it."""
    architectures = sorted({s.architecture for s in every})
    return {left_out: fit_to([s for s in every if s.architecture != left_out]) for left_out in architectures}


def judged_in(unseen: Mapping[str, Calibration], every: Sequence[Sample]) -> list[Judged]:
    """The verdict on each sample by the calibration of its architecture's fold."""
    found = []
    for sample in every:
        with using(unseen[sample.architecture]):
            found.append(judged(sample.kept))
    return found


def out_of_fold(every: Sequence[Sample], fit_to: Fit) -> list[Judged]:
    """The verdict on each sample by a calibration that saw no model of its architecture."""
    return judged_in(folds(every, fit_to), every)


def alarm_of(verdicts: Sequence[Judged], false_alarms: float) -> float:
    """The score that clean models exceed in ``false_alarms`` of the cases; of 0.5 at least."""
    # a confirmed trigger decides whatever the alarm is
    clean = [r.score for r in verdicts if not r.backdoored and r.verdict is not Verdict.BACKDOORED]
    return max(0.5, float(np.quantile(clean, 1 - false_alarms, method="higher")) + 1e-3) if clean else 0.5


WHOLE, WARPED, WAVES, PATCHES = "faint changes of the whole image", "deformations", "waves", "ready-made patches"
EACH = "patterns drawn for each image"


OWN_LIMIT = {"warp": WARPED, "waves": WAVES, "patches": PATCHES, "generator": EACH}
"""detectors that have a limit of their own in `limit_of`"""


def least_clean(every: Sequence[Sample]) -> dict[tuple[str, str, float], tuple[float, str]]:
    """What the limits of `limit_of` are set beyond: statistic, mode and limit → the least p-value of a
    clean model by nulls that saw no model of its architecture, and its name."""
    found: dict[tuple[str, str, float], tuple[float, str]] = {}
    clean = [s for s in every if not s.backdoored]
    for left_out in sorted({s.architecture for s in clean}):
        nulls = fit_nulls([s for s in clean if s.architecture != left_out])
        for sample in (s for s in clean if s.architecture == left_out):
            for item in with_p_values(sample, nulls):
                own = OWN_LIMIT.get(item.detector)
                name = own or (WHOLE if item.detector in ALIKE else item.statistic)
                if (limit := limit_of(name, sample.given)) is not None:
                    key = name, sample.given.mode, limit
                    found[key] = min(found.get(key, (1.0, "")), (item.p_value, sample.kept.card["name"]))
    return found


def limit_of(statistic: str, given: Given) -> float | None:
    """The p-value from which a statistic counts by itself in such an audit; None where it has no such limit."""
    of_change = {
        WHOLE: faint_from(given, "blend"),
        WARPED: DEFORMED,
        WAVES: faint_from(given, "waves"),
        PATCHES: FAR_READY_MADE,
        EACH: FAR_OF_EACH.get(given.mode),
    }
    return of_change.get(statistic) or (None if given.reference else FAR.get(statistic))


def alarms_of(every: Sequence[Sample], verdicts: Sequence[Judged], false_alarms: float) -> dict[str, float]:
    """`alarm_of` each mode."""
    modes = {s.given.mode for s in every}
    return {
        mode: alarm_of([v for v, s in zip(verdicts, every, strict=True) if s.given.mode == mode], false_alarms)
        for mode in sorted(modes)
    }


def calibrate(every: Sequence[Sample], false_alarms: float) -> tuple[dict[str, Any], list[Judged]]:
    """The content of calibration.json, and the verdicts on these models out of fold."""
    final = partial(fit, alarms=alarms_of(every, out_of_fold(every, fit), false_alarms))
    return as_json(final(every), {}), out_of_fold(every, final)


def not_lower(alarms: Alarms, before: dict[str, Any]) -> dict[str, float]:
    """Alarms of each mode, none below that of the calibration ``before``.

    They hang on two or three clean models: one that a new statistic speaks for lowers them by a tenth, and says little
    of others (alone, 0.69 instead of 0.83 flagged 3 of 53 clean models, and found none more).
    """
    return {mode: max(alarm, before["scores"].get(mode, {}).get("alarm", 0.0)) for mode, alarm in alarms.items()}


def keeping(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """``found`` with the nulls of statistics that none of the audits measured, as they were ``before``.

    Of the detectors that run at thorough effort only, nothing is known beside others: their weight is 0 in every mode,
    and a confirmed trigger of theirs is what counts.
    """
    measured = {key.partition("/")[0] for key in found["statistics"]}
    kept = {k: e for k, e in before.get("statistics", {}).items() if k.partition("/")[0] not in measured}
    known = [k.partition(" on ")[0] for k in kept]
    scores = {mode: knowing(known, score) for mode, score in found["scores"].items()}
    score = knowing(known, found["score"])
    return {**found, "statistics": {**kept, **found["statistics"]}, "score": score, "scores": scores}


def knowing(names: Iterable[str], score: dict[str, Any]) -> dict[str, Any]:
    """A score in which these statistics have a weight, if of 0: one that it does not know counts by itself."""
    return {**score, "weights": {**dict.fromkeys(names, 0.0), **score["weights"]}}


def renewed(before: dict[str, Any], every: Sequence[Sample], alarms: Alarms = MappingProxyType({})) -> dict[str, Any]:
    """The calibration ``before``, with new nulls for what these audits of clean models measured.

    For a detector that searches better than it did, audited alone and on fewer models: so slopes are held near those
    from before, and the nulls are only as certain as the groups of models now. What they were held near is kept beside
    them, for the next time: the same audits give the same nulls, however often. The weights of the score stay, but for
    those of modes of which there are enough whole audits among these.
    """
    statistics = dict(before["statistics"])
    clean = [s for s in every if not s.backdoored]
    near = {key: e.get("near", e.get("slopes", {})) for key, e in statistics.items()}
    for key, null in fit_nulls(clean, near).items():
        statistics[key] = {**entry(null), "near": near.get(key, {})}
    found = {**before, "statistics": statistics}
    own = of_modes(every, parse(found, "renewed").nulls, alarms)
    new = {mode: knowing(before["score"]["weights"], score_as_json(weights)) for mode, weights in own.items()}
    names = [name for score in new.values() for name in score["weights"]]
    return {**found, "score": knowing(names, before["score"]), "scores": {**found["scores"], **new}}


def renew(before: dict[str, Any], every: Sequence[Sample], false_alarms: float) -> tuple[dict[str, Any], list[Judged]]:
    """`renewed`, with where audits of each mode alarm; and the verdicts out of fold."""

    def fit_to(samples: Sequence[Sample], alarms: Alarms = MappingProxyType({})) -> Calibration:
        return parse(renewed(before, samples, alarms), "renewed")

    alarms = not_lower(alarms_of(every, out_of_fold(every, fit_to), false_alarms), before)
    return renewed(before, every, alarms), out_of_fold(every, partial(fit_to, alarms=alarms))


def main() -> None:
    """Read audits, write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument(
        "--split", choices=SPLITS, action="append", help="models to learn from (default: develop); repeatable"
    )
    parser.add_argument("--false-alarms", type=float, default=0.03)
    parser.add_argument(
        "--renew", action="store_true", help="only the nulls of what these audits measured, and their modes' weights"
    )
    options = parser.parse_args()
    splits = options.split or ["develop"]
    every = [s for split in splits for s in samples(options.zoo, options.results, split)]
    start = options.out if options.out.exists() or not options.renew else SHIPPED
    before = json.loads(start.read_text(encoding="utf-8")) if start.exists() else None
    if options.renew:
        found, verdicts = renew(before or {}, every, options.false_alarms)
    else:
        found, verdicts = calibrate(every, options.false_alarms)
        found = keeping(found, before) if before else found
    clean = sum(not s.backdoored for s in every)
    found["models"] = {"clean audits": clean, "backdoored audits": len(every) - clean}
    found["made_by"] = (
        f"python -m benchmarks.calibrate, {len(every)} audits of models of {' and '.join(splits)}"
        + (", renewing what they measured" if options.renew else "")
    )
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"score": found["score"], "scores": found["scores"]}, indent=2))
    for mode in MODES:
        if rows := [v for v, s in zip(verdicts, every, strict=True) if s.kept.mode == mode]:
            r = rates(rows)
            print(f"{mode}, architecture unseen: detected {r.detected}, false alarms {r.false_alarms}, "
                  f"false confirmations {r.false_confirmations}, AUROC {r.auroc:.3f}")  # fmt: skip
    for (statistic, mode, limit), (p, name) in sorted(least_clean(every).items()):
        print(f"{statistic}, {mode}: least p-value of a clean model, network unseen, {p:.1e} ({name}); counts from "
              f"{limit:.0e}")  # fmt: skip


if __name__ == "__main__":
    main()
