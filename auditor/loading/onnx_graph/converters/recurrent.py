"""LSTM, GRU and RNN, computed by torch's own kernels, in the forms that torch has too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor, nn

from auditor.loading.onnx_graph.converters.registration import converter, result

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""the standard's gates in torch's order"""

_USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@dataclass(frozen=True)
class Form:
    """The attributes of one recurrent node, and how many of its outputs the graph names."""

    operation: str
    direction: str
    batch_first: bool
    relu: bool
    outputs: int


class Recurrent(nn.Module):
    """One recurrent layer over (T, N, size), or (N, T, size) with ``batch_first``, from the states given or from 0.

    Gives the states at every step, (T, directions, N, hidden), and the last ones, (directions, N, hidden); of an LSTM
    those of its cells too. Weights are those of the standard: (directions, gates · hidden, size or hidden).
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form

    def forward(
        self,
        x: Tensor,
        into: Tensor,
        within: Tensor,
        bias: Tensor | None = None,
        hidden: Tensor | None = None,
        cell: Tensor | None = None,
    ) -> Any:
        form = self.form
        if form.batch_first:
            x = x.transpose(0, 1)
            hidden, cell = (None if state is None else state.transpose(0, 1) for state in (hidden, cell))
        x = x.flip(0) if form.direction == "reverse" else x
        first = [_state(state, x, within) for state in ((hidden, cell) if form.operation == "LSTM" else (hidden,))]
        y, *states = self._run(x, first, self._weights(into, within, bias))
        y = y.flip(0) if form.direction == "reverse" else y
        y = y.unflatten(2, (len(within), -1)).transpose(1, 2)
        if form.batch_first:
            y, states = y.permute(2, 0, 1, 3), [state.transpose(0, 1) for state in states]
        return y if form.outputs == 1 else (y, *states)[: form.outputs]

    def _weights(self, into: Tensor, within: Tensor, bias: Tensor | None) -> list[Tensor]:
        """As torch's kernels take them: per direction both matrices and both biases, gates in torch's order."""
        gates = _GATES[self.form.operation]
        parts = [into, within, *(() if bias is None else bias.chunk(2, 1))]
        ordered = [torch.cat([part.chunk(len(gates), 1)[gate] for gate in gates], 1) for part in parts]
        return [part[direction] for direction in range(len(within)) for part in ordered]

    def _run(self, x: Tensor, first: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        two = _DIRECTIONS[self.form.direction] == 2
        more = (len(weights) > (4 if two else 2), 1, 0.0, False, two, False)
        # cuDNN's kernels have no gradient in evaluation mode
        with torch.backends.cudnn.flags(enabled=False):
            if self.form.operation == "LSTM":
                return torch.lstm(x, first, weights, *more)
            kernel = torch.gru if self.form.operation == "GRU" else torch.rnn_relu if self.form.relu else torch.rnn_tanh
            return kernel(x, first[0], weights, *more)


def _state(given: Tensor | None, x: Tensor, within: Tensor) -> Tensor:
    """The first state for every image; one stored for a single image holds for all."""
    batch = x.shape[1]
    if given is None:
        return x.new_zeros(len(within), batch, within.shape[2])
    return given.expand(-1, batch, -1) if given.shape[1] == 1 else given


@converter("LSTM", 7, 14, 22)
@converter("GRU", 7, 14, 22)
@converter("RNN", 7, 14, 22)
def recurrent(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    """Raises NotImplementedError for lengths, peepholes, clipping and activations that torch's kernels do not know."""
    given, operation = node.attributes, node.operation_type
    x, into, within, bias, lengths, hidden, cell, peepholes = (*node.input_values, *[""] * 8)[:8]
    activations = [str(name).lower() for name in given.get("activations") or _USUAL[operation]]
    relu = operation == "RNN" and set(activations) == {"relu"}
    usual = _USUAL[operation] * (len(activations) // len(_USUAL[operation]))
    met = {
        "lengths": bool(lengths),
        "peepholes": bool(peepholes),
        "clipping": "clip" in given,
        "coupled gates": given.get("input_forget", 0) != 0,
        "an unknown direction": given.get("direction", "forward") not in _DIRECTIONS,
        "a reset before the product": operation == "GRU" and given.get("linear_before_reset", 0) == 0,
        "other activations": not relu and activations != usual,
    }
    if any(met.values()):
        raise NotImplementedError(f"{operation} with {' and '.join(name for name, there in met.items() if there)}")
    form = Form(
        operation, given.get("direction", "forward"), given.get("layout", 0) == 1, relu, len(node.output_values)
    )
    return result(node, Recurrent(form), inputs=(x, into, within, bias, hidden, cell))
