"""The images of one audit: given ones or class impressions, checked, split into search and held-out halves."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.context import SearchImages
from auditor.errors import ImagesError
from auditor.findings import PROCEDURAL, ImageFacts, Picture
from auditor.images import LoadedImages, load_images
from auditor.impressions import RAW, class_impressions
from auditor.measuring import generator
from auditor.preflight import Preflight, preflight
from auditor.preparation import Told, prepare
from auditor.procedural import dead_leaves
from auditor.progress import Progress
from auditor.request import ScanRequest

FEWEST = 20
"""images below which nothing can be searched and tested"""

FEWEST_A_CLASS = 8
"""class impressions made of each class, half to search and half held out"""

SHOWN = 12
"""sample images kept for the report"""

ROBUST_IMPRESSIONS, REACHED = 400, 0.12
"""how many robust ones are tried in all; the share, in at least half of the classes, that is enough to search on"""

ENOUGH, LESS_SURE, HARDLY = 0.5, (0.8, 0.6), 0.25
"""the share of all impressions that is enough; where fewer are reached, the confidences that are tried in turn for the
classes of which hardly any was, and what share that is. The surest first: doubtful images give way to any pattern"""

MOST_IMPRESSION_CLASSES = 100
"""with more classes, impressions are made for this many, drawn at random"""

SEEN, ENOUGH_SEEN = 0.25, 10
"""the share of the classes that images must show before finding nothing means anything, and how many are enough"""

HARDLY_SEEN = 0.1
"""the share of what each class had if all showed in as many images, below which one does not count as shown"""


def gather(
    request: ScanRequest,
    suspect: Classifier,
    reference: Classifier | None,
    progress: Progress | None = None,
    *,
    robust: bool = False,
    deadline: float | None = None,
) -> tuple[SearchImages, Preflight]:
    """Images to search and test on, and what the preflight found on suspect and reference.

    With ``robust``, and no images given, there are robust class impressions beside the usual ones. Making impressions
    takes half of the time until the ``deadline`` at most.
    """
    rng = generator(request.settings.seed, "images")
    if request.images is None:
        loaded = None
        told = _prepared(request, suspect, reference, None)
        checks = _preflight(suspect, reference, dead_leaves(256, suspect.input_shape, rng), None)
        checks = replace(checks, blockers=told.blockers + checks.blockers, warnings=told.warnings + checks.warnings)
        if checks.blockers:
            return _split(suspect, dead_leaves(64, suspect.input_shape, rng), rng, PROCEDURAL, None), checks
        if progress is not None:
            progress("class impressions", 0, 1)
        until = math.inf if deadline is None else time.monotonic() + max(0.0, deadline - time.monotonic()) / 2
        pixels, notes, source = _impressions(request, suspect, reference, rng, until)
        images = _split(suspect, pixels, rng, source, None)
        if robust:
            images = replace(images, robust=_robust_impressions(request, suspect, until))
        if progress is not None:
            progress("class impressions", 1, 1)
        if time.monotonic() > until:
            notes += ("the time budget ended the making of class impressions early",)
        return images, _noted(checks, notes, images, suspect)
    loaded = load_images(
        request.images,
        suspect.input_shape,
        request.settings.image_count,
        rng,
        num_classes=suspect.num_classes,
        class_names=suspect.labels,
    )
    if len(loaded.pixels) < FEWEST:
        raise ImagesError(
            f"expected at least {FEWEST} images in '{request.images.name}', got {len(loaded.pixels)}; add more, or "
            "leave out --images to search on class impressions"
        )
    told = _prepared(request, suspect, reference, loaded)
    checks = _preflight(suspect, reference, loaded.pixels, loaded.labels)
    checks = replace(checks, blockers=told.blockers + checks.blockers)
    images = _split(suspect, _rightly_answered(suspect, loaded), rng, loaded.source, loaded, checks.clean_accuracy)
    return images, _noted(checks, told.warnings + loaded.notes, images, suspect)


def _prepared(
    request: ScanRequest, suspect: Classifier, reference: Classifier | None, loaded: LoadedImages | None
) -> Told:
    """Give each model its images as it can be told to want them, where nobody said."""
    pixels, labels = (loaded.pixels, loaded.labels) if loaded is not None else (None, None)
    beside = None if reference is None else (reference, request.reference_options or request.model_options)
    return prepare((suspect, request.model_options), beside, images=pixels, labels=labels)


def _preflight(suspect: Classifier, reference: Classifier | None, pixels: Tensor, labels: Tensor | None) -> Preflight:
    checks = preflight(suspect, pixels, labels)
    if reference is None:
        return checks
    theirs = preflight(reference, pixels, labels, role="reference")
    return replace(checks, warnings=checks.warnings + theirs.warnings, blockers=checks.blockers + theirs.blockers)


def _noted(checks: Preflight, notes: tuple[str, ...], images: SearchImages, suspect: Classifier) -> Preflight:
    """With what was noted on the way, and whether the images show too few classes to find nothing on them."""
    shown = torch.bincount(images.search_classes, minlength=suspect.num_classes)
    seen = int((shown > HARDLY_SEEN * len(images.search_classes) / suspect.num_classes).sum())
    gap = (
        f"the images to search on show {seen} of {suspect.num_classes} classes (the model's own answers), too few to "
        "call the others clean; give --images of more classes"
    )
    gaps = (gap,) if seen < _classes_to_see(suspect) else ()
    return replace(
        checks, warnings=checks.warnings + notes, gaps=gaps, unsure=images.facts.source == PROCEDURAL
    )


def _classes_to_see(suspect: Classifier) -> int:
    """How many classes the images must show before finding nothing on them means anything."""
    return min(ENOUGH_SEEN, max(2, math.ceil(SEEN * suspect.num_classes)))


def _impressions(
    request: ScanRequest,
    suspect: Classifier,
    reference: Classifier | None,
    rng: torch.Generator,
    until: float = math.inf,
) -> tuple[Tensor, tuple[str, ...], str]:
    """Class impressions of the suspect, of which the reference is sure too where there is one; notes; their kind."""
    if not suspect.differentiable or not (reference is None or reference.differentiable):
        note = "a black box gives no class impressions; plain procedural images were used instead"
        return dead_leaves(request.settings.image_count, suspect.input_shape, rng), (note,), PROCEDURAL
    classes = _impression_classes(suspect, rng)
    per_class = max(FEWEST_A_CLASS, request.settings.image_count // len(classes))
    models = [suspect] if reference is None else [suspect, reference]
    pixels, labels = class_impressions(models, per_class, rng, classes=classes, until=until)
    notes: list[str] = []
    wanted, to_see = ENOUGH * per_class * len(classes), _classes_to_see(suspect)

    def too_few(pixels: Tensor, labels: Tensor) -> bool:
        return len(pixels) < wanted or len(labels.unique()) < to_see

    if len(models) > 1 and too_few(pixels, labels):
        notes.append("suspect and reference agree on few class impressions; those of the suspect alone were used")
        models = [suspect]
        pixels, labels = class_impressions(models, per_class, rng, classes=classes, until=until)
    if too_few(pixels, labels):
        pixels, labels, doubtful = _with_doubtful(models, pixels, labels, per_class, classes, rng, until)
        if doubtful:
            notes.append(f"for {doubtful} of {len(classes)} classes less confident class impressions were used")
    missing = len(classes) - len(labels.unique())
    if missing:
        notes.append(f"no class impression was reached for {missing} of {len(classes)} classes")
    if len(pixels) < FEWEST or len(labels.unique()) < to_see:
        notes.append("class impressions were not reached; plain procedural images were used instead")
        return dead_leaves(request.settings.image_count, suspect.input_shape, rng), tuple(notes), PROCEDURAL
    return pixels, tuple(notes), "class impressions"


def _with_doubtful(
    models: list[Classifier],
    pixels: Tensor,
    labels: Tensor,
    per_class: int,
    classes: list[int],
    rng: torch.Generator,
    until: float,
) -> tuple[Tensor, Tensor, int]:
    """Impressions and classes, less confident ones where hardly any was reached; for how many classes.

    A model that was trained on noisy labels, or on attacks, is never as sure as `impressions.Reach` asks for.
    """
    changed: set[int] = set()
    for confidence in LESS_SURE:
        short = [k for k in classes if int((labels == k).sum()) < HARDLY * per_class]
        if not short or time.monotonic() > until:
            break
        reach = replace(RAW, confidence=confidence)
        more, theirs = class_impressions(models, per_class, rng, classes=short, reach=reach, until=until)
        kept = ~torch.isin(labels, theirs.unique())
        pixels, labels = torch.cat([pixels[kept], more]), torch.cat([labels[kept], theirs])
        changed |= set(theirs.tolist())
    return pixels, labels, len(changed)


def _impression_classes(suspect: Classifier, rng: torch.Generator) -> list[int]:
    """The classes that impressions are made for, in their order."""
    drawn = torch.randperm(suspect.num_classes, generator=rng)[:MOST_IMPRESSION_CLASSES]
    return [int(k) for k in drawn.sort().values]


def _robust_impressions(request: ScanRequest, suspect: Classifier, until: float) -> SearchImages | None:
    """What label maps are searched on; None where robust steps reach too little, or there is no time for them."""
    if not suspect.differentiable or time.monotonic() > until:
        return None
    rng = generator(request.settings.seed, "robust images")
    classes = _impression_classes(suspect, rng)
    per_class = max(FEWEST_A_CLASS // 2, ROBUST_IMPRESSIONS // len(classes))
    pixels, labels = class_impressions([suspect], per_class, rng, classes=classes, robust=True, until=until)
    enough = max(FEWEST, int(REACHED * per_class * len(classes)))
    if len(pixels) < enough or 2 * len(labels.unique()) < len(classes):
        return None
    return _split(suspect, pixels, rng, "robust class impressions", None)


def _rightly_answered(suspect: Classifier, loaded: LoadedImages) -> Tensor:
    """Labelled images that the suspect gets right, as long as half remain: its doubtful ones cross any border."""
    if loaded.labels is None:
        return loaded.pixels
    right = suspect.predict(loaded.pixels) == loaded.labels
    return loaded.pixels[right] if right.float().mean() >= 0.5 and int(right.sum()) >= FEWEST else loaded.pixels


def _split(
    suspect: Classifier,
    pixels: Tensor,
    rng: torch.Generator,
    source: str,
    loaded: LoadedImages | None,
    clean_accuracy: float | None = None,
) -> SearchImages:
    """Two halves, each with every class where possible; classes are the suspect's own answers."""
    pixels = pixels[torch.randperm(len(pixels), generator=rng)]
    classes = suspect.predict(pixels)
    order = classes.argsort(stable=True)
    search, held_out = order[0::2], order[1::2]
    search = search[torch.randperm(len(search), generator=rng)]
    held_out = held_out[torch.randperm(len(held_out), generator=rng)]
    samples = tuple(
        Picture(f"answered class {int(classes[i])}", pixels[i].numpy()) for i in held_out[:SHOWN].tolist()
    )
    facts = ImageFacts(
        source=source,
        count=len(pixels),
        held_out=len(held_out),
        labelled=loaded is not None and loaded.labels is not None,
        sha256=loaded.sha256 if loaded is not None else None,
        samples=samples,
        clean_accuracy=clean_accuracy,
    )
    return SearchImages(
        pixels[search], classes[search], pixels[held_out], classes[held_out], facts, made=loaded is None
    )
