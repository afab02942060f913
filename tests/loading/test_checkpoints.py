"""What training scripts save: wrappers, averages, prefixes, options beside the weights; and what may not be opened."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import io
import os
import pathlib
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from auditor.errors import ConfigError, ModelFileError, UnsafeFileError
from auditor.loading import load_network
from auditor.loading.torch_weights.checkpoints import image_shape
from auditor.loading.torch_weights.safe_globals import SAFE_NAMES, Inert, PlainDict, stand_ins

from .conftest import images, perturb

State = dict[str, Tensor]


def _network(seed: int) -> nn.Module:
    return perturb(torchvision.models.squeezenet1_1(num_classes=7), seed)


@pytest.fixture(scope="module")
def raw() -> nn.Module:
    return _network(1)


@pytest.fixture(scope="module")
def average() -> nn.Module:
    return _network(2)


def _agrees(path: Path, network: nn.Module, atol: float = 1e-4, **options: Any) -> tuple[str, ...]:
    """The notes of loading a file whose network must be ``network``."""
    loaded = load_network(path, **options)
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x), rtol=atol, atol=atol)
    return loaded.notes


def _saved(value: Any, tmp_path: Path, **options: Any) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save(value, path, **options)
    return path


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _inside(state: State, part: str) -> State:
    """``features.3.x`` → ``features.module.3.x``, as wrapping a part of a network does."""
    return {name.replace("features.", f"features.{part}."): tensor for name, tensor in state.items()}


LOSS = {"loss_fn.weight": torch.ones(7), "train_accuracy.total": torch.tensor(9), "val_metrics.x.count": torch.ones(2)}
ONE_NETWORK: dict[str, Callable[[State], Any]] = {
    "lightning": lambda s: {"state_dict": _prefixed(s, "model."), "epoch": 3, "optimizer_states": [{"state": s}]},
    "lightning, own name": lambda s: {"state_dict": {**_prefixed(s, "my_resnet."), **LOSS}},
    "lightning, no prefix": lambda s: {"state_dict": {**LOSS, **s}},
    "lightning, compiled": lambda s: {"state_dict": {**_prefixed(s, "net._orig_mod."), **LOSS}},
    "two levels": lambda s: {"checkpoint": {"classifier": {"state_dict": _prefixed(s, "backbone.")}}},
    "parallel": lambda s: _prefixed(s, "module."),
    "compiled parallel": lambda s: _prefixed(s, "_orig_mod.module."),
    "parallel compiled, wrapped": lambda s: {"model": _prefixed(s, "module._orig_mod.network.")},
    "parallel part": lambda s: _inside(s, "module"),
    "compiled part": lambda s: _prefixed(_inside(s, "_orig_mod"), "module."),
    "averaged alone": lambda s: {"n_averaged": torch.tensor(4), **_prefixed(s, "module.")},
    "ema alone": lambda s: {"ema": _prefixed(s, "module."), "updates": 5},
    "momentum of the same shapes": lambda s: {
        "model": s,
        "optimizer": {"momentum": {name: tensor + 1 for name, tensor in s.items()}},
    },
}


@pytest.mark.parametrize("form", ONE_NETWORK)
def test_the_network_is_found(tmp_path: Path, raw: nn.Module, form: str) -> None:
    notes = _agrees(_saved(ONE_NETWORK[form](raw.state_dict()), tmp_path), raw)
    assert not any("several sets" in note for note in notes)
    assert any("left out" in note and "loss_fn.weight" in note for note in notes) == ("lightning, " in form)


BOTH: dict[str, tuple[Callable[[State, State], Any], str]] = {
    "timm": (lambda r, e: {"state_dict": r, "state_dict_ema": e}, "state_dict_ema"),
    "torchvision": (
        lambda r, e: {"model": r, "model_ema": {"n_averaged": torch.tensor(2), **_prefixed(e, "module.")}},
        "model_ema",
    ),
    "ema first": (lambda r, e: {"ema": e, "model": r}, "ema"),
    "ema_state_dict": (
        lambda r, e: {"model_state_dict": _prefixed(r, "module."), "ema_state_dict": e},
        "ema_state_dict",
    ),
    "one dict": (
        lambda r, e: {"state_dict": {**_prefixed(r, "model."), **_prefixed(e, "ema_model.module.")}},
        "ema_model.",
    ),
    "ema_pytorch": (
        lambda r, e: {
            "initted": torch.tensor(True),
            "step": torch.tensor(3),
            **_prefixed(r, "online_model."),
            **_prefixed(e, "ema_model."),
        },
        "ema_model.",
    ),
}


@pytest.mark.parametrize("form", BOTH)
def test_the_average_is_audited_and_said(tmp_path: Path, raw: nn.Module, average: nn.Module, form: str) -> None:
    build, label = BOTH[form]
    notes = _agrees(_saved(build(raw.state_dict(), average.state_dict()), tmp_path), average)
    (note,) = [note for note in notes if "several sets" in note]
    assert f"{label}' was audited, the average over training that evaluation uses" in note
    assert "save another one alone to audit it" in note


def test_two_networks_without_an_average_are_said(tmp_path: Path, raw: nn.Module, average: nn.Module) -> None:
    state = {**_prefixed(raw.state_dict(), "student."), **_prefixed(average.state_dict(), "teacher.")}
    notes = _agrees(_saved(state, tmp_path), raw)
    assert any("'student.' was audited" in note and "teacher." in note for note in notes)


def test_copies_of_the_same_weights_need_no_warning(tmp_path: Path, raw: nn.Module) -> None:
    copies = {name: tensor.clone() for name, tensor in raw.state_dict().items()}
    assert not _agrees(_saved({"state_dict": raw.state_dict(), "ema": copies}, tmp_path), raw)


@pytest.mark.parametrize("odd", ["half", "sparse", "meta", "quantised"])
def test_a_second_set_of_another_kind(tmp_path: Path, raw: nn.Module, odd: str) -> None:
    change: dict[str, Callable[[Tensor], Tensor]] = {
        "half": lambda tensor: tensor.half(),
        "sparse": lambda tensor: tensor.to_sparse(),
        "meta": lambda tensor: tensor.to("meta"),
        "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    }
    second = {name: change[odd](tensor) for name, tensor in raw.state_dict().items()}
    notes = _agrees(_saved({"state_dict": raw.state_dict(), "student": second}, tmp_path), raw)
    assert any("'state_dict' was audited" in note and "'student'" in note for note in notes)


def test_an_average_of_another_shape_is_not_taken(tmp_path: Path, raw: nn.Module) -> None:
    other = {name: tensor[:1] if tensor.dim() else tensor for name, tensor in raw.state_dict().items()}
    assert not _agrees(_saved({"state_dict": raw.state_dict(), "state_dict_ema": other}, tmp_path), raw)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_precision_and_legacy(tmp_path: Path, raw: nn.Module, dtype: torch.dtype, zipped: bool) -> None:
    state = {"model": _prefixed({n: t.to(dtype) for n, t in raw.state_dict().items()}, "module.")}
    path = _saved(state, tmp_path, _use_new_zipfile_serialization=zipped)
    assert all(p.dtype == torch.float32 for p in load_network(path).module.parameters())
    assert any("another precision than float32" in note for note in _agrees(path, raw, atol=5e-2))


class Small(nn.Module):
    """A network that calls a part of itself ``module``."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.module = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.module(x).mean((2, 3)))


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_named_architecture_finds_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    network = perturb(Small())
    path = _saved({"state_dict": {**_prefixed(network.state_dict(), prefix), **LOSS}}, tmp_path)
    monkeypatch.setattr("auditor.loading.torch_weights.architectures._import", lambda package, name: Small)
    _agrees(path, network, arch="own:Small")


