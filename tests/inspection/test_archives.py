"""Checkpoints, programs and pickles are looked into without opening them."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.findings import FileFinding
from auditor.inspection import Examination, examine
from auditor.inspection.pickles import follow
from auditor.loading.limits import Limits

torch = pytest.importorskip("torch")
STATE = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}


class Calls:
    """Unpickling it calls ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


def _ids(found: Examination) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity) for finding in found.findings]


def _one(found: Examination, identity: str) -> FileFinding:
    return next(finding for finding in found.findings if finding.id == identity)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def test_a_state_dict_is_described(path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, path)
    found = examine(path)
    assert found.format == "PyTorch checkpoint (zip)"
    assert found.findings == ()
    assert (found.tensors, found.parameters, found.weight_bytes) == (2, 8, 32)
    assert (found.largest[0].name, found.largest[0].type, found.largest[0].shape) == (
        "head.weight",
        "float32",
        ("2", "3"),
    )
    assert "torch._utils._rebuild_tensor_v2" in found.pickled_globals


def test_a_state_dict_of_parameters_and_half_precision_is_described(path: Path) -> None:
    state = {"a": torch.nn.Parameter(torch.ones(4).half()), "b": torch.ones(2, 2).bfloat16().t()}
    torch.save(state, path)
    found = examine(path)
    assert found.findings == ()
    assert {(one.name, one.type) for one in found.largest} == {("a", "float16"), ("b", "bfloat16")}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_nan_in_a_storage_is_found(path: Path, dtype: str) -> None:
    broken = torch.ones(5, dtype=getattr(torch, dtype))
    broken[3] = torch.nan
    torch.save({**STATE, "broken": broken}, path)
    finding = _one(examine(path), "weights-not-finite")
    assert (finding.severity, finding.where) == ("danger", "broken")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("depth", [0, 3])
def test_pickles_that_run_commands_are_named(path: Path, tmp_path: Path, zipped: bool, depth: int) -> None:
    marker = tmp_path / "marker"
    payload: Any = Calls(os.system, f"touch {marker}")
    for _ in range(depth):
        payload = {"inside": [payload]}
    torch.save({**STATE, "extra": payload}, path, _use_new_zipfile_serialization=zipped)
    finding = _one(examine(path), "pickle-runs-code")
    assert finding.severity == "danger"
    assert "posix.system" in finding.message
    assert "calls posix.system" in finding.message
    assert not marker.exists()


