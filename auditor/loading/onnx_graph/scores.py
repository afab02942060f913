"""Of an ONNX graph with several outputs, the one that holds the class scores."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from auditor.loading.onnx_graph.convert import dims_of, is_class_scores
from auditor.loading.outputs import Offered, note_on, which_scores

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def keep_scores(model: onnx.ModelProto, wanted: str | None) -> tuple[str, ...]:
    """Take all outputs but the class scores off the graph, as of networks that give features or boxes too.

    The one that is ``wanted``, by name or position, else as `which_scores` finds it by the shapes that the file tells.
    Where it tells none, nothing changes. Returns what to note. Raises ConfigError for an output that is not there.
    """
    outputs = list(model.graph.output)
    if len(outputs) < 2:
        return ()
    offered = [Offered(value.name, _width(value)) for value in outputs]
    place = which_scores(offered, wanted)
    if place is None:
        return ()
    kept = onnx.ValueInfoProto.FromString(outputs[place].SerializeToString())
    del model.graph.output[:]
    model.graph.output.append(kept)
    return (note_on(offered, place),)


def _width(value: onnx.ValueInfoProto) -> int | None:
    """K of a float output (N, K) or (N, K, 1, 1), 0 where it is open."""
    dims = dims_of(value)
    if value.type.tensor_type.elem_type not in _FLOATS or dims is None or not is_class_scores(dims):
        return None
    return dims[1] or 0
