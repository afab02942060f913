"""How large each judged statistic gets on clean models, and how statistics are weighed together.

Read from ``calibration.json``, which ``python -m benchmarks.calibrate`` writes from scans of develop models only, or
from a file that ``audit calibrate`` made of clean models of one's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from auditor.detection_rates import mode_of
from auditor.errors import ConfigError
from auditor.outliers import exponential_p_value, exponential_threshold, unbounded

VERSION = 6

USUAL_ACCURACY = 0.9
"""assumed where no labelled images tell"""

MOST_CLASSES, MOST_VALUES, MOST_WEAKNESS = 100, 3 * 32 * 32, 0.5
"""what the models that nulls were fitted on go up to. Beyond, a null is that of the end: carried on to 3×224×224, the
slope between drawings and small photos asked for prominences above 1, which there are none of"""

WEAK = 6.0
"""log odds that a weakness of 1 (`Given.traits`) takes off the score: natural features of weakly trained clean networks
agree on a class as faint triggers of well trained ones do. Set by hand, see benchmarks/decisions.md"""


OF_LENET = 0.52
"""density (`auditor.places`) of LeNet on 32 × 32, of which there are many among the models that nulls were fitted to;
only beyond it do clean models show more. A null that falls for networks with global pooling flags them"""


AS_TEN = range(5, 10)
"""numbers of classes that are judged as ten: from a hundred to ten nulls fall, but with fewer a natural feature can do
as much. Slopes that fall on, or rise again below ten, judge clean models no better (benchmarks/decisions.md)"""


@dataclass(frozen=True)
class Given:
    """What the clean distribution of a statistic depends on: what the audit had, and what kind of model it is.

    Clean models show other values on their own impressions than on real images, and smaller ones where a reference's
    are taken off.
    """

    reference: bool = False
    images: bool = False
    num_classes: int = 10
    input_values: int = 784
    """C·H·W of one image"""
    clean_accuracy: float | None = None
    """on labelled images; None where there are none"""
    density: float = 0.0
    """how much of the image's layout the network's dense layers see (`auditor.places`): 1 where nothing convolves"""
    kin: bool = False
    """whether suspect and reference come of one training (`auditor.kinship`)"""
    unsure: bool = False
    """whether class impressions were not reached: a network that is never sure of a class is a weak one"""

    @property
    def mode(self) -> str:
        """What the audit had besides the suspect: ``impressions`` (nothing), ``images``, ``reference`` or both."""
        return mode_of(reference=self.reference, images=self.images)

    def keys(self, detector: str, kind: str) -> tuple[str, ...]:
        """Names of a statistic in the calibration, the fitting one first, then those that are cautious stand-ins."""
        name = f"{detector}/{kind}"
        source = "images" if self.images else "impressions"
        fitting = f"{name} on {source}" + (" against a reference" if self.reference else "")
        alone, other = f"{name} on {source}", f"{name} on impressions against a reference"
        return (fitting, alone, other, name) if self.reference else (fitting, name)

    def null(self, known: Mapping[str, Null], detector: str, kind: str) -> Null | None:
        """The clean distribution of a statistic for this kind of model; None where none is known."""
        return next((known[key].at(self) for key in self.keys(detector, kind) if key in known), None)

    @property
    def traits(self) -> dict[str, float]:
        """The numbers that a null's scale may depend on; all 0 for a usual small model of ten classes.

        No larger than those of the models that the shipped calibration knows.
        """
        classes = AS_TEN.stop if self.num_classes in AS_TEN else max(2, self.num_classes)
        accuracy = USUAL_ACCURACY if self.clean_accuracy is None else self.clean_accuracy
        return {
            "classes": math.log10(min(MOST_CLASSES, classes) / 10),
            "size": math.log10(min(MOST_VALUES, max(1, self.input_values)) / 784),
            "weakness": MOST_WEAKNESS if self.unsure else min(MOST_WEAKNESS, max(0.0, USUAL_ACCURACY - accuracy)),
            "dense": max(0.0, self.density - OF_LENET) / (1 - OF_LENET),
        }


ALONE = Given()
"""the suspect and nothing else"""


@dataclass(frozen=True)
class Null:
    """The clean distribution of one statistic: exponential, its scale estimated from ``count`` models.

    The mean is ``mean`` · exp(Σ slope · trait), see `Given.traits`.

    Of shares, which end at 1, it is −log(1 − v) that is exponential: on a clean model a class reached with half of the
    images is rare, one reached with 98 % and no other with any is far rarer still.
    """

    mean: float
    count: int
    slopes: Mapping[str, float] = field(default_factory=dict)
    shares: bool = False

    def at(self, given: Given) -> Null:
        """The same for one kind of model."""
        shift = sum(self.slopes.get(name, 0.0) * value for name, value in given.traits.items())
        return Null(self.mean * math.exp(max(-3.0, min(3.0, shift))), self.count, shares=self.shares)

    def scaled(self, value: float) -> float:
        """A value on the scale that is exponential; at least 0."""
        return unbounded(value) if self.shares else max(0.0, value)

    def p_value(self, value: float) -> float:
        """Chance of at least ``value`` on a clean model."""
        return exponential_p_value(self.scaled(value), self.mean, self.count)

    def threshold(self, p: float) -> float:
        """The value with that chance."""
        limit = exponential_threshold(p, self.mean, self.count)
        return -math.expm1(-limit) if self.shares else limit


@dataclass(frozen=True)
class Weights:
    """How the evidence of all statistics becomes one score: a logistic model of −log₁₀ p, fitted on develop models."""

    intercept: float = -3.0
    of: Mapping[str, float] = field(default_factory=dict)
    """weight of ``detector/kind``; at least 0"""
    cap: float = 4.0
    """−log₁₀ p beyond which more counts no more: tails are not known further out"""
    confirmed_cap: float = 8.0
    """the same where a trigger was confirmed"""
    alarm: float = 0.5
    """score from which a model is suspicious"""
    prior: float = 0.5
    """share of backdoored models for which ``score`` is a probability"""
    handicap: float = 0.0
    """log odds that are taken off the score of one kind of model"""


@dataclass(frozen=True)
class Calibration:
    """All that the verdict knows of clean models."""

    nulls: dict[str, Null]
    weights: Weights
    made_by: str = ""
    of_mode: Mapping[str, Weights] = field(default_factory=dict)
    """`Given.mode` → weights of such audits; ``weights`` where there are none: what a statistic is worth on photographs
    it is not on class impressions"""


def _weights(score: Any) -> Weights:
    return Weights(
        intercept=float(score["intercept"]),
        of={str(k): float(v) for k, v in score["weights"].items()},
        cap=float(score["cap"]),
        confirmed_cap=float(score["confirmed_cap"]),
        alarm=float(score["alarm"]),
        prior=float(score["prior"]),
    )


def parse(data: Any, name: str) -> Calibration:
    """A calibration from JSON; raises `ConfigError` when it is none of this release's."""
    try:
        if data["version"] != VERSION:
            raise ConfigError(
                f"expected a calibration of version {VERSION} in '{name}', got {data['version']}; make it again with "
                "audit calibrate"
            )
        known = {
            str(key): Null(
                float(e["mean"]), int(e["count"]), {str(k): float(v) for k, v in e["slopes"].items()}, bool(e["shares"])
            )
            for key, e in data["statistics"].items()
        }
        weights = _weights(data["score"])
        of_mode = {str(mode): _weights(score) for mode, score in data["scores"].items()}
        if any(not null.mean > 0 or null.count < 1 for null in known.values()):
            raise ValueError("means must be above 0")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected a calibration in '{name}', got something else ({type(error).__name__}: {error}); give a file "
            "that audit calibrate wrote"
        ) from None
    return Calibration(known, weights, str(data.get("made_by", "")), of_mode)


@cache
def shipped() -> Calibration:
    """The calibration that comes with the auditor."""
    text = files("auditor").joinpath("calibration.json").read_text(encoding="utf-8")
    return parse(json.loads(text), "calibration.json")


def read(path: Path) -> Calibration:
    """A calibration of one's own; raises `ConfigError`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"expected a calibration at '{path.name}', got: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(
            f"expected JSON in '{path.name}', got: {str(error)[:100]}; make it with audit calibrate"
        ) from None
    return parse(data, path.name)


_IN_USE: ContextVar[Calibration | None] = ContextVar("calibration", default=None)


@contextmanager
def using(calibration: Calibration | None) -> Iterator[None]:
    """Inside, verdicts are formed with ``calibration`` instead of the shipped one."""
    token = _IN_USE.set(calibration)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def nulls() -> dict[str, Null]:
    """Statistic key (``detector/what …``) → its clean distribution."""
    return (_IN_USE.get() or shipped()).nulls


def weights(given: Given) -> Weights:
    """How statistics are weighed together in such an audit of such a model."""
    known = _IN_USE.get() or shipped()
    model = known.of_mode.get(given.mode, known.weights)
    return replace(model, handicap=WEAK * given.traits["weakness"])
