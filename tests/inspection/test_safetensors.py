"""Safetensors are checked against their own header, byte by byte."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.inspection import Examination, examine
from auditor.loading.limits import Limits

torch = pytest.importorskip("torch")
STATE = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}


def _ids(found: Examination) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity) for finding in found.findings]


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_are_described(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({**STATE, "half": torch.ones(3).half()}, path, metadata={"format": "pt"})
    found = examine(path)
    assert found.format == "safetensors"
    assert found.findings == ()
    assert (found.tensors, found.parameters, found.weight_bytes) == (3, 11, 38)
    assert found.largest[0].name == "head.weight"


MALFORMED: dict[str, bytes] = {
    "overlap": _safetensors({"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, bytes(12)),
    "gap": _safetensors({"a": _entry([1], 0, 4), "b": _entry([1], 8, 12)}, bytes(12)),
    "gap at the end": _safetensors({"a": _entry([1], 0, 4)}, bytes(12)),
    "beyond the end": _safetensors({"a": _entry([4], 0, 16)}, bytes(12)),
    "backwards": _safetensors({"a": _entry([1], 8, 4)}, bytes(12)),
    "too few bytes": _safetensors({"a": _entry([4], 0, 12)}, bytes(12)),
    "overflow": _safetensors({"a": _entry([2**61, 8], 0, 12)}, bytes(12)),
    "negative": _safetensors({"a": _entry([-3, -1], 0, 12)}, bytes(12)),
    "true as a size": _safetensors({"a": _entry([True, 3], 0, 12)}, bytes(12)),
    "unknown type": _safetensors({"a": _entry([3], 0, 12, "F128")}, bytes(12)),
    "no entry": _safetensors({"a": 3}, bytes(12)),
    "metadata that is no text": _safetensors({"__metadata__": {"a": 1}, "a": _entry([3], 0, 12)}, bytes(12)),
}
UNREADABLE: dict[str, bytes] = {
    "twice": _safetensors(b'{"a": {}, "a": {}}'),
    "no json": _safetensors(b"{not json at all" + bytes(10)),
    "nested": _safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "longer than the limit": _safetensors(b"{" + b" " * 5000),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_safetensors_are_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(MALFORMED[name])
    assert {("malformed-safetensors", "danger")} == set(_ids(examine(path)))


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_safetensors_are_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(UNREADABLE[name])
    limits = Limits(header_bytes=4096) if "limit" in name else Limits()
    found = examine(path, limits)
    assert _ids(found) == [("unreadable", "danger")]
    assert "expected a safetensors header" in found.findings[0].message


def test_nan_in_safetensors_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = np.array([1, np.nan, 2], "<f4").tobytes()
    path.write_bytes(_safetensors({"bad\x1b[31m": _entry([3], 0, 12)}, data))
    (finding,) = examine(path).findings
    assert (finding.id, finding.severity) == ("weights-not-finite", "danger")
    assert "\x1b" not in finding.where


def test_mutations_are_described_or_said_to_be_damaged(tmp_path: Path) -> None:
    from safetensors.torch import save

    data = save({**STATE, "more": torch.arange(6.0)})
    rng = np.random.default_rng(0)
    path = tmp_path / "model.safetensors"
    sound = 0
    for _ in range(1000):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed[: int(rng.integers(1, len(changed) + 1))] if rng.integers(2) else changed)
        sound += not examine(path).dangers
    assert 0 < sound < 800
