"""``audit inspect``: what a model file says of itself, and whether it can be measured."""

from __future__ import annotations

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from auditor.describe import cells, table
from auditor.images import load_images
from auditor.impressions import dead_leaves
from auditor.opening import choose_device, open_classifier, read_labels
from auditor.preflight import preflight
from auditor.request import ScanRequest
from auditor.terminal import plain

PROBES = 200
"""images that the preflight looks at"""


def inspect_model(request: ScanRequest) -> tuple[RenderableType, bool]:
    """A page of facts, and whether a scan could measure this model; raises what opening it raises."""
    labels = read_labels(request.classes)
    device = choose_device(request.settings.device)
    classifier, network = open_classifier(request.model, request.model_options, device=device, labels=labels)
    rng = torch.Generator().manual_seed(request.settings.seed)
    image_labels, source = None, "procedural images"
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
        pixels, image_labels, source = loaded.pixels, loaded.labels, loaded.source
    checked = preflight(classifier, pixels, image_labels)
    facts = table("", "")
    facts.show_header = False
    rows = {
        "file": classifier.facts.name,
        "SHA-256": classifier.facts.sha256,
        "format": classifier.facts.format,
        "architecture": classifier.facts.architecture or "not named",
        "input": "×".join(map(str, classifier.input_shape)) + f", {classifier.preprocess.layout}",
        "classes": str(classifier.num_classes),
        "class names": ", ".join(classifier.labels[:10]) + (", …" if len(classifier.labels) > 10 else "")
        or "none",
        "outputs": checked.outputs,
        "mean, std": f"{classifier.preprocess.mean or 0}, {classifier.preprocess.std or 1}",
        "value range": classifier.preprocess.value_range,
        "checked on": f"{len(pixels)} images: {source}",
    }
    if checked.clean_accuracy is not None:
        rows["clean accuracy"] = f"{checked.clean_accuracy:.1%}"
    for name, value in rows.items():
        facts.add_row(*cells(name, value))
    lines = [Text(plain(f"cannot be measured: {text}"), style="bold red") for text in checked.blockers]
    lines += [Text(plain(f"warning: {text}"), style="yellow") for text in (*network.notes, *checked.warnings)]
    if not checked.blockers:
        lines.append(Text("A scan can measure this model.", style="green"))
    return Group(facts, Text(), *lines), not checked.blockers
