"""The result types as JSON values and back, read off their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from auditor.array_json import (
    decode_array,
    decode_matrix,
    decode_png,
    encode_array,
    encode_matrix,
    encode_png,
    typed,
    unexpected,
)
from auditor.findings import Curve, Matrix, Picture

_EXHIBITS: dict[str, type] = {"picture": Picture, "matrix": Matrix, "curve": Curve}


def plain(value: Any) -> Any:
    """Any setting or number as a JSON value."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def encode(value: Any, kind: Any = Any) -> Any:
    """A field of a result type, annotated as ``kind``, as a JSON value; whole floats stay floats."""
    if dataclasses.is_dataclass(value):
        return encode_record(value)
    if isinstance(value, np.ndarray):
        return encode_array(value)
    if isinstance(value, tuple | list):
        return [encode(item, next(iter(get_args(kind)), Any)) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item, next(iter(get_args(kind)[1:]), Any)) for key, item in value.items()}
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if whole and (kind is float or float in get_args(kind)) else plain(value)


def encode_record(record: Any) -> dict[str, Any]:
    """One dataclass of `auditor.findings` as a JSON object; exhibits carry their ``kind``."""
    if isinstance(record, Picture):
        return {"kind": "picture", "title": record.title, "png": encode_png(record.pixels)}
    if isinstance(record, Matrix):
        return {"kind": "matrix", "title": record.title, "unit": record.unit, **encode_matrix(record.values)}
    hints = get_type_hints(type(record))
    names = [field.name for field in dataclasses.fields(record)]
    fields = {name: encode(getattr(record, name), hints[name]) for name in names}
    return {"kind": "curve", **fields} if isinstance(record, Curve) else fields


def decode(kind: Any, data: Any, where: str) -> Any:
    """``data`` as a value of the annotated type ``kind``."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin is Union or origin is types.UnionType:
        return _decode_union(args, data, where)
    if origin is Literal:
        if data not in args:
            raise unexpected("one of " + ", ".join(map(str, args)), where, data)
        return data
    if origin is tuple:
        items = typed(list, data, where, "a list")
        return tuple(decode(args[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        return {
            str(k): decode(args[1], v, f"{where}.{k}")
            for k, v in typed(dict, data, where, "an object").items()
        }
    if origin is np.ndarray:
        return decode_array(typed(dict, data, where, "an object"), where)
    if dataclasses.is_dataclass(kind):
        return decode_record(kind, data, where)
    return _decode_scalar(kind, data, where)


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float:
        number = typed((int, float), data, where, "a number") if data is not None else math.nan
        return float(number) if abs(number) < 1e300 else math.nan
    if kind is int:
        return typed(int, data, where, "a whole number")
    if kind is bool:
        return typed(bool, data, where, "true or false")
    if kind is str:
        return typed(str, data, where, "text")
    try:
        return kind(data)
    except ValueError as error:
        raise unexpected("one of " + ", ".join(str(item.value) for item in kind), where, data) from error


def _decode_union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    if len(others) == 1:
        return decode(others[0], data, where)
    tag = typed(dict, data, where, "an object").get("kind")
    if tag not in _EXHIBITS:
        raise unexpected("one of " + ", ".join(_EXHIBITS), f"{where}.kind", tag)
    return decode_record(_EXHIBITS[tag], data, where)


def decode_record(
    kind: Any, data: Any, where: str, given: Mapping[str, Any] = types.MappingProxyType({})
) -> Any:
    """The dataclass ``kind`` from a JSON object, with ``given`` fields ready made; unknown keys are ignored.

    Raises `ConfigError` naming the field that is missing or of the wrong type.
    """
    data = typed(dict, data, where, "an object")
    if kind is Picture:
        return Picture(
            decode(str, data.get("title"), f"{where}.title"), decode_png(data.get("png"), f"{where}.png")
        )
    if kind is Matrix:
        title, unit = (decode(str, data.get(key), f"{where}.{key}") for key in ("title", "unit"))
        return Matrix(title, decode_matrix(data, where), unit)
    hints = get_type_hints(kind)
    values = dict(given)
    for field in dataclasses.fields(kind):
        if field.name in values:
            continue
        if field.name in data:
            values[field.name] = decode(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise unexpected("a field", f"{where}.{field.name}", None)
    return kind(**values)
