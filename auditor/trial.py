"""Load a model without scanning it: what it is once it is open, and whether a scan could measure it."""

from __future__ import annotations

import torch

from auditor import expected_time
from auditor.classifier import Classifier
from auditor.findings import Trial
from auditor.images import load_images
from auditor.models import open_suspect
from auditor.preflight import preflight
from auditor.preparation import prepare
from auditor.procedural import dead_leaves
from auditor.request import ScanRequest

PROBES = 200
"""images that the preflight looks at"""


def try_model(request: ScanRequest) -> Trial:
    """Load the model of ``request`` and look at its answers to some images; raises what opening it raises."""
    classifier, network = open_suspect(request)
    rng = torch.Generator().manual_seed(request.settings.seed)
    image_labels, given, source = None, None, "procedural images"
    if request.images is None:
        pixels = dead_leaves(PROBES, classifier.input_shape, rng)
    else:
        loaded = load_images(
            request.images,
            classifier.input_shape,
            PROBES,
            rng,
            num_classes=classifier.num_classes,
            class_names=classifier.labels,
        )
        given = pixels = loaded.pixels
        image_labels, source = loaded.labels, loaded.source
    told = prepare((classifier, request.model_options), images=given, labels=image_labels)
    checked = preflight(classifier, pixels, image_labels)
    names = ", ".join(classifier.labels[:10]) + (", …" if len(classifier.labels) > 10 else "")
    facts = {
        "architecture": classifier.facts.architecture or "not named",
        "input": "×".join(map(str, classifier.input_shape)) + f", {classifier.preprocess.layout}",
        "classes": str(classifier.num_classes),
        "class names": names or "none",
        "outputs": checked.outputs,
        "mean, std": f"{classifier.preprocess.mean or 0}, {classifier.preprocess.std or 1}",
        "value range": classifier.preprocess.value_range,
        "trained on": _training_images(classifier),
        "batch": "any" if classifier.fixed_batch is None else f"{classifier.fixed_batch} only",
        "checked on": f"{len(pixels)} images: {source}",
    }
    if not checked.blockers and not told.blockers:
        facts["a scan takes"] = expected_time.told(classifier, images=request.images is not None)
    if checked.clean_accuracy is not None:
        facts["clean accuracy"] = f"{checked.clean_accuracy:.1%}"
    return Trial(facts, (*network.notes, *told.warnings, *checked.warnings), told.blockers + checked.blockers)


def _training_images(model: Classifier) -> str:
    """What batch norm remembers of them."""
    told = model.remembers
    if told is None:
        return "not told by batch norm"
    return f"inputs of mean {', '.join(f'{m:.2f}' for m in told.mean)}, std {told.std:.2f} (batch norm)"
