"""``audit explain``: a class of a model without a scan, in a worker, to a page; and an image made from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from auditor import cli
from auditor.archive import save_text, to_text
from auditor.findings import FileFacts
from auditor.loading.file_format import sha256_of
from tests.reports.example_audits import audit as example

SMALL = (
    "--set", "salient_pattern.steps=20", "--set", "salient_pattern.samples=16", "--set", "salient_pattern.batch=8",
    "--set", "sensitivity.samples=2", "--set", "sensitivity.steps=4", "--set", "filters.steps=3",
    "--set", "probes.images=24", "--set", "probes.pgd_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network as ONNX, and images."""
    folder = tmp_path_factory.mktemp("explain")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 15 * 15, 5),
    )  # fmt: skip
    torch.onnx.export(
        network.eval(), (torch.zeros(2, 3, 32, 32),), str(folder / "m.onnx"), dynamo=False,
        input_names=["image"], dynamic_axes={"image": {0: "n"}},
    )  # fmt: skip
    images = np.random.default_rng(0).random((80, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "images.npz", x=images)
    Image.fromarray((images[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save(folder / "seed.png")
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 8:16] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    return cli.run(["explain", "m.onnx", *arguments, "--images", "images.npz", *SMALL])


def test_a_class_is_explained_without_a_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, monkeypatch, "--class", "3", "-o", "html=e.html", "-o", "json=e.json") == 0
    found = json.loads((folder / "e.json").read_text(encoding="utf-8"))
    assert [(e["role"], e["target_class"], e["triggered"]) for e in found["explanations"]] == [
        ("asked for", 3, False), ("the model", None, False),
    ]  # fmt: skip
    assert {p["kind"] for p in found["explanations"][0]["panels"]} == {
        "attention", "sensitivity", "filters", "salient pattern",
    }  # fmt: skip
    page = (folder / "e.html").read_text(encoding="utf-8")
    assert "Explanation, no verdict" in page
    assert "What it takes for the essence of the class" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_an_audit_lends_its_trigger(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = example(5, channels=3)
    target = audit.target_classes[0]
    assert audit.trigger is not None
    save_text(folder / "other.json", to_text(audit))
    assert run(folder, monkeypatch, "--class", str(target), "--audit", "other.json") != 0
    assert "expected an audit of this very file" in capsys.readouterr().err
    mine = FileFacts("m.onnx", sha256_of(folder / "m.onnx"), "onnx", None, 5, (3, 32, 32))
    object.__setattr__(audit, "model", mine)
    save_text(folder / "audit.json", to_text(audit))
    assert run(folder, monkeypatch, "--class", str(target), "--audit", "audit.json", "-o", "json=t.json") == 0
    found = json.loads((folder / "t.json").read_text(encoding="utf-8"))
    assert found["explanations"][0]["triggered"]
    assert "takeover" in {p["kind"] for p in found["explanations"][0]["panels"]}


def test_an_image_is_made_from_a_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--set", "generation.steps=20", "--set", "generation.samples=16", "--set", "generation.batch=8")
    seeded = ("--class", "1", "--generate", "seed.png", *small)
    assert run(folder, monkeypatch, *seeded) == 0
    assert run(folder, monkeypatch, *seeded, "--mask", "mask.png", "-o", "png=f.png") == 0
    seed, made, filled = (
        np.asarray(Image.open(folder / name), dtype=float) for name in ("seed.png", "generated.png", "f.png")
    )
    assert made.shape == (32, 32, 3)
    assert np.abs(made - seed).mean() > 1
    inside, outside = (np.abs(filled - seed)[part].mean() for part in (np.s_[8:16, 8:16], np.s_[:8]))
    assert inside > outside


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a class to explain"),
        (("--class", "9"), "expected --class from 0 to 4"),
        (("--class", "1", "--mask", "mask.png"), "expected --mask together with --generate"),
        (("--class", "1", "--explain", "none"), "expected --explain standard or full"),
        (("--class", "1", "-o", "png=x.png"), "png= goes with --generate"),
        (("--class", "1", "--generate", "images.npz"), "expected"),
        (("--class", "1", "--audit", "m.onnx"), "expected an audit at 'm.onnx'"),
        (("--class", "1", "--set", "probes.images=0"), "expected probes.images"),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.chdir(folder)
    assert cli.run(["explain", "m.onnx", *arguments, "--images", "images.npz"]) != 0
    told = capsys.readouterr().err
    assert expected in told
    assert "Traceback" not in told
