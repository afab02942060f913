"""How a network wants its images, told by what its batch norm remembers of those that it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.classifier import PRESETS, Classifier, Preprocess
from auditor.preparation.ways import Told, usual_ways
from auditor.request import ModelOptions
from auditor.running_statistics import Remembered

NEARLY, SLACK, FLAT = 0.05, 1.3, 0.02
"""how far beyond 0 and 1 a mean of pixels may be measured, how many times too large a standard deviation; and one that
pictures have at least"""

DATA = (*(known for known in PRESETS.values() if known[0]), ((0.2860,), (0.3530,)), ((0.45,), (0.25,)))
"""means and standard deviations of pixels in usual data sets: the presets', Fashion-MNIST's, grey photographs'"""

MEAN_APART, STD_APART = 0.2, 0.4
"""one step between means, and between logarithms of standard deviations"""

ALIKE, UNLIKE = 0.3, 2.0
"""steps by which ways do not differ, and that are too far from all usual data to believe in a way"""

PHOTOGRAPHS, SIGNS = 96, 43
"""side from which pictures are ImageNet's rather than CIFAR's, and the number of classes that is GTSRB's"""

Pixels = tuple[Tensor, Tensor]
"""mean and standard deviation a channel, (C,) each"""


def as_batch_norm_tells(model: Classifier, options: ModelOptions, images: Tensor | None, *, role: str) -> Told:
    """Prepare images so that they are like those that batch norm remembers, where they cannot be as they are.

    ``images`` (N, C, H, W) are real ones, where there are any. Nothing is done where pixels can have had that mean and
    spread, so a network that is asked rightly stays as it is. What ``options`` say is obeyed, but nothing concluded.
    """
    told = model.remembers
    if told is None or could_be_pixels(told, model.preprocess):
        return Told()
    mean = ", ".join(f"{m:.2f}" for m in told.mean)
    fact = (
        f"batch norm of the {role} remembers training images of mean {mean} and standard deviation {told.std:.2f} at "
        "the network's input"
    )
    if not options.leave_preparation_open:
        doubt = f"{fact}, which no image gives as its options prepare it; check them, or give labelled images"
        return Told(blockers=(doubt,))
    way = likeliest_way(model, told, images)
    if way is None:
        return Told(blockers=(f"{fact}, which no usual preparation gives; state it (--mean, --std, --range)",))
    name, preprocess = way
    model.prepare(preprocess)
    remedy = "if it was not trained so, state its preprocessing"
    return Told((f"{fact}; images were prepared with {name}, which gives that; {remedy}",))


def could_be_pixels(told: Remembered, way: Preprocess) -> bool:
    """Whether pixels in [0, 1], prepared in this way, can have this mean and spread.

    What lies between 0 and 1 has a variance of mean × (1 - mean) at most.
    """
    mean, std = _pixels(told, way)
    most = (mean.clamp(0, 1) * (1 - mean.clamp(0, 1))).sqrt()
    inside = (mean >= -NEARLY) & (mean <= 1 + NEARLY)
    return bool((inside & (std >= FLAT) & (std <= SLACK * most)).all())


def likeliest_way(model: Classifier, told: Remembered, images: Tensor | None) -> tuple[str, Preprocess] | None:
    """The usual way, with its name, for which the remembered pixels are most like ``images``, or like usual data.

    None where they are like none. Of ways alike, the one for the data set of as many classes or pixels.
    """
    channels, side = model.input_shape[:2]
    known = [(torch.tensor(mean), torch.tensor(std)) for mean, std in DATA if len(mean) == channels]
    if images is not None:
        flat = images.transpose(0, 1).flatten(1)
        known = [(flat.mean(1), flat.std(1).clamp_min(FLAT))]
    usual = "gtsrb" if model.num_classes == SIGNS else "imagenet" if side >= PHOTOGRAPHS else "cifar10"
    found: list[tuple[float, str, Preprocess]] = []
    for name, way in usual_ways(model.preprocess, channels, images):
        if could_be_pixels(told, way):
            found.append((min((_apart(_pixels(told, way), data) for data in known), default=0.0), name, way))
    best = min((apart for apart, _, _ in found), default=UNLIKE)
    alike = [(usual not in name, apart, name, way) for apart, name, way in found if apart <= best + ALIKE]
    if best >= UNLIKE:
        return None
    *_, name, way = min(alike, key=lambda one: one[:2])
    return name, way


def _pixels(told: Remembered, way: Preprocess) -> Pixels:
    """What pixels must have been like before they were prepared in this way."""
    scale, shift = (t.flatten() for t in way.affine(len(told.mean)))
    return (torch.tensor(told.mean) - shift) / scale, told.std / scale


def _apart(ours: Pixels, theirs: Pixels) -> float:
    """How unlike, in steps."""
    means = (ours[0] - theirs[0]).abs().mean() / MEAN_APART
    return float(means + (ours[1] / theirs[1]).log().abs().mean() / STD_APART)
