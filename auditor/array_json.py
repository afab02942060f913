"""Pictures, matrices and arrays as JSON values and back; sizes are checked before anything is unpacked."""

from __future__ import annotations

import base64
import binascii
import io
import math
import zlib
from typing import Any

import numpy as np
from PIL import Image

from auditor.errors import ConfigError
from auditor.findings import Array

MAX_ELEMENTS = 2**24
"""numbers in one array, or pixels in one picture, that are accepted from a file"""
MAX_CLASSES = 4096
"""rows of a matrix that are accepted from a file"""
REMEDY = "give a file that 'audit scan -o json=…' of this release wrote"

_KINDS = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
}


def unexpected(expected: str, where: str, got: Any) -> ConfigError:
    """The error for a wrong value at ``where``; the value is foreign text, escaped and shown when short."""
    shown = repr(got) if isinstance(got, str | int | float) and len(repr(got)) <= 40 else kind_of(got)
    place = where.encode("unicode_escape").decode("ascii")[:120]
    return ConfigError(f"expected {expected} at '{place}' of the audit, got {ascii_only(shown)}; {REMEDY}")


def ascii_only(text: str) -> str:
    """``text`` with everything but printable ASCII escaped."""
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "an object")


def typed(kinds: type | tuple[type, ...], data: Any, where: str, expected: str) -> Any:
    """``data`` when it is of ``kinds`` (a bool is never a number); raises `ConfigError` otherwise."""
    if not isinstance(data, kinds) or (isinstance(data, bool) and kinds is not bool):
        raise unexpected(expected, where, data)
    return data


def png_bytes(pixels: Array) -> bytes:
    """An 8-bit PNG of ``pixels``, (C, H, W) in [0, 1] with C of 1 or 3; NaN is drawn black."""
    levels = np.rint(np.nan_to_num(np.clip(pixels, 0, 1)) * 255).astype(np.uint8)
    image = Image.fromarray(levels[0] if levels.shape[0] == 1 else np.moveaxis(levels[:3], 0, -1))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_png(pixels: Array) -> str:
    """`png_bytes` in base64."""
    return base64.b64encode(png_bytes(pixels)).decode("ascii")


def decode_png(data: Any, where: str) -> Array:
    """(C, H, W) float32 in [0, 1] from a PNG in base64."""
    raw = _unpacked(data, where)
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            if image.width * image.height > MAX_ELEMENTS:
                raise unexpected(f"at most {MAX_ELEMENTS} pixels", where, image.width * image.height)
            levels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"), dtype=np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, zlib.error) as error:
        raise unexpected("a PNG picture in base64", where, data) from error
    return (
        levels[None] if levels.ndim == 2 else np.ascontiguousarray(np.moveaxis(levels, -1, 0))
    ) / np.float32(255)


def encode_array(array: Array) -> dict[str, Any]:
    """Shape, and the zlib-compressed little-endian float32 in base64."""
    packed = np.ascontiguousarray(array, dtype="<f4")
    raw = base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii")
    return {"shape": list(packed.shape), "float32_zlib": raw}


def decode_array(data: dict[str, Any], where: str) -> Array:
    """The array that `encode_array` gave."""
    shape = typed(list, data.get("shape"), f"{where}.shape", "a list")
    sizes = [typed(int, size, f"{where}.shape", "a whole number") for size in shape]
    elements = math.prod(sizes)
    if not sizes or len(sizes) > 4 or min(sizes) < 1 or elements > MAX_ELEMENTS:
        raise unexpected(f"one to four sizes, at most {MAX_ELEMENTS} numbers in all", f"{where}.shape", shape)
    where = f"{where}.float32_zlib"
    try:
        raw = zlib.decompressobj().decompress(_unpacked(data.get("float32_zlib"), where), elements * 4 + 1)
    except zlib.error as error:
        raise unexpected("zlib-compressed numbers in base64", where, data.get("float32_zlib")) from error
    if len(raw) != elements * 4:
        raise unexpected(f"{elements} numbers", where, len(raw) // 4)
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(sizes)


def encode_matrix(values: Array) -> dict[str, Any]:
    """The measured rows and columns of a (K, K) table; ``null`` where it holds no finite number."""
    finite = np.isfinite(values)
    rows, columns = np.flatnonzero(finite.any(axis=1)), np.flatnonzero(finite.any(axis=0))
    table = np.asarray(values, dtype=np.float32)[np.ix_(rows, columns)]
    return {
        "classes": int(values.shape[0]),
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        # str() gives the shortest digits that read back as the same float32
        "values": [[float(str(number)) if np.isfinite(number) else None for number in row] for row in table],
    }


def decode_matrix(data: dict[str, Any], where: str) -> Array:
    """(K, K) float32, NaN where nothing was measured."""
    size = typed(int, data.get("classes"), f"{where}.classes", "a whole number")
    if not 1 <= size <= MAX_CLASSES:
        raise unexpected(f"1 to {MAX_CLASSES} classes", f"{where}.classes", size)
    rows, columns = (_class_list(data.get(key), size, f"{where}.{key}") for key in ("rows", "columns"))
    table = typed(list, data.get("values"), f"{where}.values", "a list")
    numbers = [
        [math.nan if number is None else number for number in typed(list, row, where, "a list")]
        for row in table
    ]
    if len(numbers) != len(rows) or any(len(row) != len(columns) for row in numbers):
        raise unexpected(f"{len(rows)} × {len(columns)} numbers", f"{where}.values", table)
    for row in numbers:
        for number in row:
            typed((int, float), number, f"{where}.values", "a number")
    values = np.full((size, size), np.nan, dtype=np.float32)
    if rows and columns:
        values[np.ix_(rows, columns)] = np.array(numbers, dtype=np.float32)
    return values


def _class_list(data: Any, size: int, where: str) -> list[int]:
    classes = [typed(int, item, where, "a class number") for item in typed(list, data, where, "a list")]
    if any(not 0 <= item < size for item in classes):
        raise unexpected(f"class numbers below {size}", where, data)
    return classes


def _unpacked(data: Any, where: str) -> bytes:
    try:
        return base64.b64decode(typed(str, data, where, "text in base64"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise unexpected("text in base64", where, data) from error