OPTIONS: dict[str, Any] = {
    "argparse": argparse.Namespace(lr=0.1, nested=argparse.Namespace(name="x")),
    "namespace": types.SimpleNamespace(a=1),
    "numpy scalars": {"loss": np.float64(0.25), "epoch": np.int64(3), "flag": np.bool_(True)},
    "numpy arrays": [np.arange(6).reshape(2, 3), np.zeros(0), np.array([1.5], dtype=">f4"), np.dtype("int32")],
    "paths": [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c"), pathlib.Path("runs")],
    "times": [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(3), datetime.date(2024, 1, 1)],
    "counters": [collections.Counter("abb"), collections.defaultdict(list, {"a": [1]}), collections.defaultdict(dict)],
    "sizes and sets": [torch.Size([1, 2]), {1, 2}, frozenset({3}), torch.float16, torch.device("cpu"), b"bytes", 1j],
    "version": torch.__version__,
    "optimizer": torch.optim.AdamW([nn.Parameter(torch.ones(2))]).state_dict(),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_options_beside_the_weights_are_no_obstacle(tmp_path: Path, raw: nn.Module, kind: str, zipped: bool) -> None:
    state = {"args": OPTIONS[kind], "state_dict": raw.state_dict()}
    _agrees(_saved(state, tmp_path, _use_new_zipfile_serialization=zipped), raw)


def test_numpy_of_both_majors(tmp_path: Path, raw: nn.Module) -> None:
    """numpy 1 writes numpy.core, numpy 2 writes numpy._core."""
    state = {"best": np.float64(1.0), "state_dict": raw.state_dict()}
    path = _saved(state, tmp_path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    here, there = (b"numpy._core", b"numpy.core") if b"numpy._core" in content else (b"numpy.core", b"numpy._core")
    assert here in content
    path.write_bytes(content.replace(here + b".multiarray", there + b".multiarray"))
    _agrees(path, raw)


def _fake_class(module: str, name: str, base: type = object) -> type:
    return type(name, (base,), {"__module__": module, "__qualname__": name})


@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("omegaconf.dictconfig", "DictConfig", object),
        ("omegaconf.listconfig", "ListConfig", object),
        ("pytorch_lightning.utilities.parsing", "AttributeDict", dict),
    ],
)
def test_options_of_libraries_that_are_not_installed(
    tmp_path: Path, raw: nn.Module, monkeypatch: pytest.MonkeyPatch, module: str, name: str, base: type
) -> None:
    made = _fake_class(module, name, base)
    parents = [module[:end] for end in range(len(module)) if module[end] == "."]
    for parent in parents:
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: made}))
    options = made()
    if base is dict:
        options["lr"] = 0.1
    else:
        options._content = {"lr": 0.1}
    path = _saved({"hyper_parameters": options, "state_dict": raw.state_dict()}, tmp_path)
    for gone in (*parents, module):
        monkeypatch.delitem(sys.modules, gone)
    _agrees(path, raw)


