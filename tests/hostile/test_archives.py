"""Archives that two readers read differently, that hide a pickle, or that unpack to more than they hold."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from . import opcodes as op
from .containers import headers, legacy, patched, torch_zip, written, zip_of
from .test_pickles import BAIT, CANARY, COMMAND, SYSTEM
from .trick import REFUSED, UNSAFE, Opened, Trick, names, open_tricks

HOSTILE = op.pickled(op.EMPTY_DICT + op.text("w") + op.call(SYSTEM, op.text(COMMAND)) + op.SETITEM)
HARMLESS = op.pickled(op.EMPTY_DICT)

FLAGS = "CVE-2025-1945: flag bits at which a scanner's reader stops and torch's does not"
NAMES = "CVE-2025-1944: a name in the local header other than in the central directory"
CRC = "CVE-2025-10156: a wrong checksum at which a scanner's reader stops and torch's does not"
TWICE = "two members of one name; the class of CVE-2025-54368"
FIFIELD = "D. Fifield, A better zip bomb, WOOT 2019"
NULLIFAI = "nullifAI, ReversingLabs, February 2025: a broken or repacked archive around a pickle"
NESTED = "archives in archives; 42.zip"


def deceptions() -> Iterator[tuple[str, bytes, str]]:
    """Archives with a hostile pickle that some reader does not see."""
    whole = torch_zip(HOSTILE)
    local, central = headers(whole, "archive/data.pkl")
    for bit in (0, 3, 5, 6, 11, 12, 13, 15):
        both = patched(patched(whole, local + 6, "<H", 1 << bit), central + 8, "<H", 1 << bit)
        yield f"flag bit {bit} in both headers", both, FLAGS
        yield f"flag bit {bit} in the central header", patched(whole, central + 8, "<H", 1 << bit), FLAGS
        yield f"flag bit {bit} in the local header", patched(whole, local + 6, "<H", 1 << bit), FLAGS
    renamed = whole[: local + 30] + b"archive/other.pk" + whole[local + 46 :]
    yield "another name in the local header", renamed, NAMES
    swapped = whole[: central + 46] + b"archive/other.pk" + whole[central + 62 :]
    yield "another name in the central directory", swapped, NAMES
    yield "wrong checksum", patched(patched(whole, local + 14, "<I", 7), central + 16, "<I", 7), CRC
    yield "checksum of zero", patched(whole, central + 16, "<I", 0), CRC
    for method in (1, 8, 12, 14, 93, 99):
        odd = patched(patched(whole, local + 8, "<H", method), central + 10, "<H", method)
        yield f"compression method {method}", odd, NULLIFAI
    yield "disk number", patched(whole, central + 34, "<H", 7), NULLIFAI
    yield "made by a later version", patched(whole, central + 6, "<H", 999), NULLIFAI
    size = len(HOSTILE)
    yield "size of one byte", patched(whole, central + 24, "<I", 1), NAMES
    yield (
        "size beyond the archive",
        patched(patched(whole, central + 20, "<I", 2**31), central + 24, "<I", 2**31),
        NAMES,
    )
    yield "offset of the header beyond the archive", patched(whole, central + 42, "<I", 2**31), NAMES
    yield "cut within the pickle", whole[: local + 46 + size // 2], NULLIFAI
    yield "cut before the central directory", whole[: whole.index(b"PK\x01\x02")], NULLIFAI
    end = whole.index(b"PK\x05\x06")
    yield "no members in the end record", patched(patched(whole, end + 8, "<H", 0), end + 10, "<H", 0), NULLIFAI
    yield "a comment that is another archive", whole[:-2] + struct.pack("<H", len(whole)) + whole, TWICE
    yield "bytes before the archive", b"#!/bin/sh\n" * 10 + whole, "polyglot files"
    yield "bytes after the archive", whole + b"\0" * 100_000, "polyglot files"
    yield "a good archive before it", torch_zip(HARMLESS) + whole, TWICE
    yield "a good archive after it", whole + torch_zip(HARMLESS), TWICE
    yield "a pickle before the archive", HOSTILE + torch_zip(HARMLESS), "polyglot files"
    yield "a pickle after the archive", torch_zip(HARMLESS) + HOSTILE, "polyglot files"
    yield "two members of one name", _twice(HARMLESS, HOSTILE), TWICE
    yield "two members of one name, the good one last", _twice(HOSTILE, HARMLESS), TWICE
    other_case = torch_zip(HARMLESS, {"DATA.PKL": HOSTILE})
    yield "two members that differ in case", other_case, TWICE
    yield "two top folders", zip_of({"a/data.pkl": HARMLESS, "b/data.pkl": HOSTILE, "a/version": b"3"}), TWICE
    yield "no top folder", zip_of({"data.pkl": HOSTILE, "version": b"3"}), TWICE
    yield "backslashes for slashes", zip_of({"archive\\data.pkl": HOSTILE, "archive\\version": b"3"}), TWICE
    yield "zip slip", torch_zip(HOSTILE, top="../../archive"), "zip slip, CWE-22; Snyk 2018"
    yield "absolute names", torch_zip(HOSTILE, top="/tmp/archive"), "zip slip, CWE-22; Snyk 2018"
    yield "deflated", _recompressed(whole, zipfile.ZIP_DEFLATED), NULLIFAI
    yield "bzip2 inside", _recompressed(whole, zipfile.ZIP_BZIP2), NULLIFAI
    yield "lzma inside", _recompressed(whole, zipfile.ZIP_LZMA), NULLIFAI
    yield "second pickle beside the good one", torch_zip(HARMLESS, {"extra.pkl": HOSTILE}), NESTED
    yield "a byte order that is none", torch_zip(HARMLESS, {"byteorder2": b"x" * 1000}), NULLIFAI
    yield "storage alignment of a million digits", torch_zip(HARMLESS, {".storage_alignment": b"9" * 1_000_000}), NESTED


def _twice(first: bytes, second: bytes) -> bytes:
    """The name is changed after writing, because Python's writer warns of a repeated one."""
    return torch_zip(first, {"dat_.pkl": second}).replace(b"dat_.pkl", b"data.pkl")


