"""Graphs that take images of bytes, as exports from TensorFlow often do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from auditor.errors import ModelFileError
from auditor.opening import open_classifier
from auditor.request import ModelOptions

from .conftest import Export, images, small_cnn


class OnBytes(nn.Module):
    """A classifier of (N, H, W, C) pixels from 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_cnn(classes=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.permute(0, 3, 1, 2) / 127.5 - 1)


def on_bytes(export: Export, network: nn.Module | None = None, cast: str = "Cast") -> Path:
    """`OnBytes`, whose graph casts its bytes first."""
    path = export(network or OnBytes().eval(), images(2, 12, 12, 1), dynamic=True, dynamo=False)
    model = onnx.load(path)
    name = model.graph.input[0].name
    for node in model.graph.node:
        for place, used in enumerate(node.input):
            if used == name:
                node.input[place] = "as_float"
    options = {"to": TensorProto.FLOAT} if cast == "Cast" else {}
    extra = [name] if cast == "Cast" else [name, name]
    model.graph.node.insert(0, helper.make_node(cast, extra, ["as_float"], **options))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, path)
    return path


def test_bytes_are_given_as_numbers(export: Export) -> None:
    meant = OnBytes().eval()
    classifier, network = open_classifier(on_bytes(export, meant), ModelOptions(), device="cpu")
    assert classifier.input_shape == (1, 12, 12)
    assert classifier.preprocess.value_range == "0..255"
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1)))
    x = (pixels.permute(0, 3, 1, 2) / 255.0).requires_grad_()
    logits = classifier.logits(x)
    with torch.no_grad():
        assert torch.allclose(logits, meant(pixels.float()), atol=1e-4)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.abs().max() > 0
    assert any("pixels of 8 bits" in note for note in network.notes)


def test_what_is_said_of_the_pixels_is_obeyed(export: Export) -> None:
    classifier, _ = open_classifier(on_bytes(export), ModelOptions(mean=(0.5,), std=(0.5,)), device="cpu")
    assert classifier.preprocess.value_range == "0..1"


def test_arithmetic_on_bytes_is_refused(export: Export) -> None:
    with pytest.raises(ModelFileError, match="expected one float input"):
        open_classifier(on_bytes(export, cast="BitwiseAnd"), ModelOptions(), device="cpu")
