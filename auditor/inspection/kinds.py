"""Which examiner a file gets, told by its content."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection.archives import examine_archive
from auditor.inspection.onnx_file import examine_onnx
from auditor.inspection.pickle_findings import pickle_findings
from auditor.inspection.pickles import follow
from auditor.inspection.safetensors_header import examine_safetensors
from auditor.inspection.storages import stored_tensors, tensor_fact, tensor_findings
from auditor.loading.file_format import detect, is_zip
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

Look = Callable[[Path, Limits], tuple[dict[str, Any], list[FileFinding]]]


def examiner(path: Path) -> tuple[str, Look]:
    """The name of the format and the function that examines it."""
    try:
        kind = detect(path)
    except ModelFileError as error:
        return "another format", _other(str(error))
    if kind == "safetensors":
        return "safetensors", examine_safetensors
    if kind == "onnx":
        return "ONNX", examine_onnx
    if is_zip(path):
        return "zip archive", examine_archive
    if tarfile.is_tarfile(path):
        return "PyTorch checkpoint (tar, before 0.1.10)", examine_tar
    return "PyTorch checkpoint (pickle)", examine_pickle


def _other(message: str) -> Look:
    """A format that is not audited: said so, and looked into when it is an archive."""

    def look(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
        finding = FileFinding("format-not-audited", "warning", message)
        if not is_zip(path):
            return {}, [finding]
        fields, findings = examine_archive(path, limits)
        return fields, [finding, *findings]

    return look


def examine_pickle(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
    """A file of one or more pickles, with raw storages behind them when torch wrote it before version 1.6."""
    with path.open("rb") as stream:
        facts = follow(stream.read(limits.pickle_bytes))
    tensors = stored_tensors(facts)
    findings = [*pickle_findings(facts, ""), *tensor_findings(tensors, "")]
    if facts.pickles and facts.end < path.stat().st_size:
        findings.append(
            FileFinding("storages-not-read", "info", "the raw numbers behind the pickles were not looked at for NaN")
        )
    fields = {
        "tensors": len(tensors),
        "parameters": sum(tensor.elements for tensor in tensors),
        "largest": tuple(tensor_fact(t) for t in sorted(tensors, key=lambda t: t.elements, reverse=True)[:5]),
        "pickled_globals": tuple(quoted(name)[1:-1] for name in facts.imported),
        "facts": {"pickles": str(facts.pickles)},
    }
    return fields, findings


def examine_tar(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
    """The oldest checkpoints: pickles in a tar archive; nothing is extracted."""
    findings: list[FileFinding] = []
    names: dict[str, None] = {}
    members: list[str] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                members.append(quoted(member.name)[1:-1])
                if len(members) > limits.archive_members:
                    raise ModelFileError(f"expected at most {limits.archive_members:,} members, got more")
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    kind = "link" if member.islnk() or member.issym() else "special file"
                    findings.append(
                        FileFinding("special-member", "danger", f"a {kind} lies in the archive", members[-1])
                    )
                    continue
                facts = follow(stream.read(limits.pickle_bytes))
                names.update(facts.imported)
                findings += pickle_findings(facts, members[-1]) if facts.imported else []
    except tarfile.TarError as error:
        raise ModelFileError(
            f"expected a complete tar archive, got {quoted(path.name)}, which does not unpack; download it again"
        ) from error
    fields = {"members": tuple(members[:100]), "pickled_globals": tuple(quoted(name)[1:-1] for name in names)}
    return fields, findings