def _recompressed(archive: bytes, method: int) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as given:
        return zip_of({entry.filename: given.read(entry) for entry in given.infolist()}, method)


def wrappings() -> Iterator[tuple[str, bytes, str]]:
    """A hostile archive inside others."""
    inner = torch_zip(HOSTILE)
    yield "zip in a zip", zip_of({"archive/data.pkl": inner}), NESTED
    yield "torch archive as a storage of another", torch_zip(HARMLESS, {"data/0": inner}), NESTED
    nested = inner
    for _ in range(20):
        nested = torch_zip(HARMLESS, {"inner.zip": nested})
    yield "twenty archives in one another", nested, NESTED
    yield "gzip around it", gzip.compress(inner), NULLIFAI
    yield "zlib around it, as joblib writes", zlib.compress(HOSTILE), "CVE-2020-13092, compressed"
    yield "7z magic before it", b"7z\xbc\xaf\x27\x1c" + inner, NULLIFAI
    yield "tar around it", _tar({"model.pkl": HOSTILE}), NESTED
    yield (
        "tar as torch read it before 0.1.10",
        _tar({"storages": HOSTILE, "tensors": HOSTILE, "pickle": HOSTILE}),
        ("CVE-2025-32434: torch.load ran what weights_only should have refused"),
    )
    yield "tar that names a path outside", _tar({"../../storages": HOSTILE, "/tmp/x": HOSTILE}), "CVE-2007-4559"


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def arrays() -> Iterator[tuple[str, bytes, str]]:
    """Other formats that hold a pickle."""
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    header = stream.getvalue()[: stream.getvalue().index(b"\n") + 1]
    yield "NumPy array of objects", header + HOSTILE, "CVE-2019-6446"
    yield "NumPy archive with an array of objects", zip_of({"x.npy": header + HOSTILE}), "CVE-2019-6446"
    for core in ("numpy.core", "numpy._core"):
        dtype = op.call(op.name("numpy", "dtype"), op.text("O8"), b"\x89", b"\x88")
        scalar = op.call(op.name(f"{core}.multiarray", "scalar"), dtype, op.call(SYSTEM, op.text(COMMAND)))
        yield f"{core} scalar of objects", torch_zip(op.pickled(scalar)), "CVE-2019-6446, by multiarray.scalar"
        harmless = op.call(op.name(f"{core}.multiarray", "scalar"), dtype, op.text("x"))
        whole = op.pickled(op.EMPTY_DICT + op.text("w") + harmless + op.SETITEM)
        yield f"{core} scalar of an object", torch_zip(whole), "CVE-2019-6446, by multiarray.scalar"
        array = op.call(
            op.name(f"{core}.multiarray", "_reconstruct"), op.name("numpy", "ndarray"), op.numbers(0), op.text("b")
        )
        state = op.items(
            op.number(1), op.numbers(2**40), dtype, b"\x89", b"]" + op.call(SYSTEM, op.text(COMMAND)) + op.APPEND
        )
        yield f"{core} array of objects", torch_zip(op.pickled(array + state + op.BUILD)), "CVE-2019-6446, by ndarray"
    joblib = (
        op.name("joblib.numpy_pickle", "NumpyArrayWrapper")
        + op.EMPTY_TUPLE
        + op.NEWOBJ
        + op.mapping(subclass=op.name("numpy", "ndarray"), dtype=op.text("O"), allow_mmap=b"\x89")
        + op.BUILD
    )
    yield "joblib array of objects", op.pickled(joblib) + HOSTILE, "CVE-2020-13092"
    yield (
        "pickle of scikit-learn",
        op.pickled(op.name("sklearn.svm", "SVC") + op.EMPTY_TUPLE + op.NEWOBJ),
        "CVE-2020-13092",
    )
    yield "HDF5 before a pickle", b"\x89HDF\r\n\x1a\n" + HOSTILE, "polyglot files"
    yield (
        "TorchScript records around a pickle",
        torch_zip(HOSTILE, {"constants.pkl": HOSTILE, "code/a.py": b""}),
        ("CVE-2025-32434: torch.load hands TorchScript archives to torch.jit.load"),
    )
    yield "bytecode of the mobile interpreter", torch_zip(HOSTILE, {"bytecode.pkl": HOSTILE}), "read natively"
    yield "flatbuffer of the mobile interpreter", b"\0\0\0\0PTMF" + bytes(600), "read natively"
    yield "torch.package", zip_of({
        "model/.data/version": b"6", "model/.data/extern_modules": b"os", "model/model/model.pkl": HOSTILE,
        "model/data.pkl": HOSTILE, f"model/{BAIT}.py": f"open({CANARY!r}, 'w')".encode(),
    }), "torch.package imports the Python files in its archive"  # fmt: skip


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Archives that unpack to far more than they hold."""
    zeros = bytes(64 << 20)
    yield "a pickle of zeros", _bomb({"archive/data.pkl": zeros}), "zip bomb"
    yield "a storage of zeros", _bomb({"archive/data.pkl": HARMLESS, "archive/data/0": zeros}), "zip bomb"
    yield "overlapping members", _overlapping(200, 4 << 20), FIFIELD
    yield "members that quote each other's headers", _overlapping(200, 4 << 20, quoted=True), FIFIELD
    small = torch_zip(HARMLESS)
    local, central = headers(small, "archive/data.pkl")
    lying = patched(patched(small, local + 22, "<I", 0xFFFFFFF0), central + 24, "<I", 0xFFFFFFF0)
    yield "a size of four gigabytes", lying, "zip bomb by its header"
    yield "a hundred thousand empty members", _members(100_000), "members beyond number"
    yield "more members than the limit", _members(200_500), "members beyond number"
    yield (
        "a member name of 65,535 characters",
        zip_of({"archive/data.pkl": HARMLESS, "a/" + "x" * 65_000: b""}),
        "CWE-770",
    )
    yield (
        "names that speak to a terminal",
        zip_of({"a/\x1b]0;x\x07": b"", "a/data.pkl": HOSTILE}),
        "CVE-2021-42574, for names",
    )


def _bomb(members: dict[str, bytes]) -> bytes:
    return zip_of(members, zipfile.ZIP_DEFLATED)


def _members(count: int) -> bytes:
    """One empty stored member, and its entry in the central directory ``count`` times under other names."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, 10, 0) + b"a/data.pkl"
    entries = b"".join(
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0)
        + b"a/%08d" % n
        for n in range(count)
    )
    wide = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(entries), len(local))
    place = len(local) + len(entries)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, place, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + entries + b"PK\x06\x06" + wide + locator + end


