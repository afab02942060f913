"""What depends on the image's content in an ONNX graph, and how: traced through names, nothing computed.

Every value is described by what happened to the image on the way to it. Shapes are no content: ``Shape`` and
``Size`` cut the trace, so that the shape arithmetic of exporters stays silent.

The marks are chosen after the architectural backdoors that were published: Bober-Irizar et al., "Architectural
Backdoors in Neural Networks" (2022), where a branch from the raw image joins before the classifier; Langford et al.,
"Architectural Neural Backdoors from First Principles" (2024); HiddenLayer, "ShadowLogic" (2024), where a comparison
on the image selects the answer.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto

from auditor.inspection import operations as ops
from auditor.loading.onnx_graph.tensors import small_values
from auditor.loading.quoting import quoted

STEEP = 1000.0
"""factor before a saturating function from which on it acts as a switch"""
_MOST_ENTRIES = 64
_REPEATED_LEVELS = 2
"""nested loops whose bodies are followed a second time when needed; deeper ones are taken to mix everything"""


@dataclass(frozen=True)
class Value:
    """What is known of one value of the graph."""

    content: bool = False
    """whether it depends on the image, beyond the image's shape"""
    depth: int = 0
    """operations with weights on the longest way from the image"""
    entries: frozenset[int] = frozenset()
    """the first operations with weights on its ways from the image"""
    anchor: int = 0
    """the value that it is an elementwise function of, by number"""
    step: int = 0
    """2: made by a comparison and by no weights since; 1: by rounding or a very steep function; 0: neither"""
    gain: float = 1.0
    """product of the scalar factors since the last weights or bounded function"""
    constant: TensorProto | None = None
    """the stored tensor, where it is one"""
    elements: int = 0
    """of the largest stored tensor behind a value without content"""


@dataclass(frozen=True)
class Visit:
    """One operation with what went in and came out."""

    node: onnx.NodeProto
    op: str
    """operation type; ``domain::type`` outside of ONNX's own domain"""
    operands: tuple[Value, ...]
    result: Value
    where: str
    """name of the node, escaped"""
    level: int
    """0 in the main graph, 1 in a branch or loop body, …"""
    going_on: Value | None = None
    """for a Loop: what its body computes to tell whether it goes on"""


Known = ChainMap[str, Value]
"""values by name, those of the inner graph first"""


@dataclass
class Flow:
    """The trace of one model."""

    visits: list[Visit] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    _count: int = 0
    _functions: dict[tuple[str, str], onnx.FunctionProto] = field(default_factory=dict)

    def number(self) -> int:
        """A number not used before."""
        self._count += 1
        return self._count


def trace(model: onnx.ModelProto) -> Flow:
    """Trace the image through a model whose counts and sizes were checked and whose functions do not recurse."""
    flow = Flow()
    flow._functions = {(f.domain, f.name): f for f in model.functions}
    known: Known = ChainMap()
    _constants(flow, model.graph, known)
    for value in model.graph.input:
        if value.name not in known:
            known[value.name] = Value(content=True, anchor=flow.number())
    _walk(flow, model.graph.node, known, 0)
    flow.outputs = [known.get(value.name, Value()) for value in model.graph.output]
    return flow


def _constants(flow: Flow, graph: onnx.GraphProto, known: Known) -> None:
    for tensor in graph.initializer:
        known[tensor.name] = _constant(flow, tensor)
    for sparse in graph.sparse_initializer:
        known[sparse.values.name] = Value(anchor=flow.number(), elements=_size(sparse.dims))


def _constant(flow: Flow, tensor: TensorProto) -> Value:
    return Value(anchor=flow.number(), constant=tensor, elements=_size(tensor.dims))


def _size(dims: Iterable[int]) -> int:
    size = 1
    for dim in dims:
        size *= max(dim, 0)
    return size


def _walk(flow: Flow, nodes: Iterable[onnx.NodeProto], known: Known, level: int) -> None:
    for node in nodes:
        operands = tuple(known.get(name, Value()) for name in node.input)
        going_on: list[Value] = []
        function = flow._functions.get((node.domain, node.op_type))
        if function is not None and node.domain not in ops.STANDARD:
            results = _call(flow, function, operands, level)
        elif node.domain in ops.STANDARD and node.op_type in ops.CONTROL:
            results = _control(flow, node, operands, known, level, going_on)
        else:
            results = _plain(flow, node, operands)
        for name, value in zip(node.output, results, strict=False):
            if name:
                known[name] = value
        op = ops.canonical(node.domain, node.op_type)
        where = quoted(node.name or (node.output[0] if node.output else ""))[1:-1]
        result = results[0] if results else Value()
        flow.visits.append(Visit(node, op, operands, result, where, level, next(iter(going_on), None)))


def _call(
    flow: Flow, function: onnx.FunctionProto, operands: tuple[Value, ...], level: int
) -> list[Value]:
    known: Known = ChainMap(dict(zip(function.input, operands, strict=False)))
    _walk(flow, function.node, known, level + 1)
    return [known.get(name, Value()) for name in function.output]


