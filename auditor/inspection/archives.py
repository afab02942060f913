"""Examine zip archives: PyTorch checkpoints, TorchScript, exported programs, and what is hidden in any of them."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection.pickle_findings import pickle_findings
from auditor.inspection.pickles import PickleFacts, follow
from auditor.inspection.programs import exported_operations, program_findings, script_operations
from auditor.inspection.storages import storage_findings, stored_tensors, tensor_fact, tensor_findings
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

_MEMBERS = 100
_PICKLE_HEAD = tuple(bytes([0x80, version]) for version in (2, 3, 4, 5))
_ZIP_HEAD = b"PK\x03\x04"
_TEXT_PICKLES = (b"c", b"(", b"]", b"}", b"i")


def examine_archive(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
    """Fields of an Examination, and findings. Raises ModelFileError for a damaged archive or one above the limits."""
    with path.open("rb") as stream:
        head = stream.read(4)
    try:
        with zipfile.ZipFile(path) as archive:
            return _examine(archive, path.stat().st_size, head, limits)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise ModelFileError(
            f"expected a complete archive, got {quoted(path.name)}, which does not unpack "
            f"({quoted(f'{type(error).__name__}: {error}', 120)}); save or download it again"
        ) from error


def _examine(
    archive: zipfile.ZipFile, size: int, head: bytes, limits: Limits
) -> tuple[dict[str, Any], list[FileFinding]]:
    entries = archive.infolist()
    check_unpacked(entries, size, limits)
    findings = [*_layout(entries, head)]
    names: dict[str, None] = {}
    tensors = []
    program = any("code/" in entry.filename and entry.filename.endswith(".py") for entry in entries)
    for entry in entries:
        facts = _pickle_of(archive, entry, limits)
        if facts is not None:
            where = quoted(entry.filename)[1:-1]
            names.update(facts.imported)
            findings += pickle_findings(facts, where, program=program)
            found = stored_tensors(facts)
            findings += tensor_findings(found, where)
            if not program and entry.filename.endswith("data.pkl"):
                tensors += found
                findings += storage_findings(archive, entry.filename[: -len("data.pkl")], found, limits)
    findings += nested_findings(archive, limits, depth=1)
    operations = script_operations(archive, limits) if program else exported_operations(archive, limits)
    findings += program_findings(archive, limits) if program else []
    fields = {
        "format": _format(entries, program),
        "operations": operations,
        "tensors": len(tensors),
        "parameters": sum(tensor.elements for tensor in tensors),
        "weight_bytes": sum(entry.file_size for entry in entries if "/data/" in f"/{entry.filename}"),
        "largest": tuple(tensor_fact(t) for t in sorted(tensors, key=lambda t: t.elements, reverse=True)[:5]),
        "members": tuple(quoted(entry.filename)[1:-1] for entry in entries[:_MEMBERS]),
        "pickled_globals": tuple(quoted(name)[1:-1] for name in names),
        "facts": {"members": str(len(entries))},
    }
    return fields, findings


def check_unpacked(entries: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    """Raise ModelFileError for more members, or more bytes unpacked, than the limits allow."""
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > limits.archive_members:
        raise ModelFileError(
            f"expected an archive of at most {limits.archive_members:,} members, got {len(entries):,}; "
            "save the weights again, or raise limits.archive_members"
        )
    if unpacked > limits.file_bytes or unpacked > size * limits.unpacked_ratio:
        raise ModelFileError(
            f"expected an archive that unpacks to at most {limits.file_bytes:,} bytes and {limits.unpacked_ratio} "
            f"times its size, got {unpacked:,} bytes out of {size:,}; save the weights again"
        )


def _format(entries: list[zipfile.ZipInfo], program: bool) -> str:
    names = [entry.filename for entry in entries]
    if program:
        return "TorchScript archive"
    exported = ("serialized_exported_program.json", "archive_format", "models/model.json")
    if any(name.endswith(exported) for name in names):
        return "torch.export archive"
    if any(name.endswith("data.pkl") for name in names):
        return "PyTorch checkpoint (zip)"
    return "zip archive"


def _layout(entries: list[zipfile.ZipInfo], head: bytes) -> Iterator[FileFinding]:
    """Two members of one name are read differently by different readers; so is an archive behind something else."""
    twice = [name for name, count in Counter(entry.filename for entry in entries).items() if count > 1]
    if twice:
        yield FileFinding(
            "duplicate-member",
            "danger",
            f"the archive holds {quoted(twice[0])} more than once, of which readers take different ones",
            quoted(twice[0])[1:-1],
        )
    if head != _ZIP_HEAD:
        yield FileFinding(
            "hidden-archive",
            "danger",
            "the file does not begin as an archive but ends as one, so that readers disagree on what it is",
        )


def _pickle_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> PickleFacts | None:
    """The facts of a member that is a pickle by its name or by its first bytes."""
    if entry.is_dir() or not entry.file_size:
        return None
    named = entry.filename.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt"))
    with archive.open(entry) as stream:
        head = stream.read(4)
        if head == _ZIP_HEAD or not (named or head[:2] in _PICKLE_HEAD or _text_pickle(entry, head)):
            return None
        data = head + stream.read(limits.pickle_bytes)
    if len(data) > limits.pickle_bytes and named:
        raise ModelFileError(
            f"expected pickles of at most {limits.pickle_bytes:,} bytes, got {quoted(entry.filename)} with "
            f"{entry.file_size:,}; save the weights alone, or raise limits.pickle_bytes"
        )
    facts = follow(data)
    return facts if named or facts.imported else None


def _text_pickle(entry: zipfile.ZipInfo, head: bytes) -> bool:
    """Protocols 0 and 1 have no signature; storages and texts are not taken for them."""
    text = entry.filename.endswith((".py", ".json", ".txt", ".debug_pkl", "version", "byteorder"))
    return not text and "/data/" not in f"/{entry.filename}" and head[:1] in _TEXT_PICKLES


def nested_findings(archive: zipfile.ZipFile, limits: Limits, depth: int) -> Iterator[FileFinding]:
    """Findings about pickles in archives inside this one."""
    for entry in archive.infolist():
        if entry.is_dir() or entry.file_size < 22:
            continue
        with archive.open(entry) as stream:
            if stream.read(4) != _ZIP_HEAD:
                continue
        where = quoted(entry.filename)[1:-1]
        if depth >= limits.archive_depth:
            yield FileFinding("nested-archive", "danger", "archives lie in archives deeper than is looked into", where)
            continue
        if "/data/sample_inputs/" not in f"/{entry.filename}":  # torch.export leaves its example input there
            said = "an archive lies inside the archive; no exporter does so"
            yield FileFinding("nested-archive", "warning", said, where)
        yield from _inside(archive, entry, limits, depth, where)


def _inside(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits, depth: int, where: str
) -> Iterator[FileFinding]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive.read(entry))) as inner:
            check_unpacked(inner.infolist(), entry.file_size, limits)
            for member in inner.infolist():
                facts = _pickle_of(inner, member, limits)
                if facts is not None:
                    yield from pickle_findings(facts, f"{where}: {quoted(member.filename)[1:-1]}")
            yield from nested_findings(inner, limits, depth + 1)
    except (zipfile.BadZipFile, ModelFileError, NotImplementedError, EOFError, OSError):
        yield FileFinding("nested-archive", "danger", "an archive inside the archive does not unpack", where)
