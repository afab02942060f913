"""A handful of the hostile files through the real command, in the worker that a user gets."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditor.cli import run
from auditor.demo_training import network, save_onnx

from . import opcodes as op
from .containers import headers, patched, torch_zip, written, zip_of
from .graphs import saved
from .test_exported import exported
from .test_onnx_bombs import bomb, node
from .test_onnx_external import external, link
from .test_onnx_structures import products
from .test_torchscript import with_line
from .trick import SECONDS, check_sentence

TERABYTE = "x = torch.add(x, torch.zeros([1099511627776, 1, 8, 8]))"
ENDLESS_LOOP = "while True:\n      x = torch.add(x, 1)"

MEMORY_GIB = 2
"""given to the worker; torch alone takes about 0.7 GiB"""

TORCHSCRIPT = ["--allow-torchscript", "--input-size", "1x8x8"]


@dataclass(frozen=True)
class Case:
    """A file, made so that it would create ``canary``, and what the command is told."""

    build: Callable[[Path, str], Path]
    arguments: Sequence[str] = ()
    says: str = "expected"


def payload(canary: str) -> bytes:
    """A pickle that touches the canary."""
    body = op.call(op.name("posix", "system"), op.text(f"touch {canary}"))
    return op.pickled(op.EMPTY_DICT + op.text("fc.weight") + body + op.SETITEM)


def flagged(folder: Path, canary: str) -> Path:
    """CVE-2025-1945 and CVE-2025-10156: flag bits and a checksum that stop other readers."""
    whole = torch_zip(payload(canary))
    local, central = headers(whole, "archive/data.pkl")
    whole = patched(patched(whole, local + 6, "<H", 0x20), central + 16, "<I", 7)
    return written(whole)(folder)


def reference(folder: Path, canary: str) -> Path:
    """The hostile file is the reference; the suspect is good."""
    written(torch_zip(payload(canary)), "reference.pt")(folder)
    save_onnx(folder / "good.onnx", network())
    return folder / "good.onnx"


CASES = {
    "pickle": Case(lambda folder, canary: written(torch_zip(payload(canary)))(folder), says="posix.system"),
    "flagged archive": Case(flagged, says="posix.system"),
    "reference": Case(reference, ["--reference", "reference.pt"], "posix.system"),
    "TorchScript that saves": Case(
        lambda folder, canary: written(with_line(f'torch.save(x, "{canary}")'))(folder), TORCHSCRIPT, "torch.save"
    ),
    "TorchScript that asks for a terabyte": Case(
        lambda folder, canary: written(with_line(TERABYTE))(folder), TORCHSCRIPT
    ),
    "external weights behind a link": Case(
        lambda folder, canary: external("link.bin", link("/etc/passwd"))(folder), says="symbolic link"
    ),
    "ConstantOfShape": Case(
        lambda folder, canary: saved(bomb(node("ConstantOfShape", ["s"], ["big"]), s=[1 << 20, 1 << 20]))(folder),
        says="limits.tensor_elements",
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which holds modules of somebody else's under the names of libraries."""
    monkeypatch.chdir(tmp_path)
    for name in ("torch", "onnx", "numpy", "sitecustomize", "auditor"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n")
    monkeypatch.setenv("SECRET_TOKEN", "do not pass on")
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_one_sentence(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case, canary = CASES[name], folder / "canary"
    path = case.build(folder, str(canary))
    began, most = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    outputs = ["-o", "json=audit.json", "-o", "html=audit.html"]
    memory = ["--set", f"worker.memory_gib={MEMORY_GIB}"]
    assert run(["scan", str(path), *case.arguments, *memory, *outputs]) == 2
    assert time.monotonic() - began < SECONDS
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("audit: expected ")
    check_sentence(shown.err.removeprefix("audit: ").rstrip("\n"))
    assert case.says in shown.err
    assert not canary.exists()
    assert not (folder / "audit.json").exists()
    # the largest child so far, of which other tests may have had larger ones
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(most, MEMORY_GIB << 20)


ENDLESS = {
    "TorchScript that never ends": (
        lambda folder: written(with_line(ENDLESS_LOOP))(folder),
        TORCHSCRIPT,
    ),
    "products that take hours": (saved(lambda: products(2048, 3000)), []),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_file_that_takes_for_ever_is_ended(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No count tells such a file; the clock does, and says so in a report."""
    build, arguments = ENDLESS[name]
    path = build(folder)
    began = time.monotonic()
    assert run(["scan", str(path), *arguments, "--set", "worker.loading_seconds=8", "-o", "json=audit.json"]) == 2
    assert time.monotonic() - began < SECONDS
    shown = capfd.readouterr()
    assert "Inconclusive" in shown.out
    assert "worker.loading_seconds" in shown.out.replace("\n", " ")
    assert "Traceback" not in shown.err
    assert (folder / "audit.json").exists()


def test_a_pickle_in_an_exported_program_stays_shut(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """CVE-2026-4538: torch's own loader would unpickle the sample inputs; here they are not read at all."""
    canary = folder / "canary"
    members = {name: payload(str(canary)) if name.endswith(".pt") else data for name, data in exported().items()}
    assert [name for name in members if name.endswith(".pt")]
    path = written(zip_of(members), "model.pt2")(folder)
    code = run(["scan", str(path), "--detector", "dominant_pattern", "--image-count", "40"])
    shown = capfd.readouterr()
    assert code in (0, 1, 2)
    assert "SHA" in shown.out or "sha256" in shown.out or "expected" in shown.err
    assert "Traceback" not in shown.err
    assert not canary.exists()
