"""Tensors of a PyTorch checkpoint, from its pickle's opcodes and its raw storages; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from auditor.findings import FileFinding
from auditor.inspection.constants import not_finite
from auditor.inspection.examination import TensorFact
from auditor.inspection.pickles import Global, Made, PickleFacts
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

_KINDS: dict[str, tuple[str, str]] = {
    "FloatStorage": ("float32", "<f4"),
    "DoubleStorage": ("float64", "<f8"),
    "HalfStorage": ("float16", "<f2"),
    "BFloat16Storage": ("bfloat16", "<u2"),
    "LongStorage": ("int64", "<i8"),
    "IntStorage": ("int32", "<i4"),
    "ShortStorage": ("int16", "<i2"),
    "CharStorage": ("int8", "i1"),
    "ByteStorage": ("uint8", "u1"),
    "BoolStorage": ("bool", "u1"),
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the pickle describes it."""

    name: str
    """unescaped"""
    type: str
    storage: str
    """key of the raw data"""
    capacity: int
    """elements of the storage"""
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    raw: str
    """numpy's name of the element type; empty when it is not read"""

    @property
    def elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """One past the last element of the storage that the tensor touches."""
        if not self.elements:
            return self.offset
        return self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)) + 1


def stored_tensors(facts: PickleFacts) -> list[StoredTensor]:
    """The tensors whose description could be followed."""
    found = (_tensor(name, made) for name, made in facts.tensors.items())
    return [tensor for tensor in found if tensor is not None]


def _tensor(name: str, made: Made) -> StoredTensor | None:
    arguments = made.arguments
    if not isinstance(arguments, tuple) or len(arguments) < 4 or not isinstance(arguments[0], Made):
        return None
    persistent = arguments[0].arguments
    if not isinstance(persistent, tuple) or len(persistent) < 5 or not isinstance(persistent[1], Global):
        return None
    kind = persistent[1].name.rpartition(".")[2]
    key, capacity = persistent[2], persistent[4]
    shape, strides = _sizes(arguments[2]), _sizes(arguments[3])
    if not isinstance(key, str) or not _whole(capacity) or not _whole(arguments[1]):
        return None
    if shape is None or strides is None or len(shape) != len(strides):
        return None
    type_name, raw = _KINDS.get(kind, (kind, ""))
    return StoredTensor(name, type_name, key, capacity, arguments[1], shape, strides, raw)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sizes(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, tuple) and all(_whole(item) for item in value):
        return value
    return None


def tensor_findings(tensors: list[StoredTensor], where: str) -> Iterator[FileFinding]:
    """Tensors that reach out of their storage, as strides and offsets from a hostile file can."""
    for tensor in tensors:
        negative = min((*tensor.shape, *tensor.strides, tensor.offset, tensor.capacity), default=0) < 0
        if negative or tensor.reach > tensor.capacity:
            yield FileFinding(
                "tensor-out-of-bounds",
                "danger",
                f"expected {quoted(tensor.name)} to lie inside its storage of {tensor.capacity:,} elements, got shape "
                f"{tensor.shape}, strides {tensor.strides} and offset {tensor.offset:,}; save the weights again",
                where,
            )


def storage_findings(
    archive: zipfile.ZipFile, prefix: str, tensors: list[StoredTensor], limits: Limits
) -> Iterator[FileFinding]:
    """Storages that are missing or of another length than stated, and NaN or infinity in those that hold floats."""
    sizes = {entry.filename: entry for entry in archive.infolist()}
    for tensor in {tensor.storage: tensor for tensor in tensors}.values():
        entry = sizes.get(f"{prefix}data/{tensor.storage}")
        if entry is None:
            yield FileFinding(
                "missing-storage", "danger", f"the storage of {quoted(tensor.name)} is not in the archive", prefix
            )
            continue
        width = np.dtype(tensor.raw).itemsize if tensor.raw else 0
        if not width or entry.file_size != tensor.capacity * width:
            if width:
                yield FileFinding(
                    "tensor-out-of-bounds",
                    "danger",
                    f"expected {tensor.capacity * width:,} bytes in the storage of {quoted(tensor.name)}, got "
                    f"{entry.file_size:,}; save the weights again",
                    quoted(entry.filename)[1:-1],
                )
            continue
        if tensor.raw in ("<f4", "<f8", "<f2", "<u2") and entry.file_size <= limits.weight_bytes:
            values = np.frombuffer(archive.read(entry), tensor.raw)
            if tensor.type == "bfloat16":
                values = (values.astype("<u4") << 16).view("<f4")
            finding = not_finite(values, tensor.name)
            if finding is not None:
                yield finding


def tensor_fact(tensor: StoredTensor) -> TensorFact:
    """The tensor for the page."""
    return TensorFact(quoted(tensor.name)[1:-1], tensor.type, tuple(map(str, tensor.shape)))
