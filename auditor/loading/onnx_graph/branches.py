"""Take the branch of an ``If`` whose condition the image cannot change.

Exporters write ``If`` where a size decides, as around ``squeeze``. When the condition follows from constants and from
sizes that the file states, the branch is put in its place, and the rest of loading never sees an ``If``. A condition
that depends on the image stays, and nothing converts it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from auditor.loading.onnx_graph.bombs import without_weights
from auditor.loading.onnx_graph.tensors import elements

Numbers = npt.NDArray[Any]

_SIZE_OPERATIONS = frozenset(
    {"Shape", "Size", "Constant", "Identity", "Gather", "Slice", "Squeeze", "Unsqueeze", "Concat", "Cast", "Reshape"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "Add", "Sub", "Mul"}
)
"""what conditions on sizes are made of; none makes more than it is given"""
_MOST_NODES = 200
_SMALL = 64
_ROUNDS = 4


def resolve_branches(model: onnx.ModelProto) -> list[str]:
    """Replace in place every ``If`` of the main graph whose condition is known; gives a note when there was one."""
    taken = 0
    for _ in range(_ROUNDS):  # a branch that was put in place may hold another If
        choices = [node for node in model.graph.node if node.op_type == "If" and node.domain in ("", "ai.onnx")]
        known = _conditions(model, choices) if choices else {}
        if not known:
            break
        _replace(model.graph, known, taken)
        taken += len(known)
    if not taken:
        return []
    del model.graph.value_info[:]
    return [f"{taken} branches (If) were decided by constants or sizes; the graph is audited with the ones taken"]


def _conditions(model: onnx.ModelProto, choices: list[NodeProto]) -> dict[str, bool]:
    """The first output of every If whose condition is known → the condition."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    fed = {value.name for value in model.graph.input}
    shapes = _shapes(model)
    known = {}
    for node in choices:
        name = node.input[0]
        if name in constants and name not in fed and elements(constants[name]) == 1:
            known[node.output[0]] = bool(numpy_helper.to_array(constants[name]).reshape(()))
            continue
        nodes = _ancestors(name, makers, constants, shapes)
        if nodes is not None:
            value = _evaluated(model, nodes, name, constants)
            if value is not None and value.size == 1:
                known[node.output[0]] = bool(value.reshape(()))
    return known


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Sizes of what follows from the input's, -1 where one is open; what the file claims of values is not used."""
    light = without_weights(model)
    with suppress(Exception):  # where inference does not follow the graph, only the input's own sizes are known
        light = onnx.shape_inference.infer_shapes(light)
    found = {}
    for value in (*light.graph.input, *light.graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            found[value.name] = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    return found


def _ancestors(
    name: str, makers: dict[str, NodeProto], constants: dict[str, TensorProto], shapes: dict[str, list[int]]
) -> list[NodeProto] | None:
    """The operations on sizes that ``name`` comes from, in order; None when there are others, or open sizes."""
    ordered: list[NodeProto] = []
    seen: set[str] = set()
    stack = [(name, False)]
    while stack:
        current, ready = stack.pop()
        if current in constants or not current:
            if current and elements(constants[current]) > _SMALL:
                return None
            continue
        node = makers.get(current)
        if node is None or node.op_type not in _SIZE_OPERATIONS or node.domain not in ("", "ai.onnx"):
            return None
        if ready:
            ordered.append(node)
            continue
        stated = _stated(node, makers, constants, shapes)
        if stated is not None:
            ordered.append(stated)
            continue
        if current in seen:
            continue
        seen.add(current)
        if len(seen) > _MOST_NODES:
            return None
        stack.append((current, True))
        if node.op_type in ("Shape", "Size"):
            return None
        stack += [(other, False) for other in node.input]
    return ordered


def _stated(
    node: NodeProto, makers: dict[str, NodeProto], constants: dict[str, TensorProto], shapes: dict[str, list[int]]
) -> NodeProto | None:
    """``Shape``, ``Size`` and ``Gather`` from a shape as the constants that they are; None with an open size."""
    sizes: Numbers | None = None
    if node.op_type == "Shape":
        sizes = _shape(node, shapes)
    elif node.op_type == "Size":
        known = np.array(shapes.get(node.input[0], [-1]), dtype=np.int64)
        sizes = None if (known < 0).any() else np.array(known.prod(), dtype=np.int64)
    elif node.op_type == "Gather" and node.input[0] in makers and makers[node.input[0]].op_type == "Shape":
        shape, index = _shape(makers[node.input[0]], shapes), _constant(node.input[1], makers, constants)
        inside = index is not None and bool(((index >= -len(shape)) & (index < len(shape))).all())
        sizes = shape[index] if inside else None
    if sizes is None or (sizes < 0).any():
        return None
    return helper.make_node("Constant", [], [node.output[0]], value=numpy_helper.from_array(np.asarray(sizes)))


def _shape(node: NodeProto, shapes: dict[str, list[int]]) -> Numbers:
    """The result of ``Shape``, with -1 for open sizes."""
    settings = {attribute.name: attribute.i for attribute in node.attribute}
    sizes = np.array(shapes.get(node.input[0], [-1]), dtype=np.int64)
    return sizes[slice(settings.get("start"), settings.get("end"))]


def _constant(name: str, makers: dict[str, NodeProto], constants: dict[str, TensorProto]) -> Numbers | None:
    tensor = constants.get(name)
    if tensor is None and name in makers and makers[name].op_type == "Constant":
        tensor = next((attribute.t for attribute in makers[name].attribute if attribute.name == "value"), None)
    if tensor is None or elements(tensor) > _SMALL or tensor.data_type not in (TensorProto.INT64, TensorProto.INT32):
        return None
    return np.asarray(numpy_helper.to_array(tensor))


def _evaluated(
    model: onnx.ModelProto, nodes: list[NodeProto], name: str, constants: dict[str, TensorProto]
) -> Numbers | None:
    used = {other for node in nodes for other in node.input if other in constants}
    output = [helper.make_tensor_value_info(name, TensorProto.BOOL, None)]
    graph = helper.make_graph(nodes, "condition", [], output, [constants[other] for other in sorted(used)])
    small = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    try:
        value = ReferenceEvaluator(small).run(None, {})[0]
    except Exception:  # malformed attributes: the If stays and is reported as unsupported
        return None
    return np.asarray(value)


def _replace(graph: onnx.GraphProto, known: dict[str, bool], already: int) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "If" or not node.output or node.output[0] not in known:
            nodes.append(_copy(node))
            continue
        wanted = "then_branch" if known[node.output[0]] else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
        nodes += _unfolded(graph, branch, node, f"branch{already}_")
        already += 1
    del graph.node[:]
    graph.node.extend(nodes)


def _unfolded(graph: onnx.GraphProto, branch: onnx.GraphProto, node: NodeProto, prefix: str) -> list[NodeProto]:
    """The operations of the branch under names of their own; its constants join those of the graph."""
    own = {tensor.name for tensor in branch.initializer} | {name for inner in branch.node for name in inner.output}
    renamed = {name: prefix + name for name in own if name}
    for tensor in branch.initializer:
        constant = graph.initializer.add()
        constant.CopyFrom(tensor)
        constant.name = renamed[tensor.name]
    nodes = [_copy(inner) for inner in branch.node]
    for inner in nodes:
        _rename(inner, renamed)
    for given, made in zip(node.output, branch.output, strict=False):
        nodes.append(helper.make_node("Identity", [renamed.get(made.name, made.name)], [given]))
    return nodes


def _rename(node: NodeProto, renamed: dict[str, str]) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            names[index] = renamed.get(name, name)
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            for inner in graph.node:
                _rename(inner, renamed)
            for value in graph.output:
                value.name = renamed.get(value.name, value.name)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
