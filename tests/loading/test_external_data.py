"""ONNX weights in other files: regular files in the model's own folder, of the right length, and nothing else.

The tricks are those of CVE-2022-25882 and CVE-2024-27318 (paths out of the folder), CVE-2026-27489 and
CVE-2026-34447 (symbolic links, the last step or one on the way), CVE-2026-34446 (hard links) and CVE-2026-34445 (a
length that makes the reader allocate what it says).
"""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.inspection import examine
from auditor.loading import load_network
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.onnx_graph.file import read_onnx

from .graphs import EXPECTED, ONES, constant, linear_model, saved

RAW = np.arange(8, dtype=np.float32).tobytes()


def _moved_out(tensor: TensorProto, location: str, **entries: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every kind of thing that a location could name, and a secret outside of it."""
    (tmp_path / "secret.bin").write_bytes(RAW)
    inside = tmp_path / "model"
    (inside / "deep").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(RAW)
    (inside / "deep" / "weights.bin").write_bytes(RAW)
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    (inside / "own-link.bin").symlink_to("weights.bin")
    (inside / "up").symlink_to(tmp_path)
    os.link(tmp_path / "secret.bin", inside / "hard.bin")
    os.mkfifo(inside / "pipe")
    (inside / "device").symlink_to("/dev/zero")
    return inside


def _model_at(folder: Path, location: str, **entries: str) -> Path:
    model = linear_model()
    _moved_out(model.graph.initializer[0], location, **entries)
    return saved(model, folder)


@pytest.mark.parametrize("location", ["weights.bin", "deep/weights.bin", "./weights.bin"])
def test_weights_beside_the_model_are_read(folder: Path, location: str) -> None:
    path = _model_at(folder, location, offset="0", length="32")
    loaded = load_network(path)
    assert loaded.module(torch.from_numpy(ONES)).tolist() == EXPECTED
    (file,) = examine(path).external_files
    assert (file.name, file.size, file.sha256) == (location, 32, hashlib.sha256(RAW).hexdigest())


ELSEWHERE = {
    "..": "../secret.bin",
    "hidden ..": "deep/../../secret.bin",
    ".. as Windows writes it": "..\\secret.bin",
    "absolute": "/etc/passwd",
    "drive": "C:\\secret.bin",
    "share": "\\\\server\\secret.bin",
    "nothing": "",
    "the folder": ".",
    "a folder": "deep",
    "a zero byte": "weights.bin\0.txt",
    "a link out": "link.bin",
    "a link within": "own-link.bin",
    "a link on the way": "up/secret.bin",
    "a hard link": "hard.bin",
    "a pipe": "pipe",
    "a device": "device",
    "the process's memory": "/proc/self/mem",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_everything_else_is_refused(folder: Path, name: str) -> None:
    path = _model_at(folder, ELSEWHERE[name])
    with pytest.raises(UnsafeFileError, match=r"^expected external weights .* got "):
        read_onnx(path, DEFAULT_LIMITS)
    found = examine(path)
    assert ("external-data-refused", "danger") in {(finding.id, finding.severity) for finding in found.findings}
    assert found.operations
    assert not found.external_files


def test_a_hard_link_is_refused_with_what_to_do(folder: Path) -> None:
    with pytest.raises(UnsafeFileError, match=r"2 hard links.*copy it"):
        read_onnx(_model_at(folder, "hard.bin"), DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ({"offset": "0", "length": "1000000000000"}, "length 1,000,000,000,000"),
        ({"offset": "16"}, "offset 16 and length 32"),
        ({"offset": "-4"}, "whole numbers"),
        ({"length": "1e9"}, "whole numbers"),
        ({"length": "9" * 30}, "whole numbers"),
        ({"length": "28"}, "got a length of 28"),
        ({"length": "0"}, "got a length of 0"),
    ],
)
def test_lengths_must_fit_file_and_dimensions(folder: Path, entries: dict[str, str], part: str) -> None:
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=part):
        read_onnx(_model_at(folder, "weights.bin", **entries), DEFAULT_LIMITS)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(ModelFileError, match=r"'absent\.bin' beside the model, got no such file"):
        read_onnx(_model_at(folder, "absent.bin"), DEFAULT_LIMITS)


def test_a_file_above_the_limit_is_not_read(folder: Path) -> None:
    with (folder / "sparse.bin").open("wb") as stream:
        stream.truncate(1 << 33)
    path = _model_at(folder, "sparse.bin")
    with pytest.raises(ModelFileError, match=r"limits\.file_bytes"):
        read_onnx(path, DEFAULT_LIMITS)


def test_external_data_wins_over_raw_data_as_in_the_runtime(folder: Path) -> None:
    path = _model_at(folder, "weights.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].raw_data = bytes(32)
    read = read_onnx(saved(model, folder), DEFAULT_LIMITS)
    assert read.model.graph.initializer[0].raw_data == RAW
    assert "tensor-stored-twice" in [finding.id for finding in read.findings]


def test_the_last_of_two_offsets_counts_as_in_the_runtime(folder: Path) -> None:
    (folder / "two.bin").write_bytes(bytes(32) + RAW)
    model = linear_model()
    _moved_out(model.graph.initializer[0], "two.bin", offset="0", length="32")
    model.graph.initializer[0].external_data.add(key="offset", value="32")
    read = read_onnx(saved(model, folder), DEFAULT_LIMITS)
    assert read.model.graph.initializer[0].raw_data == RAW


def _inner(tensor: TensorProto, form: str) -> onnx.ModelProto:
    """The linear model with ``tensor`` in an attribute, a branch, a function or a sparse constant."""
    node = helper.make_node("Constant", [], ["deep"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    if form == "attribute":
        return linear_model(node)
    if form == "function":
        model = linear_model()
        body = [node, helper.make_node("Add", ["a", "deep"], ["b"])]
        model.functions.append(helper.make_function("own", "Thing", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))
        return model
    if form == "sparse":
        model = linear_model()
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
        sparse.indices.CopyFrom(constant("where", list(range(8)), np.int64))
        sparse.dims.append(100)
        return model
    output = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    branches = [
        helper.make_graph([helper.make_node("Identity", ["own"], ["out"])], name, [], output, [tensor]) for name in "ab"
    ]
    for branch in branches:
        branch.initializer[0].name = "own"
    choose = helper.make_node("If", ["yes"], ["any"], then_branch=branches[0], else_branch=branches[1])
    return linear_model(choose, constants=(constant("yes", True, np.bool_),))


@pytest.mark.parametrize("form", ["attribute", "branch", "function", "sparse"])
def test_tensors_anywhere_are_held_to_the_same(folder: Path, form: str) -> None:
    tensor = constant("hidden", np.arange(8))
    _moved_out(tensor, "../secret.bin")
    with pytest.raises(UnsafeFileError, match="own folder"):
        read_onnx(saved(_inner(tensor, form), folder), DEFAULT_LIMITS)
    tensor = constant("hidden", np.arange(8))
    _moved_out(tensor, "weights.bin")
    read = read_onnx(saved(_inner(tensor, form), folder), DEFAULT_LIMITS)
    assert len(read.external_files) == 1
    assert b"weights.bin" not in read.model.SerializeToString()


def test_the_link_that_is_swapped_in_after_the_look_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever looking at the name says, opening does not follow links."""
    monkeypatch.setattr(os.path, "islink", lambda path: False)
    for location in ("link.bin", "up/secret.bin", "device"):
        with pytest.raises(UnsafeFileError):
            read_onnx(_model_at(folder, location), DEFAULT_LIMITS)


def test_the_limit_on_external_files_is_a_setting(folder: Path) -> None:
    path = _model_at(folder, "weights.bin")
    (folder / "weights.bin").write_bytes(RAW + bytes(2000))
    read_onnx(path, DEFAULT_LIMITS)
    with pytest.raises(ModelFileError, match="at most 1,024 bytes"):
        read_onnx(path, Limits(file_bytes=1024))
