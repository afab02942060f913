"""The doctor: what it finds, and the sentence for a torchvision built for another torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.doctor import TRAP, examine, mismatch_sentence

BROKEN_TORCHVISION = f'raise RuntimeError("{TRAP}")\n'


def test_a_sound_installation(capsys: pytest.CaptureFixture[str]) -> None:
    from auditor.cli import run

    found = {finding.name: finding for finding in examine()}
    assert {"python", "torch", "torchvision", "onnx2torch", "device", "detectors", "reports"} <= set(found)
    assert all(finding.sound for finding in found.values()), found
    import torch

    assert found["torch"].value.split("+")[0] == torch.__version__.split("+")[0]
    assert run(["doctor"]) == 0
    assert "torchvision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "sound"), [("2.9.1", False), ("2.5.0+cpu", False), ("2.10.0", True), ("2.15.0", True), ("3.0", True)]
)
def test_a_torch_that_reads_weights_unsafely_is_found(
    monkeypatch: pytest.MonkeyPatch, version: str, sound: bool
) -> None:
    monkeypatch.setattr("auditor.doctor._version", lambda package: version)
    (finding,) = [finding for finding in examine() if finding.name == "reading weights"]
    assert finding.sound == sound
    assert ("CVE-2026-24747" in finding.value) != sound


def test_the_sentence_names_the_pair_to_install() -> None:
    sentence = mismatch_sentence(RuntimeError(TRAP))
    assert sentence is not None
    for word in ("expected", "got torch", "pip install", "torch==2.", "torchvision==0."):
        assert word in sentence
    assert mismatch_sentence(RuntimeError("something else")) is None
    assert mismatch_sentence(None) is None


def test_the_trap_is_found_behind_other_errors() -> None:
    error = ValueError("could not load the model")
    error.__cause__ = RuntimeError(TRAP)
    assert mismatch_sentence(error) is not None


def with_broken_torchvision(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN_TORCHVISION)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, "-m", "auditor", *argv], capture_output=True, text=True, check=False, env=environment
    )


def test_doctor_says_what_to_install_instead(tmp_path: Path) -> None:
    done = with_broken_torchvision(tmp_path, "doctor")
    assert done.returncode == 2
    assert "MEND" in done.stdout
    assert "pip install --force-reinstall torch==" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_scan_that_meets_the_trap_says_the_same(tmp_path: Path) -> None:
    import torch
    from torch import nn

    # torchvision's key names, so that loading has to ask torchvision
    torch.save({"features.0.weight": nn.Conv2d(3, 64, 3).weight.data}, tmp_path / "model.pt")
    arch = ("--arch", "torchvision:vgg11", "--input-size", "3x32x32")
    done = with_broken_torchvision(tmp_path, "scan", str(tmp_path / "model.pt"), *arch)
    assert done.returncode == 2
    assert "built for each other" in done.stderr
    assert "Traceback" not in done.stderr
