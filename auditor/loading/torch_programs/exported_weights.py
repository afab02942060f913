"""The weights of an exported program: raw bytes and a JSON table of shapes, read without torch's own loader."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import torch
from torch import Tensor

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""The numbers of torch's export schema (``torch/_export/serde/schema.py``, ``ScalarType``) and their types."""

_FOLDERS = (("weights", "model_weights_config.json"), ("constants", "model_constants_config.json"))


def parse(content: bytes, limits: Limits) -> dict[str, Any]:
    """A JSON object; raises ModelFileError for another value, damage, or more bytes than the limits allow."""
    if len(content) > limits.program_bytes:
        raise ModelFileError(
            f"expected a program of at most {limits.program_bytes:,} bytes, got {len(content):,}; "
            "audit a smaller export"
        )
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise damaged(f"JSON that does not parse ({quoted(type(error).__name__)})") from error
    if not isinstance(value, dict):
        raise damaged("JSON that is no object")
    return value


def damaged(what: str) -> ModelFileError:
    """The error for a part of the file that is not as torch writes it; ``what`` is escaped already."""
    return ModelFileError(
        f"expected a program as torch.export.save writes it, got {what}; export it again with torch.export.save, or "
        "with torch.onnx.export"
    )


def read_tensors(members: dict[str, bytes], limits: Limits) -> dict[str, dict[str, Tensor]]:
    """``weights`` and ``constants`` → name → tensor, on the CPU, contiguous, floats as float32.

    Raises UnsafeFileError for pickled ones, ModelFileError for shapes that reach beyond their bytes.
    """
    found: dict[str, dict[str, Tensor]] = {}
    elements = 0
    for folder, table in _FOLDERS:
        found[folder] = {}
        content = members.get(f"data/{folder}/{table}")
        config = {} if content is None else parse(content, limits).get("config")
        if not isinstance(config, dict):
            raise damaged(f"no table in {quoted(table)}")
        for name, entry in config.items():
            tensor = _tensor(name, entry, folder, members, limits.weight_bytes // 4 - elements)
            elements += tensor.numel()
            found[folder][name] = tensor
            if len(found[folder]) > limits.initializers:
                raise ModelFileError(
                    f"expected at most {limits.initializers:,} tensors, got more; audit a smaller network"
                )
    return found


def _tensor(name: str, entry: Any, folder: str, members: dict[str, bytes], most: int) -> Tensor:
    if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
        raise damaged(f"no place for {quoted(name)}")
    path = entry["path_name"]
    raw = re.fullmatch(r"(weight|tensor)_\d+", path) is not None
    if entry.get("use_pickle") is not False or not raw:
        raise UnsafeFileError(
            f"expected weights as raw bytes, got {quoted(name)} as a pickle, which opens by running code; export the "
            "network with plain tensors, or with torch.onnx.export"
        )
    content = members.get(f"data/{folder}/{path}")
    meta = entry.get("tensor_meta")
    if content is None or not isinstance(meta, dict):
        raise damaged(f"no bytes or no shape for {quoted(name)}")
    dtype = DTYPES.get(meta.get("dtype", 0))
    sizes, strides = _numbers(meta.get("sizes")), _numbers(meta.get("strides"))
    offset = _numbers([meta.get("storage_offset")])
    if dtype is None or sizes is None or strides is None or offset is None or len(sizes) != len(strides):
        raise damaged(f"a type or shape that is not known for {quoted(name)}")
    if math.prod(sizes) > most:
        raise ModelFileError(f"expected fewer weights, got {quoted(name)} of shape {sizes}; audit a smaller network")
    last = offset[0] + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if 0 not in sizes and (last + 1) * dtype.itemsize > len(content):
        raise damaged(f"{quoted(name)} of shape {sizes}, which reaches beyond its {len(content):,} bytes")
    if 0 in sizes:
        return torch.zeros(sizes)
    flat = torch.frombuffer(bytearray(content[: len(content) // dtype.itemsize * dtype.itemsize]), dtype=dtype)
    tensor = flat.as_strided(sizes, strides, offset[0]).contiguous()
    return tensor.float() if tensor.is_floating_point() else tensor.clone()


def _numbers(values: Any) -> list[int] | None:
    """``[{"as_int": 3}, …]`` → ``[3, …]``; ``None`` for anything else, and for negative numbers."""
    if not isinstance(values, list) or len(values) > 64:
        return None
    numbers = [value.get("as_int") if isinstance(value, dict) else None for value in values]
    fine = all(type(number) is int and 0 <= number < 2**48 for number in numbers)
    return [number for number in numbers if number is not None] if fine else None
