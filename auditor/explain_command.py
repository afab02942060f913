"""``audit explain``: the command; `auditor.cli` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor import flags, registry
from auditor.errors import ConfigError
from auditor.guard import BELOW_GATE
from auditor.terminal import progress_bar, say

Class = Annotated[int | None, typer.Option("--class", metavar="N", help="class to explain", show_default=False)]
AuditFile = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        metavar="AUDIT.JSON",
        help="finished audit of this model whose trigger is put on the images",
        show_default=False,
    ),
]
Generate = Annotated[
    Path | None,
    typer.Option(
        "--generate",
        metavar="SEED_IMAGE",
        help="turn this image into one of the class instead; looks good on adversarially trained models only",
        show_default=False,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask", metavar="FILE", help="with --generate: fill in only where this image is white", show_default=False
    ),
]
Out = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT=FILE",
        help="what to write, repeatable: html=explanation.html, json=explanation.json, png=generated.png "
        "[default: html=explanation.html, with --generate png=generated.png]",
        show_default=False,
    ),
]


def explain(
    model: flags.Model = None,
    target: Class = None,
    reference: flags.Reference = None,
    images: flags.Images = None,
    classes: flags.Classes = None,
    audit: AuditFile = None,
    generate: Generate = None,
    mask: Mask = None,
    arch: flags.Arch = None,
    preprocess: flags.Preprocess = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    value_range: flags.Range = None,
    layout: flags.Layout = None,
    input_size: flags.InputSize = None,
    scores: flags.Scores = None,
    reference_arch: flags.ReferenceArch = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    budget: flags.Budget = None,
    detail: flags.Explain = None,
    allow_torchscript: flags.AllowTorchscript = None,
    unsafe_pickle: flags.UnsafePickle = None,
    assignments: flags.Assignments = None,
    config: flags.Config = None,
    output: Out = None,
    quiet: flags.Quiet = False,
) -> int:
    """Draw what a model looks at and takes for the essence of a class, without a scan; no verdict."""
    given = {**locals(), "explain": detail}
    from auditor import delivery, options, worker
    from auditor.request import Question

    if target is None:
        raise ConfigError("expected a class to explain, got none; name one: audit explain model.onnx --class 3")
    if mask is not None and generate is None:
        raise ConfigError("expected --mask together with --generate SEED_IMAGE, got it alone; add the image")
    request, _ = options.assemble(model, options.tables_of(given), config=config, assignments=assignments)
    if request.settings.explain == "none":
        raise ConfigError("expected --explain standard or full, got none; choose one of them")
    inputs = (request.model, request.reference, request.images, config, audit, generate, mask)
    wanted = output or (["png=generated.png"] if generate is not None else ["html=explanation.html"])
    targets = delivery.targets(wanted, inputs, registry.EXPLANATIONS)
    if generate is None and any(t.format == "png" for t in targets):
        raise ConfigError("expected an image to write, got none; png= goes with --generate SEED_IMAGE")
    question = Question(target=target, audit=audit, seed_image=generate, mask=mask)
    with progress_bar(quiet) as progress:
        explained = worker.explain(request, question, progress=progress)
    for warning in explained.warnings:
        say(f"warning: {warning}")
    for path in delivery.deliver(explained, targets):
        say(f"wrote {path}")
    return BELOW_GATE
