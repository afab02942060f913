"""TorchScript: refused unless allowed, loaded when every operation is pure, never when one is not."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.classifier import Classifier
from auditor.errors import ModelFileError, UnsafeFileError
from auditor.findings import FileFacts
from auditor.loading import load_network
from auditor.loading.limits import Limits
from auditor.loading.torch_programs.torchscript_source import refused_source

from .conftest import images, perturb, small_cnn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Block(nn.Module):
    """A residual block, with control flow that tracing follows and scripting keeps."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Conv2d(channels, channels, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + identity)


def residual_network(classes: int = 6) -> nn.Module:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, classes)]
    return perturb(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), Block(8), Block(8, 2), *head))


def _facts(name: str) -> FileFacts:
    return FileFacts(
        name=name, sha256="", format="torchscript", architecture=None, num_classes=None, input_shape=(3, 16, 16)
    )


def _save(module: torch.jit.ScriptModule, path: Path) -> Path:
    torch.jit.save(module, path)
    return path


@pytest.mark.parametrize("form", ["traced", "scripted"])
def test_a_residual_network_loads_and_agrees(tmp_path: Path, form: str) -> None:
    network = residual_network()
    x = images(2, 3, 16, 16)
    program = torch.jit.trace(network, x) if form == "traced" else torch.jit.script(network)
    path = _save(program, tmp_path / "model.onnx")
    with pytest.raises(UnsafeFileError, match=r"TorchScript.*state_dict\(\).*--allow-torchscript"):
        load_network(path)
    loaded = load_network(path, allow_torchscript=True)
    assert loaded.format == "torchscript"
    assert not loaded.executed
    assert any("TorchScript" in note for note in loaded.notes)
    x = images(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(loaded.module(x), network(x), atol=1e-5)
    classifier = Classifier(loaded.module, input_shape=(3, 16, 16), facts=_facts("model"))
    assert classifier.num_classes == 6
    x.requires_grad_(True)
    classifier(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


class Warns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("\x1b[31mtext of the file", stacklevel=2)
        return x.mean((2, 3))


def test_warnings_of_the_program_are_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _save(torch.jit.script(Warns()), tmp_path / "model.pt")
    loaded = load_network(path, allow_torchscript=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert loaded.module(images(2, 3, 4, 4)).shape == (2, 3)
    assert not [w for w in caught if "text of the file" in str(w.message)]
    assert "text of the file" not in "".join(capfd.readouterr())


class Saves(nn.Module):
    """``torch.save`` is an operation of TorchScript."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x.mean((2, 3))


class Maps(nn.Module):
    """``torch.from_file`` makes or maps a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.from_file(self.path, True, 1)


class Prints(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("hello")
        return x.mean((2, 3))


class SavesInBranch(Saves):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 1e9):
            while bool(x.sum() > 2e9):
                torch.save(x, self.path)
        return x.mean((2, 3))


class SavesInUnusedMethod(Saves):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    @torch.jit.export
    def later(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x


class SavesWhenLoaded(nn.Module):
    """``__setstate__`` runs inside ``torch.jit.load``."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.ones(1), self.path)


def _inside(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.ReLU(), module))


HOSTILE: dict[str, tuple[Callable[[str], nn.Module], str]] = {
    "aten::save": (Saves, "torch.save"),
    "aten::from_file": (Maps, "from_file"),
    "print": (lambda path: Prints(), "print"),
    "in a branch of a loop": (SavesInBranch, "torch.save"),
    "in a sub-module": (lambda path: _inside(Saves(path)), "torch.save"),
    "in a method nothing calls": (lambda path: _inside(SavesInUnusedMethod(path)), "torch.save"),
    "in __setstate__": (SavesWhenLoaded, "__setstate__"),
    "in __setstate__ of a part": (lambda path: _inside(SavesWhenLoaded(path)), "__setstate__"),
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_programs_that_do_more_are_refused(tmp_path: Path, trick: str) -> None:
    """The reach of TorchScript: pytorch's SECURITY.md calls loaded models programs; CVE-2025-32434 used torch.load."""
    build, named = HOSTILE[trick]
    canary = tmp_path / "canary"
    path = _save(torch.jit.script(build(str(canary))), tmp_path / "model.pt")
    canary.unlink(missing_ok=True)
    with pytest.raises(UnsafeFileError) as caught:
        load_network(path, allow_torchscript=True)
    assert named in str(caught.value)
    assert str(caught.value).startswith("expected a TorchScript program of pure tensor operations, got ")
    assert not canary.exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """What the refusals prevent: torch's own loader writes the file while it loads."""
    canary = tmp_path / "canary"
    path = _save(torch.jit.script(SavesWhenLoaded(str(canary))), tmp_path / "model.pt")
    canary.unlink(missing_ok=True)
    torch.jit.load(path)
    assert canary.exists()


def _rewritten(source: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The archive again with members changed, left out (None) or renamed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            changed = change(entry.filename, old.read(entry))
            if changed is not None:
                new.writestr(*changed)
    return target


@pytest.fixture
def network() -> nn.Module:
    return small_cnn()


@pytest.fixture
def plain(tmp_path: Path, network: nn.Module) -> Path:
    return _save(torch.jit.script(network), tmp_path / "plain.pt")


def _edit(old: str, new: str) -> Callable[[str, bytes], tuple[str, bytes]]:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, re.sub(old, lambda _: new, content.decode(), count=1).encode() if name.endswith(".py") else content

    return change


EDITS = {
    "class constant computed by an operation": ("training : bool", 'training : bool\n  z : Final[int] = torch.save(1)'),
    "default value computed by an operation": (r"input: Tensor\)", 'input: Tensor=torch.save(1, "F"))'),
    "alias of an operation": (r"    return \(", '    f = torch.save\n    z = f(input, "F")\n    return ('),
    "method of a tensor": (r"    return \(", '    z = (input).save("F")\n    return ('),
    "operation by its full name": (r"    return \(", '    z = ops.aten.save(input, "F")\n    return ('),
    "custom library": (r"    return \(", "    z = ops.mine.run(input)\n    return ("),
    "custom class": (r"    return \(", "    z = __torch__.torch.classes.mine.Thing(input)\n    return ("),
    "computed attribute": (r"    return \(", '    z = getattr(self, "__" + "dict__")\n    return ('),
    "statement behind a comment": (r"    return \(", "    # harmless\r    z = torch.save(input)\n    return ("),
    "statement in a string": (r"    return \(", '    """\n    z = torch.save(input)\n    """\n    return ('),
    "decorator": (r"  def forward", "  @torch.jit.ignore\n  def forward"),
    "import": (r"class ", "import os\nclass "),
    "hidden name": (r"    return \(", "    torch = self\n    return ("),
    "seed": (r"    return \(", "    z = torch.manual_seed(1)\n    return ("),
    "raise from": (r"    return \(", "    raise z from torch.save(input)\n    return ("),
    "lambda": (r"    return \(", "    z = lambda y: torch.save(y)\n    return ("),
    "not ascii": (r"    return \(", "    z\u00e9 = input\n    return ("),
}


@pytest.mark.parametrize("place", ["class constant", "default value"])
def test_what_torch_computes_while_it_loads_is_refused(tmp_path: Path, plain: Path, place: str) -> None:
    """torch.jit.load evaluates both, before anything is called; found with torch 2.15."""
    canary = tmp_path / "canary"
    makes = f'torch.from_file("{canary}", True, 1)'
    edit = {
        "class constant": ("training : bool", f"training : bool\n  z : Final[Tensor] = {makes}"),
        "default value": (r"input: Tensor\)", f"input: Tensor={makes})"),
    }[place]
    path = _rewritten(plain, tmp_path / "model.pt", _edit(*edit))
    with pytest.raises(UnsafeFileError, match="computed while the file is loaded"):
        load_network(path, allow_torchscript=True)
    assert not canary.exists()
    torch.jit.load(path)
    assert canary.exists(), "the trick must be a real one"


@pytest.mark.parametrize("trick", EDITS)
def test_source_that_was_written_by_hand_is_refused(tmp_path: Path, plain: Path, trick: str) -> None:
    old, new = EDITS[trick]
    path = _rewritten(plain, tmp_path / "model.pt", _edit(old, new))
    with zipfile.ZipFile(path) as archive:
        assert any(new.encode() in archive.read(name) for name in archive.namelist()), "the edit must be in the file"
    with pytest.raises(UnsafeFileError, match="pure tensor operations"):
        load_network(path, allow_torchscript=True)


def test_deep_source_is_refused() -> None:
    deep = "def forward(self) -> int:\n  return " + "(" * 3000 + "1" + ")" * 3000 + "\n"
    assert refused_source({"code/x.py": deep})


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        import os

        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_pickles_of_the_archive_are_judged(tmp_path: Path, plain: Path, member: str) -> None:
    marker = tmp_path / "marker"
    payload = pickle.dumps(Runs(marker), protocol=2)
    path = _rewritten(
        plain, tmp_path / "model.pt", lambda name, content: (name, payload if name.endswith(member) else content)
    )
    with pytest.raises(UnsafeFileError, match="system"):
        load_network(path, allow_torchscript=True)
    assert not marker.exists()


def test_unjudged_members_never_reach_torch(tmp_path: Path, plain: Path, network: nn.Module) -> None:
    """Debug records and traced inputs are pickles too, and are left out."""
    path = _rewritten(
        plain,
        tmp_path / "model.pt",
        lambda name, content: (name, b"\x80\x02garbage" if name.endswith("debug_pkl") else content),
    )
    x = images(2, 1, 12, 12)
    assert torch.allclose(load_network(path, allow_torchscript=True).module(x), network(x), atol=1e-5)


@pytest.mark.parametrize("folder", ["renamed", "a/b"])
def test_a_program_that_was_packed_again_is_still_one(tmp_path: Path, plain: Path, folder: str) -> None:
    path = _rewritten(
        plain, tmp_path / "model.pth", lambda name, content: (f"{folder}/{name.partition('/')[2]}", content)
    )
    with pytest.raises(UnsafeFileError, match="TorchScript"):
        load_network(path)


def test_a_record_shorter_than_its_tensor_is_refused(tmp_path: Path) -> None:
    """torch.jit.load would read the memory behind it."""
    source = _save(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(300, 300))), tmp_path / "plain.pt")
    path = _rewritten(
        source, tmp_path / "model.pt", lambda name, content: (name, content[:8] if "/data/" in name else content)
    )
    with pytest.raises(UnsafeFileError, match=r"a tensor of another size than its record 'data/0'"):
        load_network(path, allow_torchscript=True)


def test_mobile_and_damaged_programs_are_refused(tmp_path: Path, plain: Path) -> None:
    without_code = _rewritten(
        plain, tmp_path / "a.pt", lambda name, content: None if name.endswith(".py") else (name, content)
    )
    cut = tmp_path / "cut.pt"
    cut.write_bytes(plain.read_bytes()[:-400])
    unsized = _rewritten(
        plain, tmp_path / "b.pt", lambda name, content: None if name.endswith("version") else (name, content)
    )
    for path in (without_code, cut, unsized):
        with pytest.raises(ModelFileError, match=r"expected .* got "):
            load_network(path, allow_torchscript=True)


def test_programs_beyond_the_limits_are_refused(plain: Path) -> None:
    for limits in (Limits(program_bytes=2000), Limits(nodes=10), Limits(archive_members=3)):
        with pytest.raises(ModelFileError, match="at most"):
            load_network(plain, allow_torchscript=True, limits=limits)
