"""Recurrent networks that read an image row by row: same scores, same gradient, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, helper
from torch import Tensor, nn

from auditor.errors import ModelFileError
from auditor.loading import load_network

from .conftest import Export, images, perturb
from .graphs import constant, linear_model, saved
from .test_onnx_networks import assert_agrees


class Reader(nn.Module):
    """Reads 1×12×12 images by rows; the last output of every layer and the last states are told to the head."""

    def __init__(self, layers: nn.LSTM | nn.GRU | nn.RNN) -> None:
        super().__init__()
        self.layers = layers
        self.head = nn.LazyLinear(4)

    def forward(self, x: Tensor) -> Tensor:
        steps, states = self.layers(x.squeeze(1))
        last = states if isinstance(states, Tensor) else torch.cat(states, 2)
        return self.head(torch.cat([steps[:, -1], steps[:, 3], last.transpose(0, 1).flatten(1)], 1))


NETWORKS = {
    "LSTM": nn.LSTM(12, 7, batch_first=True),
    "two LSTMs both ways": nn.LSTM(12, 5, num_layers=2, bidirectional=True, batch_first=True),
    "LSTM without bias": nn.LSTM(12, 7, bias=False, batch_first=True),
    "GRU both ways": nn.GRU(12, 6, bidirectional=True, batch_first=True),
    "RNN": nn.RNN(12, 7, batch_first=True),
    "RNN of ReLU": nn.RNN(12, 7, nonlinearity="relu", batch_first=True),
}


def reader(name: str) -> nn.Module:
    network = Reader(NETWORKS[name])
    network(torch.zeros(1, 1, 12, 12))
    return perturb(network)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", ["dynamo", "legacy", "legacy, one image"])
def test_network_that_reads_rows(export: Export, name: str, form: str) -> None:
    network, one = reader(name), form == "legacy, one image"
    options = {} if form == "dynamo" else {"opset_version": 17}
    example = images(1 if one else 2, 1, 12, 12)
    loaded = load_network(export(network, example, dynamo=form == "dynamo", dynamic=not one, **options))
    assert loaded.fixed_batch is None
    assert_agrees(loaded, network, images(5, 1, 12, 12))


def test_exported_program_that_reads_rows(tmp_path: Path) -> None:
    network = reader("LSTM")
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(network, (images(2, 1, 12, 12),), dynamic_shapes=shapes), tmp_path / "m.pt2")
    assert_agrees(load_network(tmp_path / "m.pt2"), network, images(5, 1, 12, 12))


def recurrent_model(operation: str, gates: int, hidden: int = 2, **attributes: object) -> onnx.ModelProto:
    """Two rows of two pixels, read by one operation; its last state are the scores."""
    rng = np.random.default_rng(3)
    nodes: list[NodeProto] = [
        helper.make_node("Squeeze", ["image", "one"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(operation, ["steps", "into", "within"], ["", "last"], hidden_size=hidden, **attributes),
        helper.make_node("Squeeze", ["last", "zero"], ["read"]),
        helper.make_node("Add", ["scores", "read"], ["both"]),
    ]
    constants = (
        constant("one", [1], np.int64), constant("zero", [0], np.int64),
        constant("into", rng.normal(size=(1, gates * hidden, 2))),
        constant("within", rng.normal(size=(1, gates * hidden, hidden))),
    )  # fmt: skip
    model = linear_model(*nodes, constants=constants)
    model.graph.output[0].name = "both"
    return model


@pytest.mark.parametrize(("operation", "gates"), [("LSTM", 4), ("RNN", 1)])
def test_backwards_in_time(tmp_path: Path, operation: str, gates: int) -> None:
    forwards = load_network(saved(recurrent_model(operation, gates), tmp_path))
    backwards = load_network(saved(recurrent_model(operation, gates, direction="reverse"), tmp_path))
    x = images(3, 1, 2, 2)
    assert torch.allclose(backwards.module(x), forwards.module(x.flip(2)) - _linear(x.flip(2)) + _linear(x), atol=1e-5)
    assert not torch.allclose(backwards.module(x), forwards.module(x), atol=1e-2)


def _linear(x: Tensor) -> Tensor:
    return x.flatten(1) @ torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("operation", "gates", "attributes", "why"),
    [
        ("GRU", 3, {}, "GRU with a reset before the product"),
        ("LSTM", 4, {"clip": 2.0}, "LSTM with clipping"),
        ("LSTM", 4, {"input_forget": 1}, "LSTM with coupled gates"),
        ("LSTM", 4, {"activations": ["Sigmoid", "Relu", "Tanh"]}, "LSTM with other activations"),
    ],
)
def test_what_torch_does_not_compute_is_refused(
    tmp_path: Path, operation: str, gates: int, attributes: dict[str, object], why: str
) -> None:
    with pytest.raises(ModelFileError, match=why):
        load_network(saved(recurrent_model(operation, gates, **attributes), tmp_path))


def test_weights_that_do_not_fit_are_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    model = recurrent_model("LSTM", 3)
    with pytest.raises(Exception, match=r"expected .*, got") as raised:
        load_network(saved(model, tmp_path))
    assert type(raised.value).__module__ == "auditor.errors"
