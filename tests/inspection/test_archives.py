"""Checkpoints, programs and pickles are looked into without opening them."""

from __future__ import annotations

import io
import os
import pickle
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


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


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


def test_mutations_are_described_or_said_to_be_damaged(path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    dangers = 0
    for _ in range(1000):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 6))):
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed[: int(rng.integers(1, len(changed) + 1))] if rng.integers(2) else changed)
        dangers += bool(examine(path).dangers)
    assert 200 < dangers < 1000
