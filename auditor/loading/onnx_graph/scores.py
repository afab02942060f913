"""Of an ONNX graph with several outputs, the one that holds the class scores."""

from __future__ import annotations

import onnx
from onnx import TensorProto

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
    of = value.type.tensor_type
    dims = list(of.shape.dim)
    if of.elem_type not in _FLOATS or len(dims) < 2 or any(dim.dim_value != 1 for dim in dims[2:]):
        return None
    return max(0, dims[1].dim_value)
