"""Bad input, through the real command: one sentence, the right exit code, nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from auditor.cli import run
from auditor.demo_training import load_digits, network, save_images, save_onnx


def untrained(outputs: int = 10) -> nn.Sequential:
    """The demonstration's network with seeded weights and another number of outputs."""
    rng, model = torch.Generator().manual_seed(0), network()
    model[-1] = nn.Linear(64, outputs)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good model and good images, which is also where the command runs."""
    save_onnx(tmp_path / "model.onnx", untrained())
    save_images(tmp_path / "digits.npz", load_digits(0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def truncated(folder: Path) -> None:
    whole = (folder / "model.onnx").read_bytes()
    (folder / "bad.onnx").write_bytes(whole[: len(whole) // 2])


def text_named_onnx(folder: Path) -> None:
    (folder / "bad.onnx").write_text("This is not a model.\n" * 50)


def empty_file(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"")


def boxes_and_scores(folder: Path) -> None:
    """A detector-like graph: two outputs instead of one row of class scores."""
    import onnx

    model = onnx.load(folder / "model.onnx")
    hidden = model.graph.node[-2].output[0]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, ["batch", 64])
    )
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=4)
    model.graph.output[1].type.tensor_type.shape.dim.add(dim_value=4)
    onnx.save(model, folder / "bad.onnx")


def fix_output_shape(path: Path, outputs: int) -> None:
    import onnx

    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = outputs
    onnx.save(model, path)


class OwnNetwork(torch.nn.Sequential):
    """A class that no reader of the file knows."""


def pickled_module(folder: Path) -> None:
    torch.save(OwnNetwork(*untrained()), folder / "bad.pt")


def other_classes(folder: Path) -> None:
    save_onnx(folder / "reference.onnx", untrained(7))
    fix_output_shape(folder / "reference.onnx", 7)


def other_size(folder: Path) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 29
    onnx.save(model, folder / "reference.onnx")


def wrong_size_images(folder: Path) -> None:
    np.savez(folder / "images.npz", x=np.zeros((30, 32, 32), np.uint8))


def too_few_images(folder: Path) -> None:
    np.savez(folder / "images.npz", x=np.zeros((3, 28, 28), np.uint8))


def labels_out_of_range(folder: Path) -> None:
    np.savez(folder / "images.npz", x=np.zeros((30, 28, 28), np.uint8), y=np.arange(30))


def folder_without_images(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "readme.txt").write_text("none here")


def wrong_class_names(folder: Path) -> None:
    (folder / "names.txt").write_text("one\ntwo\n")


def nothing(folder: Path) -> None:
    """The good files are enough."""


REFERENCE = ["model.onnx", "--reference", "reference.onnx"]

CASES: dict[str, tuple[Callable[[Path], None], list[str], int, list[str]]] = {
    "missing file": (nothing, ["gone.onnx"], 2, ["expected a model file", "gone.onnx", "check the path"]),
    "folder for a file": (nothing, ["."], 2, ["expected a model file", "name the file"]),
    "empty file": (empty_file, ["bad.onnx"], 2, ["empty", "again"]),
    "truncated ONNX": (
        truncated,
        ["bad.onnx"],
        2,
        ["expected an ONNX model", "bad.onnx", "truncated", "again"],
    ),
    "text named .onnx": (text_named_onnx, ["bad.onnx"], 2, ["expected an ONNX", "bad.onnx", "again"]),
    "pickled module": (pickled_module, ["bad.pt"], 2, ["expected", "OwnNetwork", "--arch"]),
    "images as model": (nothing, ["digits.npz"], 2, ["expected an ONNX", "NumPy"]),
    "two outputs": (boxes_and_scores, ["bad.onnx"], 2, ["expected", "got", "output"]),
    "reference of other classes": (other_classes, REFERENCE, 2, ["expected", "10", "got", "7"]),
    "reference of another size": (other_size, REFERENCE, 2, ["expected", "28", "got", "29"]),
    "missing reference": (nothing, REFERENCE, 2, ["expected a model file", "reference.onnx"]),
    "images of the wrong size": (
        wrong_size_images,
        ["model.onnx", "--images", "images.npz"],
        2,
        ["expected images of 1×28×28", "got 1×32×32", "--input-size"],
    ),
    "too few images": (
        too_few_images,
        ["model.onnx", "--images", "images.npz"],
        2,
        ["expected at least", "images.npz", "got 3"],
    ),
    "labels out of range": (
        labels_out_of_range,
        ["model.onnx", "--images", "images.npz"],
        2,
        ["expected labels from 0 to 9", "got 29"],
    ),
    "no images in the folder": (
        folder_without_images,
        ["model.onnx", "--images", "images"],
        2,
        ["expected PNG", "got none", "--images"],
    ),
    "missing images": (
        nothing,
        ["model.onnx", "--images", "gone"],
        2,
        ["expected images", "gone", "--images"],
    ),
    "option out of range": (
        nothing,
        ["model.onnx", "--confirm-at", "1.5"],
        4,
        ["expected scan.confirm_at in 0.5 to 1, got 1.5"],
    ),
    "setting out of range": (
        nothing,
        ["model.onnx", "--set", "iscp.steps=0"],
        4,
        ["expected iscp.steps", "got 0"],
    ),
    "budget that is no time": (nothing, ["model.onnx", "--budget", "soon"], 4, ["expected", "soon"]),
    "input size that is none": (nothing, ["model.onnx", "--input-size", "big"], 4, ["--input-size", "big"]),
    "input size that does not fit": (
        nothing,
        ["model.onnx", "--input-size", "1x40x40"],
        2,
        ["expected", "1×40×40"],
    ),
    "too few class names": (
        wrong_class_names,
        ["model.onnx", "--classes", "names.txt"],
        2,
        ["expected 10", "got 2"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, argv, code, words = CASES[case]
    spoil(folder)
    before = sorted(path.name for path in folder.iterdir())
    outputs = ["-o", "html=report.html", "-o", "json=audit.json"]
    assert run(["scan", *argv, *outputs]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("audit: ")
    assert shown.err.count("\n") == 1
    assert "unexpected" not in shown.err
    for word in words:
        assert word in shown.err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_name_cannot_speak_to_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "evil\x1b[2J\nname.onnx"
    (folder / name).write_text("no model")
    assert run(["scan", name]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1
