"""The models of one scan: each file is examined, then loaded, suspect and reference apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from auditor.classifier import Classifier
from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection import examine
from auditor.kinship import have_same_weights, kinship
from auditor.loading import LoadedNetwork
from auditor.opening import choose_device, open_classifier, read_labels
from auditor.preflight import check_pair
from auditor.request import ScanRequest

OF_REFERENCE = "reference"
"""what the place of a finding in the reference's file begins with"""


@dataclass(frozen=True)
class Opened:
    """The models of one scan, and what is odd about their files."""

    suspect: Classifier
    reference: Classifier | None
    notes: tuple[str, ...]
    findings: tuple[FileFinding, ...] = ()
    kinship: float | None = None
    """of suspect and reference, in [0, 1]; None without one"""


def open_suspect(request: ScanRequest) -> tuple[Classifier, LoadedNetwork]:
    """The suspect as its options say, and what loading noticed."""
    return open_classifier(
        request.model,
        request.model_options,
        device=choose_device(request.settings.device),
        labels=read_labels(request.classes),
        limits=request.limits,
        as_black_box=request.settings.black_box,
    )


def open_models(request: ScanRequest) -> Opened:
    """Suspect and reference, each as its own options say; each file is examined before it is loaded."""
    findings = list(examine(request.model, request.limits).findings)
    try:
        suspect, network = open_suspect(request)
    except ModelFileError as error:
        raise with_danger(error, findings) from error
    notes = list(network.notes)
    findings += executed(network.executed)
    if request.reference is None:
        return Opened(suspect, None, tuple(notes), tuple(findings))
    options = request.reference_options or replace(request.model_options, arch=None)
    findings += [
        replace(found, where=f"{OF_REFERENCE}: {found.where}" if found.where else OF_REFERENCE)
        for found in examine(request.reference, request.limits).findings
    ]
    reference, its_network = open_classifier(
        request.reference,
        options,
        device=str(suspect.device),
        template=network,
        default_shape=suspect.input_shape,
        limits=request.limits,
        as_black_box=request.settings.black_box,
    )
    findings += executed(its_network.executed, OF_REFERENCE)
    check_pair(suspect, reference)
    notes += [f"reference: {note}" for note in its_network.notes]
    if have_same_weights(suspect, reference):
        notes.append("suspect and reference have the same weights: a backdoor in them would not be seen")
    return Opened(suspect, reference, tuple(notes), tuple(findings), kinship(suspect, reference))


def with_danger(error: ModelFileError, findings: Sequence[FileFinding]) -> ModelFileError:
    """The error of a file that does not load, and what else is wrong with it: the graver of the two."""
    dangers = [found for found in findings if found.severity == "danger" and found.message not in str(error)]
    if not dangers:
        return error
    return type(error)(f"{error}. The file also shows a danger: {dangers[0].message} (audit inspect tells all)")


def executed(was: bool, where: str = "") -> tuple[FileFinding, ...]:
    """The record of a file that was run on the caller's demand."""
    message = "the file was executed (--unsafe-pickle): whatever is in it ran with your rights"
    return (FileFinding("file-executed", "danger", message, where),) if was else ()


def of_suspect(findings: Sequence[FileFinding]) -> list[FileFinding]:
    """Those that are not about the reference's file."""
    return [found for found in findings if not found.where.startswith(OF_REFERENCE)]
