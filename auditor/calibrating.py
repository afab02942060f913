"""``audit calibrate``: what clean models of one's own look like to the detectors, for ``--calibration``.

Each model is scanned in full. A null of the calibration in use is taken for `PRIOR` models like it, and what was
measured is added: the mean becomes (prior · mean + Σ vᵢ / sᵢ) / (prior + n), vᵢ on the null's scale, sᵢ the factor by
which its slopes scale it for model i. So five models move a null, and a hundred replace it. A statistic that has no
null yet (somebody's plugin) gets its own. Weights and the alarm of the score stay: clean models say nothing of those.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auditor import worker
from auditor.archive import save_text
from auditor.calibration import VERSION, Calibration, Given, Null, Weights, read, shipped
from auditor.confirming import unexplained
from auditor.errors import AuditError
from auditor.findings import PROCEDURAL, Audit, Evidence, Verdict
from auditor.progress import Progress
from auditor.request import ScanRequest
from auditor.scoring import kind_of
from auditor.telling import tells
from auditor.weighing import SHARES, weigh

PRIOR = 4
"""how many models the null of the calibration in use counts for"""

FLOOR = 0.01
"""least mean of a null: one of the hundred images that a share is measured on"""


@dataclass(frozen=True)
class Sample:
    """What one clean model measured, and what kind of model it is."""

    given: Given
    evidence: tuple[Evidence, ...]
    in_shares: frozenset[str] = frozenset()
    """detectors whose values are shares of images"""

    def is_share(self, item: Evidence) -> bool:
        """Whether a judged number ends at 1."""
        return item.detector in self.in_shares


def calibrate(
    requests: Sequence[ScanRequest], out: Path, *, say: Callable[[str], None], progress: Progress | None = None
) -> bool:
    """Scan the models and write ``out``; False when none could be used. What is finished survives an interruption."""
    if not requests:
        return False
    before = read(requests[0].calibration) if requests[0].calibration else shipped()
    found: list[Sample] = []
    for request in requests:
        name = str(request.model)
        settings = replace(request.settings, early_stop=False, explain="none")
        try:
            audit = worker.scan(replace(request, settings=settings), progress=progress)
        except AuditError as error:
            say(f"{name}: left out: {error}")
            continue
        except KeyboardInterrupt:
            break
        if "interrupted by the user" in audit.warnings:
            say(f"{name}: left out: interrupted by the user")
            break
        sample = sample_of(audit, images=request.images is not None)
        if audit.verdict is Verdict.INCONCLUSIVE or not sample.evidence:
            say(f"{name}: left out: {audit.reason}")
            continue
        if audit.verdict is Verdict.BACKDOORED:
            say(f"{name}: the calibration in use finds it backdoored; if it is, the new one is blind to its like")
        say(f"{name}: {len(sample.evidence)} statistics, score {audit.score:.2f}")
        found.append(sample)
    if not found:
        say("audit: expected at least one clean model that can be measured, got none; nothing was written")
        return False
    save_text(out, json.dumps(as_json(adapted(before, found), {"clean audits": len(found)}), indent=2) + "\n")
    say(f"wrote {out} from {len(found)} of {len(requests)} models")
    return True


def sample_of(audit: Audit, *, images: bool, explained: bool = False) -> Sample:
    """The judged numbers of one audit, p-values by the calibration in use.

    ``explained`` leaves out what patterns do that the network's own idea of a class explains, as a verdict does.
    """
    given = given_of(audit, images=images)
    outcomes = audit.outcomes if explained else tuple(unexplained(o) for o in audit.outcomes)
    every = (e for o in outcomes for e in weigh(o, given.num_classes, given))
    telling = tuple(e for e in every if tells(e, outcomes, given.num_classes, given))
    return Sample(given, telling, frozenset(o.detector for o in audit.outcomes if o.statistic.unit == SHARES))


def given_of(audit: Audit, *, images: bool) -> Given:
    """What the calibration of a finished audit depends on."""
    return Given(
        reference=audit.reference is not None,
        images=images,
        num_classes=audit.model.num_classes or 10,
        input_values=math.prod(audit.model.input_shape or (1, 28, 28)),
        clean_accuracy=audit.images.clean_accuracy,
        density=audit.model.density,
        kin=audit.kin,
        unsure=audit.images.source == PROCEDURAL,
    )


def adapted(before: Calibration, samples: Sequence[Sample]) -> Calibration:
    """``before`` with its nulls moved towards what the samples measured."""
    seen: dict[str, list[tuple[float, Sample]]] = defaultdict(list)
    stand_ins: dict[str, Null] = {}
    for sample in samples:
        for item in sample.evidence:
            keys = sample.given.keys(item.detector, kind_of(item))
            new = Null(FLOOR, 0, shares=sample.is_share(item))
            stand_ins[keys[0]] = next((before.nulls[k] for k in keys if k in before.nulls), new)
            seen[keys[0]].append((item.value, sample))
    nulls = {key: _moved(stand_ins[key], pairs) for key, pairs in seen.items()}
    return replace(before, nulls={**before.nulls, **nulls}, made_by=f"audit calibrate, {len(samples)} models")


def _moved(null: Null, pairs: Sequence[tuple[float, Sample]]) -> Null:
    """``null`` and what these models measured; one that stands for no models (``count`` 0) weighs nothing."""
    scaled = [null.scaled(v) * null.mean / null.at(s.given).mean for v, s in pairs]
    prior = min(null.count, PRIOR)
    mean = (prior * null.mean + sum(scaled)) / (prior + len(scaled))
    return replace(null, mean=max(FLOOR, mean), count=prior + len(scaled))


def entry(null: Null) -> dict[str, Any]:
    """One statistic of a calibration as JSON values."""
    return {"mean": round(null.mean, 5), "count": null.count, "slopes": dict(null.slopes), "shares": null.shares}


def as_json(calibration: Calibration, models: Mapping[str, int]) -> dict[str, Any]:
    """A calibration as `auditor.calibration.parse` reads it; ``models`` says what it was made of."""
    return {
        "version": VERSION,
        "made_by": calibration.made_by,
        "models": dict(models),
        "statistics": {key: entry(null) for key, null in sorted(calibration.nulls.items())},
        "score": score_as_json(calibration.weights),
        "scores": {mode: score_as_json(weights) for mode, weights in calibration.of_mode.items()},
    }


def score_as_json(weights: Weights) -> dict[str, Any]:
    """How evidence is weighed, as `auditor.calibration.parse` reads it."""
    return {
        "intercept": weights.intercept,
        "weights": dict(weights.of),
        "cap": weights.cap,
        "confirmed_cap": weights.confirmed_cap,
        "alarm": weights.alarm,
        "prior": weights.prior,
    }
