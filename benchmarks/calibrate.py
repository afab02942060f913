"""Write auditor/calibration.json from audits of develop models.

    python -m benchmarks.evaluate --zoo zoo --split develop --out results --jobs 2
    python -m benchmarks.calibrate --zoo zoo --results results

With ``--renew``, only the nulls of what these audits measured (`benchmarks.evaluate --detector NAME`, ``--mode``), and,
from whole audits of the suspect alone, what statistics are worth in these.

Nulls come from the clean models, for each mode (with images or class impressions, with a reference or without), and the
weights of the score from all (`benchmarks.fitting`). Where the score alarms is set so that clean models of the develop
split, judged by a calibration that never saw their architecture, alarm in at most ``--false-alarms`` of the cases,
before what only the score suspects is measured again. Audits of the suspect alone have weights and an alarm of their
own: what a statistic is worth on class impressions it is not on photographs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from auditor.calibrating import as_json, entry, score_as_json
from auditor.calibration import Calibration, Null, Weights, parse, using
from auditor.findings import Verdict
from auditor.weighing import FAINT, FAR, FAR_ALONE
from benchmarks.catalogue import SPLITS
from benchmarks.fitting import Sample, fit_nulls, fit_weights, samples, with_p_values
from benchmarks.judged import MODES, Judged, judged
from benchmarks.rates import rates


def fit(every: Sequence[Sample], alarm: float = 0.5, alone_alarm: float = 0.5) -> Calibration:
    """Nulls and weights from these audits."""
    nulls = fit_nulls([s for s in every if not s.backdoored])
    weights, alone = rounded(fit_weights(every, nulls), alarm), alone_of(every, nulls, alone_alarm)
    return Calibration(nulls, weights, "python -m benchmarks.calibrate, models of the develop split", alone)


def alone_of(every: Sequence[Sample], nulls: dict[str, Null], alarm: float) -> Weights | None:
    """The weights of audits of the suspect alone; None where these samples are no audits of clean and of backdoored."""
    alone = [s for s in every if s.given.alone]
    if not any(s.backdoored for s in alone) or all(s.backdoored for s in alone):
        return None
    return rounded(fit_weights(alone, nulls), alarm)


def rounded(model: Weights, alarm: float) -> Weights:
    """Weights as they are written, with where they alarm."""
    of = {k: round(v, 4) for k, v in model.of.items()}
    return replace(model, intercept=round(model.intercept, 4), of=of, alarm=round(min(alarm, 0.999), 4))


Fit = Callable[[Sequence[Sample]], Calibration]


def out_of_fold(every: Sequence[Sample], fit_to: Fit) -> list[Judged]:
    """The verdict on each sample by a calibration that saw no model of its architecture."""
    found: dict[int, Judged] = {}
    for left_out in sorted({s.architecture for s in every}):
        with using(fit_to([s for s in every if s.architecture != left_out])):
            found |= {i: judged(s.kept) for i, s in enumerate(every) if s.architecture == left_out}
    return [found[i] for i in range(len(every))]


def alarm_of(verdicts: Sequence[Judged], false_alarms: float) -> float:
    """The score that clean models exceed in ``false_alarms`` of the cases; of 0.5 at least."""
    # a confirmed trigger decides whatever the alarm is
    clean = [r.score for r in verdicts if not r.backdoored and r.verdict is not Verdict.BACKDOORED]
    return max(0.5, float(np.quantile(clean, 1 - false_alarms, method="higher")) + 1e-3) if clean else 0.5


WHOLE = "faint changes of the whole image"


def least_clean(every: Sequence[Sample]) -> dict[tuple[str, bool], tuple[float, str]]:
    """What `auditor.weighing.FAR` and `FAINT` are set beyond: statistic, and whether there were images → the least
    p-value of a clean model without a reference, by nulls that saw no model of its architecture, and its name."""
    found: dict[tuple[str, bool], tuple[float, str]] = {}
    alone = [s for s in every if not s.backdoored and not s.given.reference]
    for left_out in sorted({s.architecture for s in alone}):
        nulls = fit_nulls([s for s in alone if s.architecture != left_out])
        for sample in (s for s in alone if s.architecture == left_out):
            for item in with_p_values(sample, nulls):
                name = WHOLE if item.detector in ("blend", "low_frequency") else item.statistic
                if name == WHOLE or name in FAR:
                    key = name, sample.given.images
                    found[key] = min(found.get(key, (1.0, "")), (item.p_value, sample.kept.card["name"]))
    return found


def calibrate(every: Sequence[Sample], false_alarms: float) -> tuple[dict[str, Any], list[Judged]]:
    """The content of calibration.json, and the verdicts on these models out of fold."""
    first = out_of_fold(every, fit)
    alone = [s.given.alone for s in every]
    alarm = alarm_of([v for v, a in zip(first, alone, strict=True) if not a], false_alarms)
    alone_alarm = alarm_of([v for v, a in zip(first, alone, strict=True) if a], false_alarms)
    models = {
        "clean audits": sum(not s.backdoored for s in every),
        "backdoored audits": sum(s.backdoored for s in every),
    }
    final = partial(fit, alarm=alarm, alone_alarm=alone_alarm)
    return as_json(final(every), models), out_of_fold(every, final)


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


def renewed(before: dict[str, Any], every: Sequence[Sample], alarm: float = 0.5) -> dict[str, Any]:
    """The calibration ``before``, with new nulls for what these audits of clean models measured.

    For a detector that searches better than it did, audited alone and on fewer models: so slopes are held near those
    from before, and the nulls are only as certain as the groups of models now. The weights of the score stay, but for
    those of audits of the suspect alone, where such are among them.
    """
    statistics = dict(before["statistics"])
    clean = [s for s in every if not s.backdoored]
    for key, null in fit_nulls(clean, {k: e.get("slopes", {}) for k, e in statistics.items()}).items():
        statistics[key] = entry(null)
    found = {**before, "statistics": statistics}
    alone = alone_of(every, parse(found, "renewed").nulls, alarm)
    return found if alone is None else {**found, "score_alone": score_as_json(alone)}


def renew(before: dict[str, Any], every: Sequence[Sample], false_alarms: float) -> tuple[dict[str, Any], list[Judged]]:
    """`renewed`, with where audits of the suspect alone alarm; and the verdicts out of fold."""

    def fit_to(samples: Sequence[Sample], alarm: float = 0.5) -> Calibration:
        return parse(renewed(before, samples, alarm), "renewed")

    first = out_of_fold(every, fit_to)
    alarm = alarm_of([v for v, s in zip(first, every, strict=True) if s.given.alone], false_alarms)
    learned = f"python -m benchmarks.calibrate, models of the develop split; renewed by {len(every)} audits"
    return {**renewed(before, every, alarm), "made_by": learned}, out_of_fold(every, partial(fit_to, alarm=alarm))


def main() -> None:
    """Read audits, write the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("auditor/calibration.json"))
    parser.add_argument(
        "--split", choices=SPLITS, action="append", help="models to learn from (default: develop); repeatable"
    )
    parser.add_argument("--false-alarms", type=float, default=0.03)
    parser.add_argument(
        "--renew", action="store_true", help="only the nulls of what these audits measured; the score's weights stay"
    )
    options = parser.parse_args()
    every = [s for split in options.split or ["develop"] for s in samples(options.zoo, options.results, split)]
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else None
    if options.renew:
        found, verdicts = renew(before or {}, every, options.false_alarms)
    else:
        found, verdicts = calibrate(every, options.false_alarms)
        found = keeping(found, before) if before else found
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in found.items() if k.startswith("score")}, indent=2))
    for mode in MODES:
        if rows := [v for v, s in zip(verdicts, every, strict=True) if s.kept.mode == mode]:
            r = rates(rows)
            print(f"{mode}, architecture unseen: detected {r.detected}, false alarms {r.false_alarms}, "
                  f"false confirmations {r.false_confirmations}, AUROC {r.auroc:.3f}")  # fmt: skip
    for (statistic, images), (p, name) in least_clean(every).items():
        limit = FAINT if statistic == WHOLE else (FAR if images else FAR_ALONE)[statistic]
        print(f"{statistic}, {'with images' if images else 'alone'}: least p-value of a clean model, architecture "
              f"unseen, {p:.1e} ({name}); counts below {limit:.0e}")  # fmt: skip


if __name__ == "__main__":
    main()
