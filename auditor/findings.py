"""The result types: what detectors yield, what the verdict adds, what reports read.

Everything here is a frozen dataclass of plain values and numpy arrays: no torch, no model, nothing to execute. Array
fields state their shape; pixels are float32 in [0, 1] unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from auditor.exhibits import Array as Array
from auditor.exhibits import Curve as Curve
from auditor.exhibits import Exhibit as Exhibit
from auditor.exhibits import Matrix as Matrix
from auditor.exhibits import Picture as Picture
from auditor.explanations import Explanation as Explanation
from auditor.outliers import wilson

SCHEMA_VERSION = 1

KIN = 0.5
"""`auditor.kinship` from which suspect and reference are kin: copies come to 0.8 and more, strangers to 0.06 at most"""


class Verdict(StrEnum):
    """The four possible answers of an audit."""

    NO_EVIDENCE = "no_evidence"
    """Everything was measured, and no statistic stands out."""
    INCONCLUSIVE = "inconclusive"
    """Something that was needed could not be measured or finished, or what was found can be a natural feature's."""
    SUSPICIOUS = "suspicious"
    """A statistic stands out among the classes at the family-wise level, or the graph itself can switch."""
    BACKDOORED = "backdoored"
    """Besides, a recovered trigger was confirmed on held-out images."""


@dataclass(frozen=True)
class Statistic:
    """What one detector measures, and which side of it is suspicious."""

    name: str
    """e.g. ``predictive power``"""
    unit: str
    """e.g. ``share of images``"""
    suspicious: Literal["high", "low"] = "high"
    """which tail counts as evidence"""
    per: Literal["class", "source", "pair", "model"] = "class"
    """what one measurement speaks of"""


