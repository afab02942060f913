"""Look over the bytes of an ONNX file before a protobuf parser sees them.

A parser turns two bytes of an empty field into a hundred bytes of object, keeps fields that it does not know, and
merges a message that is given twice. So the fields are counted against a limit here, with their nesting, and what an
exporter would not write is noted. Payloads are skipped, not read: the time depends on the number of fields alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import onnx

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.quoting import listed

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MESSAGE = 11
_SCALAR_WIRE = {1: 1, 2: 5, 6: 1, 7: 5, 15: 5, 16: 1}
"""wire type of the scalar field types of fixed width; every other scalar is a varint"""
_MOST_LEVELS = 100
"""protobuf's own limit on nested messages"""


@dataclass
class WireFacts:
    """What the bytes show beside the model."""

    fields: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    """fields that the format does not have, by message and number"""
    repeated: Counter[str] = field(default_factory=Counter)
    """fields given twice that may occur once, by message and name"""


class _Damaged(Exception):
    pass


def survey(data: bytes, limits: Limits) -> WireFacts:
    """Walk the fields of a serialised ModelProto.

    Raises ModelFileError when they end in the middle, nest too deep or are more than ``limits.fields``.
    """
    facts = WireFacts()
    try:
        _walk(data, facts, limits)
    except (_Damaged, IndexError) as error:
        raise ModelFileError(
            "expected an ONNX model, got a file which does not parse as one (truncated, or another format); "
            "export or download it again"
        ) from error
    return facts


def _walk(data: bytes, facts: WireFacts, limits: Limits) -> None:
    tables: dict[str, dict[int, tuple[str, int, bool, Any]]] = {}
    stack = [(onnx.ModelProto.DESCRIPTOR, 0, len(data), 1)]
    while stack:
        descriptor, position, end, level = stack.pop()
        if level > _MOST_LEVELS:
            raise ModelFileError(
                f"expected an ONNX model of at most {_MOST_LEVELS} nested messages, got more; audit a smaller export"
            )
        table = tables.get(descriptor.full_name)
        if table is None:
            table = tables[descriptor.full_name] = _table(descriptor)
        seen: set[int] = set()
        while position < end:
            facts.fields += 1
            if facts.fields > limits.fields:
                raise ModelFileError(
                    f"expected an ONNX model of at most {limits.fields:,} fields, got more; audit a smaller export, or "
                    "raise limits.fields"
                )
            key, position = _varint(data, position, end)
            start, stop, position = _payload(data, key & 7, position, end)
            number = key >> 3
            known = table.get(number)
            if known is None or not _fits(known, key & 7):
                facts.unknown[f"{descriptor.name}.{number}"] += 1
                continue
            name, _, many, message = known
            if not many and number in seen:
                facts.repeated[f"{descriptor.name}.{name}"] += 1
            seen.add(number)
            if message is not None:
                stack.append((message, start, stop, level + 1))


def _table(descriptor: Any) -> dict[int, tuple[str, int, bool, Any]]:
    """Field number → name, expected wire type, whether it may repeat, type of a nested message."""
    table = {}
    for one in descriptor.fields:
        message = one.message_type if one.type == _MESSAGE else None
        many = one.is_repeated if hasattr(one, "is_repeated") else one.label == one.LABEL_REPEATED
        wire = _BYTES if one.type in (9, 11, 12) else _SCALAR_WIRE.get(one.type, _VARINT)
        table[one.number] = (one.name, wire, bool(many), message)
    return table


def _fits(known: tuple[str, int, bool, Any], wire: int) -> bool:
    return wire == known[1] or (known[2] and wire == _BYTES)  # repeated numbers come one by one or packed


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            break
    raise _Damaged


def _payload(data: bytes, wire: int, position: int, end: int) -> tuple[int, int, int]:
    """Begin and end of a field's content, and where the next field begins."""
    start = position
    if wire == _VARINT:
        _, stop = _varint(data, position, end)
    elif wire in (_FIXED64, _FIXED32):
        stop = position + (8 if wire == _FIXED64 else 4)
    elif wire == _BYTES:
        length, start = _varint(data, position, end)
        stop = start + length
    else:
        raise _Damaged
    if stop > end:
        raise _Damaged
    return start, stop, stop


def shown(counts: Counter[str]) -> str:
    """The fields by name with their counts."""
    return listed([f"{name} ({count}×)" for name, count in counts.most_common()])
