"""The story of reading an ONNX file as data: survey its bytes, parse, count, disarm, load external weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from auditor.errors import ModelFileError
from auditor.findings import ExternalFile, FileFinding
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.bombs import check_sizes
from auditor.loading.onnx_graph.counts import check_counts
from auditor.loading.onnx_graph.external import load_external
from auditor.loading.onnx_graph.labels import labels_of
from auditor.loading.onnx_graph.traps import REFUSED, disarm
from auditor.loading.onnx_graph.wire import WireFacts, shown, survey
from auditor.loading.quoting import quoted


@dataclass(frozen=True)
class OnnxFile:
    """A parsed ONNX model whose weights are all in memory, and which every reader reads alike."""

    model: onnx.ModelProto
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]
    findings: tuple[FileFinding, ...] = ()
    external_files: tuple[ExternalFile, ...] = ()


def read_onnx(path: Path, limits: Limits) -> OnnxFile:
    """Parse an ONNX file and the external weights it names.

    Raises ModelFileError when it is damaged, too large or ambiguous, UnsafeFileError when its external weights are
    not regular files inside its folder.
    """
    model, findings = parse(path, limits)
    findings += disarm(model)
    for finding in findings:
        if finding.id in REFUSED:
            raise ModelFileError(finding.message)
    check_sizes(model, limits)
    files = load_external(model, path.resolve().parent, limits)
    notes = [finding.message for finding in findings if finding.severity != "info"]
    notes += [f"external weights read from '{file.name}', SHA-256 {file.sha256}" for file in files]
    return OnnxFile(model, labels_of(model, limits), tuple(notes), tuple(findings), files)


def parse(path: Path, limits: Limits) -> tuple[onnx.ModelProto, list[FileFinding]]:
    """The model as it is stored, its counts within the limits, and what is odd about its bytes.

    Raises ModelFileError when it does not parse, holds no graph or exceeds a limit.
    """
    data = path.read_bytes()
    facts = survey(data, limits)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # the protobuf backends raise their own, unrelated types
        raise ModelFileError(
            f"expected an ONNX model, got {quoted(path.name)}, which does not parse as one (truncated, or another "
            "format); export or download it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(
            f"expected an ONNX model, got {quoted(path.name)}, which holds no graph; export or download it again"
        )
    check_counts(model, limits)
    return model, _wire_findings(facts)


def _wire_findings(facts: WireFacts) -> list[FileFinding]:
    findings = []
    if facts.repeated:
        findings.append(
            FileFinding(
                "repeated-field",
                "warning",
                f"fields that occur once are given again: {shown(facts.repeated)}; readers of the format merge them "
                "or take the last",
            )
        )
    if facts.unknown:
        findings.append(
            FileFinding(
                "unknown-fields",
                "warning",
                f"the file holds fields that the format does not have: {shown(facts.unknown)}; nothing reads them",
            )
        )
    return findings