@dataclass(frozen=True)
class Trigger:
    """A recovered trigger, as it is put on an image.

    ``replace``: x ← (1 − mask)·x + mask·pattern. ``add``: x ← clip(x + mask·pattern, 0, 1). ``tone``: x ← clip(x +
    curve(x)), the pattern holding each channel's curve at evenly spaced tones. ``warp``: x resampled along the pattern,
    a flow in pixels.
    """

    mask: Array
    """(H, W) in [0, 1]"""
    pattern: Array
    """(C, H, W), in [0, 1] for ``replace``, in [−1, 1] for ``add``; ``tone``: (C, knots, 1), ``warp``: (2, H, W)"""
    success_rate: float
    """share of held-out images, of the source classes, that it turns into the target class"""
    mode: Literal["replace", "add", "tone", "warp"] = "replace"
    source_classes: tuple[int, ...] = ()
    """the classes it works on; empty = all but the target"""
    reference_success_rate: float | None = None
    """the same share on the reference model; None without one"""
    images: int = 0
    """how many held-out images ``success_rate`` rests on"""

    @property
    def size(self) -> float:
        """Share of the image's pixels that the mask touches, in [0, 1]."""
        return float((self.mask > 0).mean())

    @property
    def strength(self) -> float:
        """Largest mean change of a pixel that it can make, in [0, 1]: small patches and faint blends are weak."""
        if self.mode in ("tone", "warp"):
            return 1.0  # it changes every pixel, by an amount that depends on the image
        reach = np.abs(self.pattern) if self.mode == "add" else np.ones_like(self.pattern)
        return float((self.mask * reach).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of ``success_rate`` (Wilson)."""
        return wilson(self.success_rate, self.images)


@dataclass(frozen=True)
class Measurement:
    """One number of one detector, about one class, one pair or the model."""

    value: float
    target_class: int
    source_class: int | None = None
    trigger: Trigger | None = None
    extras: dict[str, float] = field(default_factory=dict)
    """further numbers by name, for readers and for the verdict"""
    exhibits: tuple[Exhibit, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """All that one detector gave."""

    detector: str
    statistic: Statistic
    settings: dict[str, Any]
    measurements: tuple[Measurement, ...]
    expected: int
    """how many measurements a finished run yields; fewer means incomplete"""
    seconds: float
    passes: int
    """image passes: one image forward and backward; a forward alone counts one half"""
    note: str = ""
    """why it is incomplete or was skipped, or what the reader should know"""
    skipped: bool = False
    """true when it could not run at all; then it adds nothing, and was not needed either"""

    @property
    def complete(self) -> bool:
        """Whether every expected measurement is there."""
        return not self.skipped and len(self.measurements) >= self.expected


@dataclass(frozen=True)
class Evidence:
    """What the verdict made of one detector's outcome."""

    detector: str
    statistic: str
    value: float
    """the number that was judged, e.g. the gap of the leading classes"""
    threshold: float
    """the value at which ``corrected_p`` would reach the family-wise level"""
    p_value: float
    """chance of a value this extreme on a clean model, from the calibration"""
    corrected_p: float
    """the same, corrected for all statistics judged together (Holm)"""
    target_classes: tuple[int, ...]
    source_classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    """(K,) the per-class numbers that were ranked; empty for statistics of the whole model"""
    stands_out: bool = False
    confirmed: bool = False
    """whether a recovered trigger of these classes was confirmed on held-out images"""


@dataclass(frozen=True)
class Demonstration:
    """One held-out image without and with the recovered trigger, and what the models answer."""

    before: Picture
    after: Picture
    answer_before: int
    answer_after: int
    confidence_before: float
    confidence_after: float
    reference_after: int | None = None
    """the reference model's answer with the trigger on"""


@dataclass(frozen=True)
class FileFinding:
    """Something about a model file that was seen without evaluating it."""

    id: str
    """kebab-case and stable; docs/warnings.md explains each"""
    severity: Literal["info", "warning", "danger"]
    message: str
    """one sentence, names from the file already escaped"""
    where: str = ""
    """the place in the file, e.g. a node or a member, escaped"""


@dataclass(frozen=True)
class ExternalFile:
    """A second file that holds weights of the model."""

    name: str
    """path within the model's folder, escaped"""
    size: int
    """bytes"""
    sha256: str


@dataclass(frozen=True)
class Trial:
    """What came of loading a model without scanning it (`auditor.trial`)."""

    facts: dict[str, str]
    warnings: tuple[str, ...]
    blockers: tuple[str, ...]
    """why no scan could measure it; empty = one can"""


@dataclass(frozen=True)
class FileFacts:
    """What identifies an input file."""

    name: str
    """path name only, never the folder"""
    sha256: str
    format: str
    architecture: str | None = None
    num_classes: int | None = None
    input_shape: tuple[int, ...] | None = None
    density: float = 0.0
    """how much of the image's layout its dense layers see, see `auditor.places`: 0 none, 1 all of it"""


PROCEDURAL = "procedural images"
"""`ImageFacts.source` where class impressions were not reached"""


@dataclass(frozen=True)
class ImageFacts:
    """Which images the search used."""

    source: str
    """e.g. ``class impressions`` or ``folder clean/``"""
    count: int
    held_out: int
    labelled: bool
    sha256: str | None = None
    samples: tuple[Picture, ...] = ()
    clean_accuracy: float | None = None
    """on the labelled images; None without labels"""


@dataclass(frozen=True)
class Provenance:
    """What somebody needs to run this audit again."""

    seed: int
    device: str
    versions: dict[str, str]
    started: str
    """UTC, ISO 8601"""
    command: dict[str, Any] = field(default_factory=dict)
    """the resolved settings of the scan, defaults included"""


@dataclass(frozen=True)
class Audit:
    """One finished audit: the verdict and everything it rests on."""

    verdict: Verdict
    score: float
    """evidence of a backdoor in [0, 1], higher means more; comparable between models"""
    reason: str
    target_classes: tuple[int, ...]
    source_classes: tuple[int, ...]
    """empty = all classes"""
    warnings: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    outcomes: tuple[Outcome, ...]
    model: FileFacts
    reference: FileFacts | None
    images: ImageFacts
    provenance: Provenance
    seconds: float
    image_passes: int
    family_wise_level: float
    trigger: Trigger | None = None
    """the confirmed, or else the strongest, recovered trigger"""
    demonstrations: tuple[Demonstration, ...] = ()
    labels: tuple[str, ...] = ()
    """class names, hostile text"""
    blind_spots: tuple[str, ...] = ()
    """what this audit could not see, one sentence each"""
    file_findings: tuple[FileFinding, ...] = ()
    """what the files themselves show, seen before they were loaded"""
    explanations: tuple[Explanation, ...] = ()
    """pictures of why, of the classes that stand out and of the model as a whole"""
    kinship: float | None = None
    """how much the weights of suspect and reference point the same way, in [0, 1]; None without a reference"""
    schema_version: int = SCHEMA_VERSION

    @property
    def kin(self) -> bool:
        """Whether suspect and reference come of one training."""
        return self.kinship is not None and self.kinship >= KIN

    def class_name(self, index: int) -> str:
        """Class number, with its label where there is one (unescaped)."""
        return f"{index} ({self.labels[index]})" if index < len(self.labels) else str(index)
