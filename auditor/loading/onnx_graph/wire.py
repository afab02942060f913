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
_STRING, _MESSAGE, _RAW = 9, 11, 12
_SCALAR_WIRE = {1: 1, 2: 5, 6: 1, 7: 5, 15: 5, 16: 1}
"""wire type of the scalar field types of fixed width; every other scalar is a varint"""
_MOST_LEVELS = 100
"""protobuf's own limit on nested messages"""
_NAMES = frozenset({"name", "op_type", "domain", "input", "output", "key", "dim_param", "ref_attr_name", "overload"})
"""the text fields that are names; the others are values and documentation"""


@dataclass(frozen=True)
class _Field:
    """One field of a message type."""

    name: str
    wire: int
    many: bool
    text: bool
    message: Any
    """descriptor of the nested message type, or None"""


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


@dataclass
class _Level:
    """One message that is being walked."""

    name: str
    table: dict[int, _Field]
    position: int
    end: int
    seen: set[int] = field(default_factory=set)


def _walk(data: bytes, facts: WireFacts, limits: Limits) -> None:
    """Depth first, so that what is kept grows with the nesting and not with the number of fields."""
    tables: dict[str, dict[int, _Field]] = {}
    levels = [_level(onnx.ModelProto.DESCRIPTOR, 0, len(data), tables)]
    while levels:
        level = levels[-1]
        if level.position >= level.end:
            levels.pop()
            continue
        facts.fields += 1
        if facts.fields > limits.fields:
            raise ModelFileError(
                f"expected an ONNX model of at most {limits.fields:,} fields, got more; audit a smaller export, or "
                "raise limits.fields"
            )
        key, position = _varint(data, level.position, level.end)
        start, stop, level.position = _payload(data, key & 7, position, level.end)
        known = level.table.get(key >> 3)
        if known is None or not _fits(known, key & 7):
            facts.unknown[f"{level.name}.{key >> 3}"] += 1
            continue
        if not known.many and key >> 3 in level.seen:
            facts.repeated[f"{level.name}.{known.name}"] += 1
        level.seen.add(key >> 3)
        if known.text and start < stop:
            _check_text(data[start:stop], known.name, limits)
        elif known.message is not None and start < stop:
            if len(levels) >= _MOST_LEVELS:
                raise ModelFileError(
                    f"expected an ONNX model of at most {_MOST_LEVELS} nested messages, got more; audit a smaller "
                    "export"
                )
            levels.append(_level(known.message, start, stop, tables))


def _level(descriptor: Any, start: int, stop: int, tables: dict[str, dict[int, _Field]]) -> _Level:
    if descriptor.full_name not in tables:
        tables[descriptor.full_name] = _table(descriptor)
    return _Level(descriptor.name, tables[descriptor.full_name], start, stop)


def _check_text(text: bytes, name: str, limits: Limits) -> None:
    """Names are short, and texts are UTF-8: parsers disagree on what else to do with them."""
    if len(text) > (limits.name_characters if name in _NAMES else limits.label_characters * 4):
        raise ModelFileError(
            f"expected at most {limits.name_characters:,} characters in a name, got {len(text):,} bytes; audit a "
            "smaller export, or raise limits.name_characters"
        )
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(
            f"expected text in UTF-8, got other bytes in a {name}; export or download the model again"
        ) from error


def _table(descriptor: Any) -> dict[int, _Field]:
    found = {}
    for one in descriptor.fields:
        many = one.is_repeated if hasattr(one, "is_repeated") else one.label == one.LABEL_REPEATED
        wire = _BYTES if one.type in (_STRING, _MESSAGE, _RAW) else _SCALAR_WIRE.get(one.type, _VARINT)
        message = one.message_type if one.type == _MESSAGE else None
        found[one.number] = _Field(one.name, wire, bool(many), one.type == _STRING, message)
    return found


def _fits(known: _Field, wire: int) -> bool:
    return wire == known.wire or (known.many and wire == _BYTES)  # repeated numbers come one by one or packed


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
