"""Safetensors files whose header lies; the format itself holds no code."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from .containers import written
from .test_archives import HOSTILE
from .trick import REFUSED, Opened, Trick, names, open_tricks

AUDIT = "Trail of Bits, review of safetensors, 2023: headers that overlap, leave holes, or make polyglots"
SIZES = "CWE-789: sizes taken on trust"
NAMES = "CVE-2021-42574, for names"
DATA = struct.pack("<8f", *range(8))


def file(header: object, data: bytes = DATA, *, length: int | None = None) -> bytes:
    """A file with this header, given as bytes or as an object."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(start: int, end: int, shape: list[object], kind: str = "F32") -> dict[str, object]:
    """One tensor of a header."""
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def contents() -> Iterator[tuple[str, bytes, str]]:
    good = {"fc.weight": entry(0, 16, [2, 2]), "fc.bias": entry(16, 32, [4])}
    for length in (2**63, 2**64 - 1, 2**40, 100 << 20, 0, 1, 7):
        yield f"header of {length} bytes", file(good, length=length), SIZES
    yield "overlapping tensors", file({"a": entry(0, 32, [8]), "b": entry(0, 32, [8])}), AUDIT
    yield "a thousand tensors of the same bytes", file({f"t{i}": entry(0, 32, [8]) for i in range(1000)}), AUDIT
    yield "a hole between tensors", file({"a": entry(0, 8, [2]), "b": entry(16, 32, [4])}), AUDIT
    yield "data after the last tensor", file(good, DATA + HOSTILE), AUDIT
    yield "data before the first tensor", file({"a": entry(16, 32, [4])}), AUDIT
    yield "offsets backwards", file({"a": entry(32, 0, [8])}), AUDIT
    yield "offsets below zero", file({"a": entry(-32, 0, [8])}), AUDIT
    yield "offsets beyond the file", file({"a": entry(0, 2**40, [2**38])}), SIZES
    yield "a shape larger than its bytes", file({"a": entry(0, 32, [2**40])}), SIZES
    yield "a shape that overflows", file({"a": entry(0, 32, [2**32, 2**32])}), SIZES
    yield "a shape that overflows to the right size", file({"a": entry(0, 32, [2**62 + 2, 4])}), SIZES
    yield "a shape of fractions", file({"a": entry(0, 32, [2.5])}), SIZES
    yield "a shape of text", file({"a": entry(0, 32, ["8"])}), SIZES
    yield "a shape of ten thousand axes", file({"a": entry(0, 4, [1] * 10_000), "b": entry(4, 32, [7])}), SIZES
    yield "an axis of zero beside enormous ones", file({"a": entry(0, 0, [0, 2**62]), "b": entry(0, 32, [8])}), SIZES
    yield "an unknown type", file({"a": entry(0, 32, [8], "OBJECT")}), AUDIT
    yield "a boolean of other values", file({"a": entry(0, 32, [32], "BOOL")}), AUDIT
    yield (
        "the same name twice",
        file(
            b'{"a":' + json.dumps(entry(0, 32, [8])).encode() + b',"a":' + json.dumps(entry(0, 32, [8])).encode() + b"}"
        ),
        AUDIT,
    )
    yield "no tensors", file({}, b""), AUDIT
    yield "metadata that is no text", file({**good, "__metadata__": {"a": [1]}}), AUDIT
    yield "metadata of a million keys", file({**good, "__metadata__": {f"k{i}": "" for i in range(300_000)}}), SIZES
    yield "a header nested without end", file(b'{"a":' * 200_000), "CWE-674"
    yield "lists nested without end", file(b'{"a":' + b"[" * 1_000_000), "CWE-674"
    yield "a number of a million digits", file(b'{"a":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b"]}}"), SIZES
    yield "a header of spaces", file(b"{" + b" " * 20_000_000 + b"}", b""), SIZES
    yield "a name of ten million characters", file({"x" * 10_000_000: entry(0, 32, [8])}), SIZES
    yield "a hundred thousand empty tensors", file({f"t{i}": entry(0, 0, [0]) for i in range(100_000)}, b""), SIZES
    yield "names that speak to the terminal", file({"\x1b]0;x\x07<script>\u202e": entry(0, 32, [8])}), NAMES
    yield "a lone surrogate for a name", file(b'{"\\ud800":' + json.dumps(entry(0, 32, [8])).encode() + b"}"), NAMES
    yield "a header that is no UTF-8", file(b'{"\xff\xfe":1}'), AUDIT
    yield "a header in UTF-16", file('{"a":1}'.encode("utf-16")), AUDIT
    yield "a pickle behind the header", file(b"{}", HOSTILE), AUDIT
    yield "cut within the header", file(good)[:40], AUDIT
    yield "cut within the data", file(good)[:-5], AUDIT


TRICKS = [Trick(what, source, written(content, "model.safetensors"), REFUSED) for what, content, source in contents()]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_tricks(TRICKS, tmp_path_factory.mktemp("safetensors"))


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_a_header_is_not_believed(trick: Trick, opened: Opened) -> None:
    opened.check(trick)


def test_the_honest_form_of_these_files_is_read(tmp_path: Path) -> None:
    from auditor.loading.limits import DEFAULT_LIMITS
    from auditor.loading.torch_weights.weights_file import read_weights

    path = tmp_path / "model.safetensors"
    path.write_bytes(file({"fc.weight": entry(0, 16, [2, 2]), "fc.bias": entry(16, 32, [4])}))
    state = read_weights(path, "safetensors", DEFAULT_LIMITS).candidates[0].state
    assert state["fc.weight"].tolist() == [[0, 1], [2, 3]]
