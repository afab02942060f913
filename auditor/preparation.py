"""How a network wants its images, where labelled ones can tell: the usual ways, and with which it is right most often.

Wrong preprocessing is the commonest cause of a wrong verdict: of clean models that were asked in a wrong way, more than
half looked suspicious (benchmarks/README). So nobody has to state what the images themselves tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auditor.classifier import PRESETS, VALUE_RANGES, Classifier, Preprocess
from auditor.request import ModelOptions

PROBED, FIRST = 400, 100
"""images that the model's own way and the best of the others are compared on; and those that all ways are tried on"""

TO_MATCH = 5
"""labelled images a class that are needed to see that labels count the classes in another order"""

BETTER, SIGMAS = 0.02, 3.0
"""how much more often a model must be right for another way to be better, and how far that must be from chance"""

WRONG = 0.2
"""how much more often another way makes the model right where its own must be wrong"""


@dataclass(frozen=True)
class Way:
    """One way to prepare images, and how often the model is right with it."""

    name: str
    """as settings call it, e.g. ``range 0..255``"""
    preprocess: Preprocess
    accuracy: float
    before: float
    """how often it is right on the same images as they were prepared so far"""


@dataclass(frozen=True)
class Told:
    """What labelled images tell of a model's preparation: to be read, and why nothing can be concluded."""

    warnings: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()

    def __add__(self, other: Told) -> Told:
        return Told(self.warnings + other.warnings, self.blockers + other.blockers)


def as_images_tell(model: Classifier, options: ModelOptions, images: Tensor, labels: Tensor, *, role: str) -> Told:
    """Prepare images for the model in a better way, if there is one and ``options`` leave it open.

    Where they do not, they are obeyed, and the better way is told; a far better one means that they are wrong.
    """
    way = better_way(model, images, labels)
    if way is None:
        return Told()
    if not options.leave_preparation_open:
        doubt = (
            f"the {role} is right on {way.before:.0%} of the labelled images as its options prepare them, and would be "
            f"on {way.accuracy:.0%} with {way.name}"
        )
        return Told(blockers=(doubt,)) if way.accuracy - way.before > WRONG else Told((f"{doubt}; check them",))
    model.prepare(way.preprocess)
    note = (
        f"the {role}'s images were prepared with {way.name}: it is right on {way.accuracy:.0%} of the labelled ones "
        f"then, and on {way.before:.0%} as they are; if it was not trained so, state its preprocessing"
    )
    return Told((note,))


def better_way(model: Classifier, images: Tensor, labels: Tensor) -> Way | None:
    """The usual preparation with which the model is clearly more often right than with its own; None where none is.

    ``images`` (N, C, H, W) in [0, 1] with labels (N,); `PROBED` of them are looked at. The model stays as it is.
    Costs about eight forward passes of `FIRST` images, and two of `PROBED` where another way looks better.
    """
    own = model.preprocess

    def right(way: Preprocess, count: int) -> Tensor:
        model.prepare(way)
        return follows(model.predict(images[:count]), labels[:count])

    try:
        ways = list(usual_ways(own, images[:PROBED]))
        scores = [int(right(way, FIRST).sum()) for _, way in ways]
        name, way = ways[max(range(len(ways)), key=scores.__getitem__)]
        if max(scores) <= int(right(own, FIRST).sum()):
            return None
        before, after = right(own, PROBED), right(way, PROBED)
        better = _clearly(after, before)
        return Way(name, way, float(after.float().mean()), float(before.float().mean())) if better else None
    finally:
        model.prepare(own)


def usual_ways(own: Preprocess, images: Tensor) -> Iterator[tuple[str, Preprocess]]:
    """Name and preprocessing: each value range, each preset, and the images' own mean and standard deviation."""
    channels = images.shape[1]
    plain = Preprocess(layout=own.layout)
    for value_range in VALUE_RANGES:
        yield f"range {value_range}", replace(plain, value_range=value_range)
    for preset, (mean, std) in PRESETS.items():
        if len(mean) == channels:
            yield f"preset {preset}", replace(plain, mean=mean, std=std)
    flat = images.transpose(0, 1).flatten(1)
    mean, std = (tuple(round(float(v), 3) for v in values) for values in (flat.mean(1), flat.std(1)))
    if min(std) > 0:
        said = " ".join(f"{name} {','.join(map(str, values))}" for name, values in (("mean", mean), ("std", std)))
        yield said, replace(plain, mean=mean, std=std)


def _clearly(theirs: Tensor, right: Tensor) -> bool:
    """Whether more images are answered rightly, by more than chance would do (McNemar)."""
    won, lost = int((theirs & ~right).sum()), int((right & ~theirs).sum())
    return won - lost > max(BETTER * len(right), SIGMAS * math.sqrt(won + lost))


def follows(answers: Tensor, labels: Tensor) -> Tensor:
    """(N,) and (N,) → (N,) whether each answer is the label's, in whichever order of the classes fits best."""
    return max(answers == labels, in_another_order(answers, labels), key=lambda right: int(right.sum()))


def in_another_order(answers: Tensor, labels: Tensor) -> Tensor:
    """(N,) whether an image's answer and label choose each other most often, whatever their numbers are.

    Never, with too few images to tell an order from chance.
    """
    if len(labels) < TO_MATCH * len(labels.unique()):
        return torch.zeros(len(labels), dtype=torch.bool)
    size = 1 + int(max(labels.max(), answers.max()))
    counts = torch.bincount(labels * size + answers, minlength=size * size).reshape(size, size)
    answer_of, label_of = counts.argmax(1), counts.argmax(0)
    return (answer_of[labels] == answers) & (label_of[answers] == labels)
