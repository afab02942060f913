"""From a path and options to a classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import GAIN, SHAPE, Templates, draw_images

from auditor.demo_training import network, save_onnx
from auditor.errors import ConfigError, ModelMismatchError
from auditor.opening import choose_device, input_shape, open_classifier, read_labels
from auditor.request import ModelOptions


@pytest.mark.parametrize(
    ("asked", "of_file", "expected"),
    [
        (None, (1, 28, 28), (1, 28, 28)),
        ("3x32x48", None, (3, 32, 48)),
        ("32x48", None, (3, 32, 48)),
        ("64", None, (3, 64, 64)),
        ("64", (1, 28, 28), (1, 64, 64)),
        ("1x64x64", (3, 28, 28), (1, 64, 64)),
    ],
)
def test_input_shape(asked: str | None, of_file: tuple[int, int, int] | None, expected: tuple[int, int, int]) -> None:
    assert input_shape(asked, of_file, None, "m") == expected


def test_the_suspects_shape_serves_the_reference() -> None:
    assert input_shape(None, None, (3, 32, 32), "m") == (3, 32, 32)
    assert input_shape(None, (1, 28, 28), (3, 32, 32), "m") == (1, 28, 28)


@pytest.mark.parametrize("asked", ["", "3x", "axb", "3x32x32x32", "-3x32x32", "0x32x32", "3x2x2", "17x32x32", "99999"])
def test_wrong_input_sizes(asked: str) -> None:
    with pytest.raises(ConfigError, match="--input-size"):
        input_shape(asked, None, None, "m")


def test_an_unknown_input_size_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"add --input-size CxHxW, e\.g\. 3x32x32"):
        input_shape(None, None, None, "m")


def test_device() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--device cpu"):
            choose_device("cuda")


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("stop sign\n\n  yield \n", encoding="utf-8")
    assert read_labels(path) == ("stop sign", "yield")
    assert read_labels(None) == ()
    path.write_text("\n \n")
    with pytest.raises(ConfigError, match="empty"):
        read_labels(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="text file of class names"):
        read_labels(path)
    with pytest.raises(ConfigError, match="text file of class names"):
        read_labels(tmp_path / "none.txt")


def state_dict(folder: Path) -> Path:
    path = folder / "tiny.pt"
    torch.save(Templates().state_dict(), path)
    return path


def test_a_state_dict_with_its_factory(tmp_path: Path) -> None:
    options = ModelOptions(arch="tiny_models:Templates", input_size="12")
    model, loaded = open_classifier(state_dict(tmp_path), options, device="cpu", labels=tuple("abcde"))
    assert model.input_shape == SHAPE
    assert model.num_classes == 5
    assert model.labels == tuple("abcde")
    assert model.facts.name == "tiny.pt"
    assert model.facts.sha256 == loaded.sha256
    assert len(model.facts.sha256) == 64
    images, labels = draw_images(10)
    assert torch.equal(model.predict(images), labels)


def test_options_reach_the_preprocessing(tmp_path: Path) -> None:
    """Each explicit number wins over the preset."""
    images, _ = draw_images(3)
    options = ModelOptions(
        arch="tiny_models:Templates", input_size="12", preprocess="imagenet", mean=(0.5,), value_range="-1..1"
    )
    model, _ = open_classifier(state_dict(tmp_path), options, device="cpu")
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    seen = (images * 2 - 1 - 0.5) / std
    expected = GAIN * (seen - 0.5).flatten(1) @ Templates().templates.flatten(1).T / 432
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-3)


def test_the_wrong_number_of_class_names(tmp_path: Path) -> None:
    options = ModelOptions(arch="tiny_models:Templates", input_size="12")
    with pytest.raises(ModelMismatchError, match="expected 5 class names for this model, got 2"):
        open_classifier(state_dict(tmp_path), options, device="cpu", labels=("a", "b"))


def test_a_size_that_the_network_does_not_take(tmp_path: Path) -> None:
    options = ModelOptions(arch="tiny_models:Templates", input_size="3x16x16")
    with pytest.raises(ModelMismatchError, match="3×16×16"):
        open_classifier(state_dict(tmp_path), options, device="cpu")


def test_an_onnx_file_says_its_own_size(tmp_path: Path) -> None:
    module = network()
    save_onnx(tmp_path / "digits.onnx", module)
    model, _ = open_classifier(tmp_path / "digits.onnx", ModelOptions(), device="cpu")
    assert model.input_shape == (1, 28, 28)
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), module.eval()(x), rtol=1e-4, atol=1e-4)