def _built(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


HIDDEN = {
    "name from the memo": _built(
        _text("posix"), b"\x94", b"0", _text("system"), b"\x94", b"0", b"h\x00h\x01\x93", _text("x"), b"\x85R"
    ),
    "names pushed in between": _built(
        _text("posix"), _text("junk"), b"0", _text("system"), b"\x93", _text("x"), b"\x85R"
    ),
    "old text protocol": b"cposix\nsystem\n(S'x'\ntR.",
    "instance opcode": b"(S'x'\niposix\nsystem\n.",
    "object opcode": b"(cposix\nsystem\nS'x'\no.",
    "new object": _built(b"cposix\nsystem\n", _text("x"), b"\x85\x81"),
    "state that is set": _built(b"cposix\nsystem\n", b")\x81", b"}b"),
    "behind another pickle": pickle.dumps({"a": 1}) + b"cposix\nsystem\n(S'x'\ntR.",
    "broken off after the import": b"\x80\x04cposix\nsystem\n",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_names_are_seen_however_they_are_put_together(path: Path, name: str) -> None:
    path.write_bytes(HIDDEN[name])
    facts = follow(HIDDEN[name])
    assert "posix.system" in facts.imported
    if "opcode" in name or "object" in name:
        assert "posix.system" in facts.called
    path.write_bytes(HIDDEN[name] if HIDDEN[name][:1] == b"\x80" else b"\x80\x02" + HIDDEN[name])
    assert ("pickle-runs-code", "danger") in _ids(examine(path))


def test_a_computed_name_is_named_as_such(path: Path) -> None:
    """The module's name is the result of a call, so no reader of strings sees it."""
    path.write_bytes(
        _built(b"cbuiltins\nstr\n", _text("posix"), b"\x85R", _text("system"), b"\x93", _text("x"), b"\x85R")
    )
    finding = _one(examine(path), "pickle-runs-code")
    assert "a computed name" in finding.message


def test_unknown_packages_and_pickled_modules_are_told_apart(path: Path) -> None:
    path.write_bytes(b"\x80\x02cevil.corp\nthing\n(tR.")
    assert ("pickle-imports", "danger") in _ids(examine(path))
    torch.save(torch.nn.Linear(2, 2), path)
    found = examine(path)
    assert _ids(found) == [("pickled-module", "warning")]
    assert "torch.nn.modules.linear.Linear" in found.findings[0].message


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


EVIL = pickle.dumps(Calls(os.system, "true"))


@pytest.mark.parametrize("levels", [1, 2])
def test_pickles_in_archives_in_archives_are_found(path: Path, levels: int) -> None:
    inner = _zip({"anything": EVIL})
    for _ in range(levels - 1):
        inner = _zip({"more.bin": inner})
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data/99", inner)
    found = _ids(examine(path))
    assert ("pickle-runs-code", "danger") in found
    assert ("nested-archive", "warning") in found


def test_archives_deeper_than_the_limit_are_said(path: Path) -> None:
    inner = _zip({"anything": EVIL})
    for _ in range(4):
        inner = _zip({"more.bin": inner})
    path.write_bytes(inner)
    assert ("nested-archive", "danger") in _ids(examine(path))


@pytest.mark.parametrize("name", ["model/hidden", "model/data/7", "model/weights.pt", "note.pickle"])
def test_pickles_without_the_name_are_found(path: Path, name: str) -> None:
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, EVIL)
    assert ("pickle-runs-code", "danger") in _ids(examine(path))


def test_two_members_of_one_name_are_said(path: Path) -> None:
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        archive.writestr(name, EVIL)
    found = _ids(examine(path))
    assert ("duplicate-member", "danger") in found
    assert ("pickle-runs-code", "danger") in found


def test_an_archive_behind_a_pickle_is_said(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}) + _zip({"model/data.pkl": pickle.dumps({})}))
    assert ("hidden-archive", "danger") in _ids(examine(path))


