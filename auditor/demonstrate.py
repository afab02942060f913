"""Held-out images without and with the recovered trigger, and what the models answer: the part people look at."""

from __future__ import annotations

import torch

from auditor.classifier import Classifier
from auditor.context import SearchImages
from auditor.findings import Demonstration, Picture
from auditor.putting_on import put_on
from auditor.verdict import Judgement

HOW_MANY = 3


def demonstrations(
    judged: Judgement, suspect: Classifier, reference: Classifier | None, images: SearchImages
) -> tuple[Demonstration, ...]:
    """Up to three images of different classes on which the trigger is shown; none without a trigger."""
    trigger = judged.trigger
    if trigger is None or not judged.target_classes:
        return ()
    chosen: list[int] = []
    seen: set[int] = set(judged.target_classes) if len(judged.target_classes) < suspect.num_classes else set()
    for index, own in enumerate(images.held_out_classes.tolist()):
        wanted = not trigger.source_classes or own in trigger.source_classes
        if wanted and (own not in seen or trigger.source_classes):
            chosen.append(index)
            seen.add(own)
        if len(chosen) == HOW_MANY:
            break
    if not chosen:
        return ()
    before = images.held_out[torch.tensor(chosen)]
    after = put_on(before, trigger)
    sure_before, sure_after = suspect.probabilities(before), suspect.probabilities(after)
    theirs = reference.predict(after).tolist() if reference is not None else [None] * len(chosen)
    return tuple(
        Demonstration(
            before=Picture("without the trigger", before[i].numpy()),
            after=Picture("with the trigger", after[i].numpy()),
            answer_before=int(sure_before[i].argmax()),
            answer_after=int(sure_after[i].argmax()),
            confidence_before=float(sure_before[i].max()),
            confidence_after=float(sure_after[i].max()),
            reference_after=theirs[i],
        )
        for i in range(len(chosen))
    )
