"""What an examination of a model file gives: plain values that travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from auditor.findings import ExternalFile, FileFinding


@dataclass(frozen=True)
class TensorFact:
    """One input or output of a graph, or one named tensor of a file; every text is escaped."""

    name: str
    type: str
    """such as ``float32``"""
    shape: tuple[str, ...]
    """one text per axis: a number, the file's own symbol, or ``?``"""


@dataclass(frozen=True)
class OperationCount:
    """How often one operation occurs, sub-graphs included."""

    domain: str
    """empty for ONNX's own"""
    type: str
    version: int
    """the imported opset version of the domain; 0 when the file names none"""
    count: int


@dataclass(frozen=True)
class Examination:
    """A model file as it describes itself; nothing in it was evaluated. Every text from the file is escaped.

    Lists are cut to their first few hundred entries.
    """

    file_name: str
    size: int
    """bytes"""
    sha256: str
    format: str
    """told by the content, e.g. ``ONNX`` or ``TorchScript archive``"""
    inputs: tuple[TensorFact, ...] = ()
    outputs: tuple[TensorFact, ...] = ()
    operations: tuple[OperationCount, ...] = ()
    """most frequent first"""
    tensors: int = 0
    """stored tensors: constants of a graph, weights of a state dict"""
    parameters: int = 0
    """their elements"""
    weight_bytes: int = 0
    """their bytes as stored"""
    largest: tuple[TensorFact, ...] = ()
    """the largest stored tensors, largest first"""
    members: tuple[str, ...] = ()
    """entries of an archive, cut to the first hundred"""
    pickled_globals: tuple[str, ...] = ()
    """everything that pickles in the file would import, allowed or not"""
    external_files: tuple[ExternalFile, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    """anything else worth showing, such as the producer or the opset"""
    findings: tuple[FileFinding, ...] = ()

    @property
    def dangers(self) -> tuple[FileFinding, ...]:
        """The findings that no honest export has."""
        return tuple(finding for finding in self.findings if finding.severity == "danger")