def test_bombs_are_refused_before_they_unpack(path: Path) -> None:
    path.write_bytes(
        _zip({"model/data.pkl": pickle.dumps({}), "model/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    )
    assert "unpacks to at most" in _one(examine(path), "unreadable").message
    path.write_bytes(_zip({str(i): b"" for i in range(200)} | {"data.pkl": pickle.dumps({})}))
    limits = Limits(archive_members=100)
    assert "at most 100 members" in next(f.message for f in examine(path, limits).findings if f.id == "unreadable")
    path.write_bytes(_zip({"model/data.pkl": pickle.dumps(list(range(2000)))}))
    assert "limits.pickle_bytes" in examine(path, Limits(pickle_bytes=1024)).findings[0].message


def _rewritten(path: Path, change: Callable[[list[Any]], None]) -> None:
    """A checkpoint of one 2×3 tensor whose rebuild arguments ``change`` edits."""
    arguments: list[Any] = [("storage", "FloatStorage", "0", "cpu", 6), 0, (2, 3), (3, 1), False]
    change(arguments)
    storage, offset, shape, strides, _ = arguments

    def pushed(value: Any) -> bytes:
        if isinstance(value, tuple):
            return b"(" + b"".join(pushed(one) for one in value) + b"t"
        if isinstance(value, str):
            return b"ctorch\nFloatStorage\n" if value == "FloatStorage" else _text(value)
        return b"\x8a\x09" + int(value).to_bytes(9, "little", signed=True)

    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pushed(storage) + b"Q"
    body += pushed(offset) + pushed(shape) + pushed(strides) + b"\x89" + b"ccollections\nOrderedDict\n)RtR"
    data = b"\x80\x02}" + _text("w") + body + b"s."
    path.write_bytes(_zip({"m/data.pkl": data, "m/data/0": bytes(24), "m/version": b"3\n"}))


def test_the_rewritten_checkpoint_is_sound(path: Path) -> None:
    _rewritten(path, lambda arguments: None)
    assert torch.load(path, weights_only=True)["w"].shape == (2, 3)
    found = examine(path)
    assert found.findings == ()
    assert found.largest[0].shape == ("2", "3")


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (1, 1),
        (1, -1),
        (2, (2**40, 3)),
        (3, (2**40, 1)),
        (3, (-3, 1)),
        (0, ("storage", "FloatStorage", "0", "cpu", 2**40)),
    ],
)
def test_tensors_that_reach_out_of_their_storage_are_said(path: Path, index: int, value: Any) -> None:
    _rewritten(path, lambda arguments: arguments.__setitem__(index, value))
    assert ("tensor-out-of-bounds", "danger") in _ids(examine(path))


def test_a_torchscript_program_is_described(path: Path) -> None:
    class Saves(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.sum() > 1):
                torch.save(x, "stolen.pt")
            return torch.relu(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(
            torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.ones(1, 3)), path
        )
        found = examine(path)
        assert found.format == "TorchScript archive"
        assert _ids(found) == [("torchscript", "warning")]
        assert {one.type for one in found.operations} >= {"linear", "relu"}
        torch.jit.save(torch.jit.script(Saves()), path)
    found = examine(path)
    assert ("torchscript-io", "danger") in _ids(found)
    assert "save (1×)" in _one(found, "torchscript-io").message
    assert ("control-flow", "info") in _ids(found)


def test_calls_in_strings_are_no_calls(path: Path) -> None:
    code = 'def forward(self, x):\n  a = "torch.save("\n  return torch.relu(x)\n'
    path.write_bytes(
        _zip({"m/code/__torch__.py": code.encode(), "m/constants.pkl": pickle.dumps(()), "m/version": b"3"})
    )
    found = examine(path)
    assert ("torchscript-io", "danger") not in _ids(found)
    assert [(one.domain, one.type, one.count) for one in found.operations] == [("aten", "relu", 1)]


def test_an_exported_program_is_described(path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    torch.export.save(torch.export.export(network, (torch.ones(1, 3),)), path)
    found = examine(path)
    assert found.format == "torch.export archive"
    assert "relu.default" in {one.type.rpartition("aten.")[2] for one in found.operations}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data/sample_inputs/evil.pt", EVIL)
    assert ("pickle-runs-code", "danger") in _ids(examine(path))


def test_the_oldest_checkpoints_are_looked_into(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in (("sys_info", pickle.dumps({})), ("pickle", EVIL)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = examine(path)
    assert found.format.startswith("PyTorch checkpoint (tar")
    assert {("pickle-runs-code", "danger"), ("special-member", "danger")} <= set(_ids(found))


def test_every_opcode_is_followed() -> None:
    """The stack of the follower agrees with the unpickler's on everything Python writes."""
    values = [
        None,
        True,
        3,
        2.5,
        "a",
        b"b",
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        [1, [2]],
        {"a": {1, 2}},
        frozenset({1}),
    ]
    values += [2**80, bytearray(b"c"), complex(1, 2), range(3), np.arange(3), {"k": ("v", ["w"])}]
    for protocol in range(6):
        data = pickle.dumps(values, protocol)
        facts = follow(data)
        names = {str(a).replace(" ", ".") for o, a, _ in pickletools.genops(data) if o.name == "GLOBAL"}
        assert names <= set(facts.imported)
        assert (facts.pickles, facts.end, facts.complete) == (1, len(data), True)
        assert "a computed name" not in facts.imported


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
