"""The command line: the only place that prints a report and the only one that exits.

Exit codes: 0 below the gate, 1 verdict at or above ``--fail-on``, 2 failed or inconclusive, 3 nothing to
scan, 4 usage or configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from auditor import __version__, flags
from auditor.compare_command import COMPARED, compare
from auditor.exit_codes import exit_code
from auditor.explain_command import explain
from auditor.guard import AT_GATE, BELOW_GATE, FAILED, USAGE, guarded
from auditor.terminal import plain, progress_bar, say

app = typer.Typer(
    name="audit",
    help="Audits image classifiers for planted backdoors before they go into production.",
    epilog="exit codes: 0 below the gate, 1 verdict at or above --fail-on, 2 failed or inconclusive, "
    "3 nothing to scan, 4 usage or configuration",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version", show_default=False)] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="show where an unexpected error came from", show_default=False)
    ] = False,
) -> None:
    """Audits image classifiers for planted backdoors before they go into production."""
    context.obj.debug = debug
    if version:
        typer.echo(f"audit {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USAGE)


@app.command()
def scan(
    model: flags.Model = None,
    reference: flags.Reference = None,
    images: flags.Images = None,
    classes: flags.Classes = None,
    calibration: flags.Calibration = None,
    arch: flags.Arch = None,
    preprocess: flags.Preprocess = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    value_range: flags.Range = None,
    layout: flags.Layout = None,
    input_size: flags.InputSize = None,
    scores: flags.Scores = None,
    reference_arch: flags.ReferenceArch = None,
    reference_preprocess: flags.ReferencePreprocess = None,
    reference_mean: flags.ReferenceMean = None,
    reference_std: flags.ReferenceStd = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    budget: flags.Budget = None,
    effort: flags.Effort = None,
    early_stop: flags.EarlyStop = None,
    explain: flags.Explain = None,
    looks: flags.Looks = None,
    level: flags.Level = None,
    confirm_at: flags.ConfirmAt = None,
    image_count: flags.ImageCount = None,
    black_box: flags.BlackBox = None,
    allow_torchscript: flags.AllowTorchscript = None,
    unsafe_pickle: flags.UnsafePickle = None,
    detector: flags.Detectors = None,
    assignments: flags.Assignments = None,
    config: flags.Config = None,
    fail_on: flags.FailOn = None,
    output: flags.Outputs = None,
    quiet: flags.Quiet = False,
    no_color: flags.NoColor = False,
) -> int:
    """Scan a model for a backdoor: print the verdict, write reports, and exit by the verdict."""
    given = locals()
    from auditor import delivery, options, worker

    request, gate = options.assemble(model, options.tables_of(given), config=config, assignments=assignments)
    targets = delivery.targets(output or [], (request.model, request.reference, request.images, config))
    with progress_bar(quiet) as progress:
        audit = worker.scan(request, progress=progress)
    if not quiet:
        delivery.show(audit, to_stderr=any(target.path is None for target in targets))
    for path in delivery.deliver(audit, targets):
        say(f"wrote {path}")
    return exit_code(audit.verdict, gate.fail_on)


@app.command("inspect")
def inspect_command(
    model: flags.Model = None,
    images: flags.Images = None,
    classes: flags.Classes = None,
    arch: flags.Arch = None,
    preprocess: flags.Preprocess = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    value_range: flags.Range = None,
    layout: flags.Layout = None,
    input_size: flags.InputSize = None,
    scores: flags.Scores = None,
    device: flags.Device = None,
    black_box: flags.BlackBox = None,
    allow_torchscript: flags.AllowTorchscript = None,
    unsafe_pickle: flags.UnsafePickle = None,
    assignments: flags.Assignments = None,
    config: flags.Config = None,
    load: Annotated[
        bool,
        typer.Option(
            "--load",
            help="also load it, and say whether a scan can measure it; --images implies it",
            show_default=False,
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON", show_default=False)] = False,
) -> int:
    """Say what a model file holds and what is odd about it, evaluating nothing; exit code 1 for a danger."""
    given = locals()
    from auditor import options, worker

    request, _ = options.assemble(model, options.tables_of(given), config=config, assignments=assignments)
    found = worker.inspect_file(request, load=load or images is not None)  # images are of no use but to a loaded model
    if as_json:
        typer.echo(worker.as_json(found))
    else:
        from rich.console import Console

        from auditor.inspection.page import page

        Console().print(page(found.examination, found.trial, found.error))
    if found.error is not None or (found.trial is not None and found.trial.blockers):
        return FAILED
    return AT_GATE if found.examination.dangers else BELOW_GATE


app.command()(explain)


@app.command()
def calibrate(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLEAN_MODELS...",
            help="models of your kind that you know to be clean; five or more are of use",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="calibration to write", show_default=False)],
    reference: flags.Reference = None,
    images: flags.Images = None,
    calibration: flags.Calibration = None,
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
    effort: flags.Effort = None,
    assignments: flags.Assignments = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
) -> int:
    """Scan clean models and write what they look like, for scan --calibration."""
    given = locals()
    from auditor import calibrating, delivery, options

    requests = [
        options.assemble(path, options.tables_of(given), config=config, assignments=assignments)[0] for path in models
    ]
    delivery.check_writable(out)
    with progress_bar(quiet) as progress:
        found = calibrating.calibrate(requests, out, say=say, progress=progress)
    return BELOW_GATE if found else FAILED


@app.command("detectors")
def detectors_command(
    name: Annotated[
        str | None, typer.Argument(help="one detector, with all its settings", show_default=False)
    ] = None,
) -> int:
    """List the detectors, or show what one measures, needs, costs, and its settings."""
    from rich.console import Console

    from auditor import describe

    Console().print(describe.detector_page(name) if name else describe.detector_list())
    return BELOW_GATE


@app.command()
def report(
    audit_file: Annotated[
        Path, typer.Argument(metavar="AUDIT.JSON", help="written by -o json=", show_default=False)
    ],
    output: flags.Outputs = None,
    no_color: flags.NoColor = False,
) -> int:
    """Render the reports of a finished audit again, without scanning."""
    from auditor import delivery
    from auditor.audit_file import read_audit

    targets = delivery.targets(output or [], (audit_file,))
    audit = read_audit(audit_file)
    if not targets:
        delivery.show(audit, to_stderr=False)
    for path in delivery.deliver(audit, targets):
        say(f"wrote {path}")
    return BELOW_GATE


app.command(epilog=COMPARED)(compare)


@app.command()
def demo(
    backdoor: Annotated[
        str, typer.Option(metavar="patch|blended|source-specific", help="what is planted in the second model")
    ] = "patch",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where models, images and reports go")] = Path(
        "audit-demo"
    ),
    seed: Annotated[int, typer.Option(metavar="N", help="root seed of training and scans", min=0)] = 0,
) -> int:
    """Train a clean and a backdoored model on scikit-learn's digits, and scan both."""
    from auditor.demo import demonstrate

    with progress_bar() as progress:
        shown = demonstrate(backdoor, out, seed, progress or (lambda label, done, total: None))
    for item in shown:
        typer.echo(f"{item.trained.path}: {item.audit.verdict.value} (planted: {item.planted})")
        typer.echo(f"  {plain(item.audit.reason)}")
        typer.echo(f"  report: {item.report}")
    wrong = [item for item in shown if not item.as_planted]
    for item in wrong:
        say(
            f"audit: expected {item.expected} for the {item.trained.name} model, "
            f"got {item.audit.verdict.value}; read its report, or try another --seed"
        )
    return FAILED if wrong else BELOW_GATE


@app.command()
def doctor() -> int:
    """Check the installation: versions, device, plugins, and what to install instead."""
    from rich.console import Console

    from auditor import describe
    from auditor.doctor import examine

    findings = examine()
    Console().print(describe.findings_table(findings))
    return BELOW_GATE if all(finding.sound for finding in findings) else FAILED


def run(arguments: Sequence[str] | None = None) -> int:
    """The whole command; the exit code. Never a traceback unless ``--debug`` asks for it."""
    return guarded(app, arguments)


def main() -> NoReturn:
    """The script ``audit``."""
    sys.exit(run())