def _overlapping(count: int, size: int, *, quoted: bool = False) -> bytes:
    """Fifield's bomb: all members share one compressed kernel; quoted, each begins with the next one's header."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = kernel.compress(bytes(size)) + kernel.flush()
    crc = zlib.crc32(bytes(size))
    names = [b"archive/data.pkl", *(b"archive/data/%d" % n for n in range(count - 1))]
    locals_ = [
        b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, len(data), size, len(name), 0) + name
        for name in names
    ]
    body, starts = (b"".join(locals_), []) if quoted else (locals_[0], [])
    offset = 0
    for header in locals_:
        starts.append(offset if quoted else 0)
        offset += len(header)
    body += data
    central = b"".join(
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 8, 0, 33, crc, len(data), size, len(name), 0, 0, 0, 0, 0, start)
        + name
        for name, start in zip(names, starts, strict=True)
    )
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(central), len(body), 0)
    return body + central + end


def tricks() -> Iterator[Trick]:
    for what, content, source in (*deceptions(), *wrappings(), *arrays(), *bombs()):
        yield Trick(what, source, written(content, "model.pt"), REFUSED)
    says = ("posix.system",)
    yield Trick("the archive without a deception", "control", written(torch_zip(HOSTILE), "model.pt"), UNSAFE, says)
    yield Trick("the legacy file without a deception", "control", written(legacy(HOSTILE), "model.pt"), UNSAFE, says)


TRICKS = list(tricks())
WATCH = {"bait": [BAIT], "closed": [CANARY]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    Path(CANARY).unlink(missing_ok=True)
    return open_tricks(TRICKS, tmp_path_factory.mktemp("archives"), [Path(CANARY)], **WATCH)


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_an_archive_is_read_one_way(trick: Trick, opened: Opened) -> None:
    opened.check(trick)


def test_the_payload_of_this_corpus_works(tmp_path: Path) -> None:
    """Unpickled by Python's own unpickler, it acts: otherwise a canary that stays away would say nothing."""
    import pickle

    canary = tmp_path / "canary"
    working = HOSTILE.replace(op.text(COMMAND), op.text(f"touch {canary}"))
    pickle.loads(working)
    assert canary.exists()
    path = tmp_path / "model.pt"
    canary.unlink()
    path.write_bytes(torch_zip(working))
    torch.load(path, weights_only=False)
    assert canary.exists()