def test_stand_ins_make_nothing_real() -> None:
    assert {name for _, name in stand_ins()} == SAFE_NAMES
    assert all(made in (Inert, PlainDict) for made, _ in stand_ins())
    given = ["kept"]
    inert = Inert(given)
    inert.__setstate__({"__class__": int, "x": given})
    assert not hasattr(inert, "x")
    with pytest.raises(AttributeError):
        inert.x = 1  # type: ignore[attr-defined]
    assert type(PlainDict(list)) is dict
    # nothing on the list can import, open or run, were it the real thing
    assert not any(name.startswith(("os.", "sys.", "subprocess.", "builtins.e", "functools.")) for name in SAFE_NAMES)


def test_stand_ins_end_with_the_file(tmp_path: Path, raw: nn.Module) -> None:
    _agrees(_saved({"args": argparse.Namespace(), "state_dict": raw.state_dict()}, tmp_path), raw)
    assert not set(torch.serialization.get_safe_globals()) & set(stand_ins())


class Calls:
    """Unpickling it calls ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _hostile(marker: Path) -> dict[str, Any]:
    import builtins
    import functools
    import subprocess

    return {
        "system": Calls(os.system, f"touch {marker}"),
        "subprocess": Calls(subprocess.call, ["touch", str(marker)]),
        "exec": Calls(exec, f"open({str(marker)!r}, 'w')"),
        "open": Calls(open, str(marker), "w"),
        "getattr": Calls(getattr, os, "system"),
        "partial": functools.partial(os.mkdir, str(marker)),
        "import": Calls(builtins.__import__, "this"),
        "torch.save": Calls(torch.save, 1, str(marker)),
        "torch.load of bytes": Calls(torch.storage._load_from_bytes, b"x"),
        "touch of a path": Calls(pathlib.Path.touch, pathlib.Path(marker)),
        "numpy's pickles": Calls(np.load, str(marker), None, True),
        "namespace with a class": argparse.Namespace(x=Calls(os.mkdir, str(marker))),
    }


@pytest.mark.parametrize("trick", sorted(_hostile(Path("x"))))
@pytest.mark.parametrize("form", ["zip", "legacy", "wrapped"])
def test_pickles_that_act_are_refused(tmp_path: Path, trick: str, form: str) -> None:
    """weights_only was circumvented before torch 2.6 (CVE-2025-32434) and before 2.10 (CVE-2026-24747)."""
    marker = tmp_path / "marker"
    value: Any = _hostile(marker)[trick]
    if form == "wrapped":
        value = {"state_dict": {"w": torch.ones(2)}, "args": argparse.Namespace(a=[{"deep": value}])}
    path = tmp_path / "model.pt"
    try:
        torch.save(value, path, _use_new_zipfile_serialization=form != "legacy")
    except (TypeError, pickle.PicklingError, AttributeError):
        pytest.skip("cannot be pickled here")
    with pytest.raises(ModelFileError, match=r"^expected .* got "):
        load_network(path)
    assert not marker.exists()


def test_the_refusal_lists_classes_and_safe_ways(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError) as caught:
        load_network(_saved({"model": Small(), "args": argparse.Namespace(), "extra": Calls(os.getcwd)}, tmp_path))
    message = str(caught.value)
    assert "test_checkpoints.Small" in message
    assert "torch.nn.modules.conv.Conv2d" in message
    assert "getcwd" in message
    assert "argparse.Namespace" not in message
    for way in ("state_dict()", "safetensors", "ONNX"):
        assert way in message


class Rebuilt:
    """A tensor of any offset, size and stride over a storage of four numbers."""

    def __init__(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.view = (offset, size, stride)

    def __reduce__(self) -> Any:
        from torch._utils import _rebuild_tensor_v2

        arguments = (torch.ones(4)._typed_storage(), *self.view, False, collections.OrderedDict())
        return _rebuild_tensor_v2, arguments


VIEWS = {
    "offset": (1000, (4,), (1,)),
    "negative offset": (-4, (4,), (1,)),
    "size": (0, (100,), (1,)),
    "stride": (0, (4,), (1000,)),
    "negative stride": (0, (4,), (-1,)),
    "overflow": (0, (2**62, 4), (1, 1)),
    "overflowing stride": (0, (3,), (2**63 - 1,)),
    "one number a trillion times": (0, (10**6, 10**6), (0, 0)),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("view", VIEWS)
def test_hostile_strides_and_offsets(tmp_path: Path, view: str, zipped: bool) -> None:
    state = {"module": Rebuilt(0, (4,), (1,)), "head.weight": Rebuilt(*VIEWS[view])}
    path = _saved(state, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError, match=r"^expected .* got "):
        load_network(path)


class Hiding:
    """An OrderedDict, or a tensor, that the pickle gives attributes in place of its methods."""

    def __init__(self, value: State | Tensor) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        from torch._tensor import _rebuild_from_type_v2
        from torch._utils import _rebuild_tensor_v2

        names = ("items", "keys", "values", "get", "numel", "dim", "detach", "float", "contiguous")
        hidden = dict.fromkeys(names, "no")
        if isinstance(self.value, dict):
            return collections.OrderedDict, (), hidden, None, iter(self.value.items())
        view = (self.value._typed_storage(), 0, tuple(self.value.shape), self.value.stride())
        arguments = (*view, False, collections.OrderedDict())
        return _rebuild_from_type_v2, (_rebuild_tensor_v2, torch.Tensor, arguments, hidden)


def test_attributes_that_hide_methods(tmp_path: Path, raw: nn.Module) -> None:
    """What a pickle sets on a dict or a tensor is never called."""
    state: dict[str, Any] = dict(raw.state_dict())
    name = next(iter(state))
    state[name] = Hiding(state[name])
    path = _saved({"state_dict": Hiding(state)}, tmp_path)
    read = torch.load(path, weights_only=True)["state_dict"]
    assert read.items == read[name].numel == "no"
    _agrees(path, raw)


@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta", "complex", "cyclic", "empty", "list", "deep"])
def test_weights_that_are_none(tmp_path: Path, kind: str) -> None:
    cyclic: dict[str, Any] = {"w": torch.ones(2)}
    cyclic["state_dict"] = cyclic
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(200):
        inner["model"] = {}
        inner = inner["model"]
    values = {
        "sparse": {"w": torch.ones(2, 2).to_sparse()},
        "quantised": {"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        "meta": {"w": torch.ones(3, device="meta")},
        "complex": {"w": torch.ones(3, dtype=torch.complex64)},
        "cyclic": cyclic,
        "empty": {},
        "list": [torch.ones(3)],
        "deep": deep,
    }
    with pytest.raises(ModelFileError, match=r"^expected .* got "):
        load_network(_saved(values[kind], tmp_path), arch="torchvision:resnet18" if kind != "cyclic" else None)


def test_other_pickle_protocols_get_a_sentence(tmp_path: Path, raw: nn.Module) -> None:
    path = _saved(raw.state_dict(), tmp_path, pickle_protocol=4)
    with pytest.raises(ModelFileError, match="protocol 2"):
        load_network(path)


def test_repeated_members_are_refused(tmp_path: Path, raw: nn.Module) -> None:
    path = _saved(raw.state_dict(), tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data.pkl")), pickle.dumps({}))
    with pytest.raises(ModelFileError, match="repeated"):
        load_network(path)


def test_the_tar_format_of_2017_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps({})
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(UnsafeFileError, match=r"0\.1\.10 .*state_dict\(\)"):
        load_network(path)


def test_a_pickled_module_runs_only_when_asked(tmp_path: Path) -> None:
    network, marker = perturb(Small()), tmp_path / "marker"
    value = {"model": network, "extra": Calls(os.mkdir, str(marker))}
    path = _saved(value, tmp_path)
    with pytest.raises(UnsafeFileError):
        load_network(path)
    assert not marker.exists()
    loaded = load_network(path, unsafe_pickle=True)
    assert marker.exists()
    assert loaded.executed
    assert loaded.format == "pickled_module"
    assert str(loaded.architecture).endswith("test_checkpoints.Small")
    assert any(note.startswith("the file was executed, as asked") and "mkdir" in note for note in loaded.notes)
    x = images(2, 3, 8, 8)
    assert torch.allclose(loaded.module(x), network(x))


def test_what_needs_no_execution_is_not_executed(tmp_path: Path, raw: nn.Module) -> None:
    path = _saved({"state_dict": raw.state_dict(), "args": argparse.Namespace()}, tmp_path)
    loaded = load_network(path, unsafe_pickle=True)
    assert not loaded.executed
    assert loaded.format == "state_dict"


def test_a_pickle_without_a_module_is_refused_after_running(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"expected a pickled torch.nn.Module, got 'list'"):
        load_network(_saved([Calls(os.getcwd)], tmp_path), unsafe_pickle=True)


def test_timm_that_is_missing_is_named(tmp_path: Path, raw: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"expected the package timm .* pip install"):
        load_network(_saved(raw.state_dict(), tmp_path), arch="timm:resnet18")


class FakeTimm:
    """What the loader needs of timm, with torchvision's networks."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        stated = {"first_conv": "features.0", "classifier": "classifier.1"}
        self.models = types.SimpleNamespace(get_pretrained_cfg_value=lambda name, key: stated.get(key))

    def list_models(self, pretrained: bool = False) -> list[str]:
        return ["squeezenet1_1"]

    def create_model(self, name: str, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        self.asked = {"name": name, "pretrained": pretrained, "num_classes": num_classes, "in_chans": in_chans}
        return copy.deepcopy(_network(5))


def test_timm_builds_for_the_weights(tmp_path: Path, raw: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", timm)
    path = _saved({"state_dict": _prefixed(raw.state_dict(), "module.")}, tmp_path)
    _agrees(path, raw, arch="timm:squeezenet1_1")
    assert timm.asked == {"name": "squeezenet1_1", "pretrained": False, "num_classes": 7, "in_chans": 3}
    with pytest.raises(ConfigError, match="'no_such_model'"):
        load_network(path, arch="timm:no_such_model")


OTHER_KINDS = {
    "hdf5": (b"\x89HDF\r\n\x1a\n", "Keras/HDF5", "tf2onnx"),
    "tflite": (b"\x1c\0\0\0TFL3", "TensorFlow Lite", "tf2onnx"),
    "coreml": (b"\x08\x04\x12\x20\n\x1e\n\x05image\x12\x10com.apple", "CoreML", "ONNX"),
    "saved model": (b"\x08\x01\x12\xf9\x12\n\xab\x03*\x05serve tensorflow", "SavedModel", "tf2onnx"),
    "frozen graph": (b"\n\x2b\n\x05input\x12\x0bPlaceholder*\x07", "TensorFlow graph", "tf2onnx"),
    "caffe": (b"\n\x07AlexNet\xa2\x06\x0a", "Caffe", "ONNX"),
    "openvino": (b"<?xml version='1.0'?>\n<net name='x' version='11'>", "OpenVINO", "ONNX"),
    "ncnn": (b"7767517\n75 83\n", "ncnn", "ONNX"),
    "darknet": (b"\0\0\0\0\2\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0", "Darknet", "ONNX"),
    "darknet cfg": (b"# a comment\n[net]\nbatch=1\n", "Darknet", "weights"),
    "tensorrt": (b"ftrt\0\0\0\0", "TensorRT", "ONNX"),
    "executorch": (b"\x10\0\0\0ET12", "ExecuTorch", "ONNX"),
    "ort": (b"\x10\0\0\0ORTM", "ONNX Runtime", ".onnx"),
    "shards": (b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}', "several parts", "save_file"),
    "tfjs": (b'{"format": "layers-model", "modelTopology": {}}', "TensorFlow.js", "tf2onnx"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
    "html": (b"<!DOCTYPE html><html><body>Not found</body></html>", "web page", "download"),
    "gzip": (b"\x1f\x8b\x08\0", "gzip", "unpack"),
    "xz": (b"\xfd7zXZ\0\0", "xz", "unpack"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_are_named(tmp_path: Path, kind: str) -> None:
    content, name, remedy = OTHER_KINDS[kind]
    path = tmp_path / "model.bin"
    path.write_bytes(content + bytes(700))
    with pytest.raises(ModelFileError, match=r"^expected an ONNX, PyTorch or safetensors file, got ") as caught:
        load_network(path)
    assert name in str(caught.value)
    assert remedy in str(caught.value).partition("; ")[2]


FOLDERS = {"saved_model.pb": "SavedModel", "Manifest.json": "CoreML", "model.safetensors": "name the model.safetensors"}


@pytest.mark.parametrize("member", FOLDERS)
def test_folders_are_named(tmp_path: Path, member: str) -> None:
    (tmp_path / member).write_bytes(b"x")
    with pytest.raises(ModelFileError, match=FOLDERS[member]):
        load_network(tmp_path)


def test_scikit_learn_pickles_are_named(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(UnsafeFileError, match="skl2onnx"):
        load_network(path)


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ({"img_size": [32, 48, 3]}, (3, 32, 48)),
        ({"input_shape": torch.Size([3, 32, 48])}, (3, 32, 48)),
        ({"image_size": (32, 48)}, (3, 32, 48)),
        ({"input_size": 64}, (3, 64, 64)),
        ({"img_size": [32, 48, 1]}, None),  # the weights take three channels
        ({"img_size": [1, 3, 32, 48]}, None),
        ({"input_size": 100_000}, None),
        ({"input_size": True}, None),
        ({"input_size": [32.0, 48.0]}, None),
        ({"input_size": "32"}, None),
        ({"epoch": 32}, None),
    ],
)
def test_the_size_of_images_that_a_checkpoint_tells(said: dict[str, Any], shape: tuple[int, int, int] | None) -> None:
    shapes = {"norm": (7,), "conv": (8, 3, 5, 5), "next": (8, 8, 1, 1)}
    state = {f"{name}.weight": torch.zeros(size) for name, size in shapes.items()}
    assert image_shape({"model": state, **said}, state) == shape
    assert image_shape([said], state) is None
    assert image_shape(said, {"fc.weight": torch.zeros(2, 3)}) is None
