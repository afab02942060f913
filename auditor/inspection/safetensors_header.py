"""Examine a safetensors file: its header is JSON, its tensors are bytes; both are checked against each other here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection.constants import not_finite
from auditor.inspection.examination import TensorFact
from auditor.loading.limits import Limits
from auditor.loading.quoting import listed, quoted

_TYPES: dict[str, tuple[str, int, str]] = {
    "F64": ("float64", 64, "<f8"),
    "F32": ("float32", 32, "<f4"),
    "F16": ("float16", 16, "<f2"),
    "BF16": ("bfloat16", 16, "<u2"),
    "F8_E5M2": ("float8e5m2", 8, ""),
    "F8_E4M3": ("float8e4m3", 8, ""),
    "F8_E8M0": ("float8e8m0", 8, ""),
    "F6_E2M3": ("float6e2m3", 6, ""),
    "F6_E3M2": ("float6e3m2", 6, ""),
    "F4": ("float4", 4, ""),
    "C64": ("complex64", 64, ""),
    "I64": ("int64", 64, ""),
    "U64": ("uint64", 64, ""),
    "I32": ("int32", 32, ""),
    "U32": ("uint32", 32, ""),
    "I16": ("int16", 16, ""),
    "U16": ("uint16", 16, ""),
    "I8": ("int8", 8, ""),
    "U8": ("uint8", 8, ""),
    "BOOL": ("bool", 8, ""),
}


def examine_safetensors(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
    """Fields of an Examination, and findings. Raises ModelFileError when the header cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        header, start = _header(stream, size, limits)
        metadata = header.pop("__metadata__", {})
        findings = [*_metadata(metadata)]
        entries, problems = _entries(header, size - start)
        findings += [_malformed(problem) for problem in problems]
        findings += _values(stream, start, entries, limits)
    largest = sorted(entries, key=lambda entry: math.prod(entry[2]), reverse=True)[:5]
    fields = {
        "tensors": len(entries),
        "parameters": sum(math.prod(shape) for _, _, shape, _, _ in entries),
        "weight_bytes": sum(end - begin for _, _, _, begin, end in entries),
        "largest": tuple(
            TensorFact(quoted(name)[1:-1], _TYPES[kind][0], tuple(map(str, shape)))
            for name, kind, shape, _, _ in largest
        ),
        "facts": {"header bytes": str(start - 8), "metadata": listed([quoted(str(key), 40) for key in metadata])},
    }
    return fields, findings


Entry = tuple[str, str, list[int], int, int]
"""name, type, shape, begin and end within the data"""


def _header(stream: BinaryIO, size: int, limits: Limits) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if length > limits.header_bytes or length > size - 8:
        raise ModelFileError(
            f"expected a safetensors header of at most {min(limits.header_bytes, size - 8):,} bytes, got {length:,}; "
            "save or download the file again"
        )
    try:
        header = json.loads(stream.read(length).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"expected a safetensors header in JSON, got something else ({quoted(str(error), 80)}); "
            "save or download the file again"
        ) from error
    if not isinstance(header, dict):
        raise ModelFileError("expected a safetensors header with named tensors, got none; save the file again")
    if len(header) > limits.initializers:
        raise ModelFileError(
            f"expected at most {limits.initializers:,} tensors, got {len(header):,}; audit a smaller network"
        )
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return dict(pairs)


def _entries(header: dict[str, Any], room: int) -> tuple[list[Entry], list[str]]:
    """The tensors whose entry is sound, and what is wrong with the others or with how they lie."""
    sound: list[Entry] = []
    problems: list[str] = []
    for name, entry in header.items():
        problem = _problem(entry, room)
        if problem:
            problems.append(f"{quoted(name)} has {problem}")
        else:
            begin, end = entry["data_offsets"]
            sound.append((name, entry["dtype"], entry["shape"], begin, end))
    position = 0
    for name, _, _, begin, end in sorted(sound, key=lambda one: (one[3], one[4])):
        if begin != position:
            problems.append(f"{quoted(name)} {'overlaps another' if begin < position else 'leaves a gap before it'}")
        position = max(position, end)
    if position != room and not problems:
        problems.append(f"{room - position:,} bytes behind the last tensor belong to none")
    return sound, problems


def _problem(entry: object, room: int) -> str:
    if not isinstance(entry, dict) or entry.get("dtype") not in _TYPES:
        return "no known type"
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        return "no shape or no offsets"
    begin, end = offsets
    if not 0 <= begin <= end <= room:
        return f"offsets {begin:,} to {end:,} outside of the {room:,} bytes of data"
    needed = (math.prod(shape) * _TYPES[entry["dtype"]][1] + 7) // 8
    return "" if end - begin == needed else f"{end - begin:,} bytes instead of {needed:,}"


def _whole_numbers(value: Any) -> bool:
    whole = isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    return whole and all(0 <= one < 1 << 62 for one in value)


def _malformed(problem: str) -> FileFinding:
    return FileFinding(
        "malformed-safetensors", "danger", f"expected tensors that fill the file one after the other, got: {problem}"
    )


def _metadata(metadata: object) -> Iterator[FileFinding]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        yield _malformed("metadata that is not text")


def _values(stream: BinaryIO, start: int, entries: list[Entry], limits: Limits) -> Iterator[FileFinding]:
    for name, kind, _, begin, end in entries:
        raw = _TYPES[kind][2]
        if not raw or end - begin > limits.weight_bytes:
            continue
        stream.seek(start + begin)
        values = np.frombuffer(stream.read(end - begin), raw)
        if kind == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        finding = not_finite(values, name)
        if finding is not None:
            yield finding
