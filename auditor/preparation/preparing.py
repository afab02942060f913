"""Which of the means to tell a preparation serves which model."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.preparation.by_answers import as_answers_tell
from auditor.preparation.by_batch_norm import as_batch_norm_tells
from auditor.preparation.by_labels import PROBED, as_images_tell, as_other_model_tells, like_other_model
from auditor.preparation.ways import Told
from auditor.procedural import dead_leaves, scenes
from auditor.request import ModelOptions

PICTURES, FEWEST, VALUES = 1600, 200, 3 * 64 * 64
"""procedural pictures on which two models' answers are compared where there are no images, a quarter of them leaves;
fewer, down to so many, where an image has more than so many values"""

_Asked = tuple[Classifier, ModelOptions, str]
"""a model, its options, and what it is called"""


def prepare(
    suspect: tuple[Classifier, ModelOptions],
    reference: tuple[Classifier, ModelOptions] | None = None,
    *,
    images: Tensor | None = None,
    labels: Tensor | None = None,
) -> Told:
    """Prepare images for the models as can be told, where their options leave it open.

    ``images`` (N, C, H, W) in [0, 1] and ``labels`` (N,) are real ones, where there are any.
    """
    asked: list[_Asked] = [(*suspect, "model")]
    if reference is not None:
        asked.append((*reference, "reference"))
    told = Told()
    for model, options, role in asked:
        if images is not None and labels is not None:
            told += as_images_tell(model, options, images, labels, role=role)
        else:
            told += as_batch_norm_tells(model, options, images, role=role)
    if labels is None and len(asked) > 1 and not told.blockers:
        told += _as_the_other_tells(asked, images)
    if labels is None:
        for model, options, role in asked:
            told += as_answers_tell(model, options, role=role)
    return told


def is_known(model: Classifier, options: ModelOptions) -> bool:
    """Whether anything says, without labels, how a model wants its images."""
    return not options.leave_preparation_open or model.remembers is not None


def _as_the_other_tells(asked: list[_Asked], images: Tensor | None) -> Told:
    """Where only one of two models of the same task is known: what makes the other agree with it."""
    known = [one for one in asked if is_known(one[0], one[1])]
    unknown = [one for one in asked if not is_known(one[0], one[1])]
    if len(known) != 1 or len(unknown) != 1:
        return Told()
    (teacher, stated, other), (model, _, role) = known[0], unknown[0]
    if images is not None:
        return as_other_model_tells(model, images, teacher.predict(images[:PROBED]), role=role, other=other)
    theirs = replace(teacher.preprocess, layout=model.preprocess.layout)
    if theirs == model.preprocess or not stated.leave_preparation_open:  # options for one alone say that the two differ
        return Told()
    rng = torch.Generator().manual_seed(0)
    quarter = max(FEWEST, min(PICTURES, PICTURES * VALUES // math.prod(model.input_shape))) // 4
    pictures = torch.cat([scenes(3 * quarter, model.input_shape, rng), dead_leaves(quarter, model.input_shape, rng)])
    pictures = pictures[torch.randperm(len(pictures), generator=rng)]
    return like_other_model(model, pictures, teacher.predict(pictures), theirs, role=role, other=other)