def _control(
    flow: Flow, node: onnx.NodeProto, operands: tuple[Value, ...], outer: Known, level: int, going_on: list[Value]
) -> list[Value]:
    """If, Loop, Scan: everything that one of the bodies gives, plus what decides between them."""
    if node.op_type != "Loop":
        return _bodies(flow, node, (), _merged(flow, operands), outer, level)[0]
    rounds, start, *states = [*operands, Value(), Value()][: max(len(operands), 2)]
    deciding = _merged(flow, (rounds, start))
    if level >= _REPEATED_LEVELS:
        states = [_merged(flow, operands)] * len(states)
    results, condition = _bodies(flow, node, (rounds, start, *states), deciding, outer, level)
    if any(after.content and not before.content for before, after in zip(states, results, strict=False)):
        # what one round makes of the image, the next one reads
        states = [_merged(flow, (*operands, *results))] * len(states)
        results, condition = _bodies(flow, node, (rounds, start, *states), deciding, outer, level)
    going_on += condition
    return results


def _bodies(
    flow: Flow, node: onnx.NodeProto, given: tuple[Value, ...], deciding: Value, outer: Known, level: int
) -> tuple[list[Value], list[Value]]:
    """Results of the node, and for a Loop the condition to go on; the bodies' inputs are ``given`` or ``deciding``."""
    results: list[Value] = [deciding] * len(node.output)
    condition: list[Value] = []
    for attribute in node.attribute:
        if not attribute.HasField("g"):
            continue
        known = outer.new_child()
        _constants(flow, attribute.g, known)
        for index, value in enumerate(attribute.g.input):
            known[value.name] = given[index] if index < len(given) else deciding
        _walk(flow, attribute.g.node, known, level + 1)
        made = [known.get(value.name, Value()) for value in attribute.g.output]
        if node.op_type == "Loop":
            condition += made[:1]
            made = made[1:]
        for index, value in enumerate(made[: len(results)]):
            results[index] = _merged(flow, (results[index], value))
    return results, condition


def _merged(flow: Flow, values: tuple[Value, ...]) -> Value:
    content = [value for value in values if value.content]
    if not content:
        return Value(anchor=flow.number(), elements=max((value.elements for value in values), default=0))
    return Value(
        content=True,
        depth=max(value.depth for value in content),
        entries=_entries(content),
        anchor=flow.number(),
        step=max(value.step for value in content),
    )


def _plain(flow: Flow, node: onnx.NodeProto, operands: tuple[Value, ...]) -> list[Value]:
    op = ops.canonical(node.domain, node.op_type)
    if op == "Constant":
        tensor = next((a.t for a in node.attribute if a.HasField("t")), None)
        return [Value(anchor=flow.number()) if tensor is None else _constant(flow, tensor)]
    if op in ops.SHAPE_ONLY:
        return [Value(anchor=flow.number())] * len(node.output)
    content = [value for value in operands if value.content]
    if not content:
        return [_without_content(flow, op, operands)] * len(node.output)
    number = flow.number()
    weighted = op in ops.WEIGHTED and len(content) < len([name for name in node.input if name])
    entries = _entries(content)
    anchors = {value.anchor for value in content}
    elementwise = op in ops.ELEMENTWISE and len(anchors) == 1
    gain = 1.0 if weighted or op in ops.SATURATING else _gain(op, operands)
    value = Value(
        content=True,
        depth=max(value.depth for value in content) + weighted,
        entries=entries or (frozenset({number}) if weighted else frozenset()),
        anchor=anchors.pop() if elementwise else number,
        step=_step(op, node, operands, weighted),
        gain=gain,
    )
    if op == "TopK":  # its second output says which, its first how much
        index = Value(True, value.depth, value.entries, flow.number(), 1)
        return [Value(True, value.depth, value.entries, number), index]
    return [value] * len(node.output)


def _entries(values: list[Value]) -> frozenset[int]:
    """Union of the entries; the first few stand for all of a number that only a hostile graph has."""
    union = frozenset[int]().union(*(value.entries for value in values))
    return union if len(union) <= _MOST_ENTRIES else frozenset(sorted(union)[:_MOST_ENTRIES])


def _without_content(flow: Flow, op: str, operands: tuple[Value, ...]) -> Value:
    if op in ("Identity", "Cast") and operands:
        return operands[0]
    return Value(anchor=flow.number(), elements=max((value.elements for value in operands), default=0))


def _step(op: str, node: onnx.NodeProto, operands: tuple[Value, ...], weighted: bool) -> int:
    content = [value for value in operands if value.content]
    if op in ops.COMPARING:
        return 2
    if op in ops.ROUNDING:
        return max(1, *(value.step for value in content))
    if op in ("Cast", "CastLike"):
        to = next((a.i for a in node.attribute if a.name == "to"), TensorProto.FLOAT)
        made = 2 if to == TensorProto.BOOL else 1 if to in ops.INTEGERS else 0
        return max(made, content[0].step)
    if op in ops.SATURATING and content[0].gain >= STEEP:
        return 1
    if op == "Where":
        content = [value for value in operands[1:] if value.content]
        return 2 if all(value.step for value in content) else 0
    if not all(value.step for value in content):
        return 0
    step = max(value.step for value in content)
    if weighted:  # binary networks put signs through weights; a flag times a row of scores is a product too
        return (1 if step == 2 else 0) if "Conv" in op else (2 if step == 2 else 0)
    return step


def _gain(op: str, operands: tuple[Value, ...]) -> float:
    gain = max(value.gain for value in operands if value.content)
    others = [value.constant for value in operands if not value.content and value.constant is not None]
    if op not in ("Mul", "Div") or len(others) != 1:
        return gain
    numbers = [abs(number) for number in small_values(others[0]) if number]
    if not numbers:
        return gain
    return gain * max(numbers) if op == "Mul" else gain / min(numbers)
