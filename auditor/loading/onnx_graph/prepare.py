"""Bring an ONNX graph into the form the converters expect, without changing what it computes.

Node names come from the file and end up in source text that ``torch.fx`` generates, where a crafted name
would be code. So every node is renamed before anything else sees the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import ModelFileError
from auditor.loading.onnx_graph.branches import resolve_branches
from auditor.loading.quoting import quoted

_HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})

WIDENED = "weights stored in another precision than float32 are computed in float32"
"""the note on a model that its runtime would compute in another precision"""

EIGHT_BIT = "the graph takes pixels of 8 bits: they are given as numbers from 0 to 255, and may lie between two steps"
"""the note on a model whose images are integers, which nothing could be searched on"""


def prepare(original: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Return a rewritten copy of the model and notes on what was odd.

    Local functions are inlined, constants become initializers, other float types float32, nodes get plain
    names.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    notes: list[str] = []
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    for node in model.graph.node:
        if node.domain == "ai.onnx":
            node.domain = ""
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""
    notes += resolve_branches(model)
    _constants_to_initializers(model.graph)
    _resolve_identities(model.graph)
    if _to_float32(model.graph):
        notes.append(WIDENED)
    _drop_initializer_inputs(model.graph)
    if _takes_bytes(model.graph):
        notes.append(EIGHT_BIT)
    _rename_nodes(model.graph)
    _check_names(model.graph)
    return model, notes


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        value = _constant_value(node) if node.op_type == "Constant" and not node.domain else None
        if value is None:
            kept.append(node)
        else:
            value.name = node.output[0]
            graph.initializer.append(value)
    _replace_nodes(graph, kept)


def _constant_value(node: onnx.NodeProto) -> TensorProto | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        if attribute.name in ("value_int", "value_ints"):
            return numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), dtype=np.int64))
        if attribute.name in ("value_float", "value_floats"):
            return numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), dtype=np.float32))
    return None


def _resolve_identities(graph: onnx.GraphProto) -> None:
    """The legacy exporter shares equal weights through Identity; converters want to see the weights
    themselves."""
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in alias:
                node.input[index] = alias[name]
        shared = node.op_type == "Identity" and not node.domain and node.input[0] in constants
        if shared and node.output[0] not in outputs:
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _replace_nodes(graph: onnx.GraphProto, kept: list[onnx.NodeProto]) -> None:
    if len(kept) == len(graph.node):
        return
    copies = []
    for node in kept:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def _to_float32(graph: onnx.GraphProto) -> bool:
    """Compute in float32 whatever the file stores in float16, bfloat16 or float64; tells whether anything
    changed."""
    changed = False
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and node.op_type == "Cast" and attribute.i in _HALF:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                tensors.append(attribute.t)
    for tensor in tensors:
        if tensor.data_type in _HALF:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, name=tensor.name))
            changed = True
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type in _HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            changed = True
    if changed:
        del graph.value_info[:]
    return changed


def _takes_bytes(graph: onnx.GraphProto) -> bool:
    """Let an image of 8-bit pixels be one of floats, where that is what the graph makes of it first; tells whether."""
    images = [value for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8]
    if len(images) != 1 or len(graph.input) != 1:
        return False
    users = [node for node in graph.node if images[0].name in node.input]
    if not users or any(node.op_type not in ("Cast", "Transpose", "Identity") for node in users):
        return False
    images[0].type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return True


def _drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Before IR version 4 every initializer was also listed as an input, which it is not for the caller."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != len(graph.input):
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
        del graph.input[:]
        graph.input.extend(copies)


def _rename_nodes(graph: onnx.GraphProto) -> None:
    for index, node in enumerate(graph.node):
        plain = node.op_type if node.op_type.isascii() and node.op_type.isalnum() else "custom"
        node.name = f"{plain.lower()}_{index}"


def _check_names(graph: onnx.GraphProto) -> None:
    """Every value is defined once and before it is used; anything else reads differently in different
    runtimes."""
    known = {""}
    for name in [*(t.name for t in graph.initializer), *(v.name for v in graph.input)]:
        if name in known:
            raise ModelFileError(
                f"expected every constant and input to have its own name, got {quoted(name)} twice; export again"
            )
        known.add(name)
    for node in graph.node:
        for name in node.input:
            if name not in known:
                raise ModelFileError(
                    f"expected operations in the order of their inputs, got {quoted(name)} used before it is "
                    "computed; export the model again"
                )
        for name in node.output:
            if name and name in known:
                raise ModelFileError(f"expected each value to be computed once, got {quoted(name)} twice; export again")
            known.add(name)
