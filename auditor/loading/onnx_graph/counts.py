"""How much an ONNX graph asks for: operations, nesting, constants, names, all counted before anything is built."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.tensors import elements, graphs, nodes, tensors
from auditor.loading.quoting import quoted


def check_counts(model: onnx.ModelProto, limits: Limits) -> None:
    """Raise ModelFileError when the model exceeds a limit, naming the limit."""
    inner = depth = 0
    for graph, level in graphs(model):
        depth = max(depth, level)
        if level:
            inner += len(graph.node)
        if depth > limits.subgraph_depth:
            raise too_many("levels of graphs inside graphs", depth, limits.subgraph_depth, "subgraph_depth")
    if inner > limits.subgraph_nodes:
        raise too_many("operations in sub-graphs", inner, limits.subgraph_nodes, "subgraph_nodes")
    total = _expanded(model, limits)
    if total > limits.nodes:
        raise too_many("operations", total, limits.nodes, "nodes")
    _check_tensors(model, limits)
    _check_names(model, limits)


def too_many(what: str, count: int, most: int, limit: str) -> ModelFileError:
    """The error for a count above its limit."""
    return ModelFileError(
        f"expected at most {most:,} {what}, got {count:,}; audit a smaller export, or raise limits.{limit}"
    )


def _expanded(model: onnx.ModelProto, limits: Limits) -> int:
    """Operations once every local function is written out where it is called.

    A function that calls another one twice doubles it, so the count is taken from the definitions.
    """
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above or len(above) > limits.subgraph_depth * 4:
            raise ModelFileError(
                f"expected local functions that do not call themselves, got {quoted(key[1])}; export the model again "
                "with its functions inlined"
            )
        if key not in sizes:
            sizes[key] = min(count(functions[key].node, (*above, key)), 1 << 62)
        return sizes[key]

    def count(body: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        found = 0
        for node in body:
            key = (node.domain, node.op_type)
            found += size(key, above) if key in functions else 1
            for attribute in node.attribute:
                inside = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
                found += sum(count(graph.node, above) for graph in inside)
        return found

    for key in functions:
        size(key, ())
    return count(model.graph.node, ())


def _check_tensors(model: onnx.ModelProto, limits: Limits) -> None:
    count = total = 0
    for tensor in tensors(model):
        size = elements(tensor)
        if size < 0:
            raise ModelFileError("expected constants of non-negative size, got a negative dimension; export again")
        if size > limits.tensor_elements:
            raise too_many(f"elements in {quoted(tensor.name)}", size, limits.tensor_elements, "tensor_elements")
        count += 1
        total += 4 * size
    if count > limits.initializers:
        raise too_many("constants", count, limits.initializers, "initializers")
    if total > limits.weight_bytes:
        raise too_many("weight bytes", total, limits.weight_bytes, "weight_bytes")
    for graph, _ in graphs(model):
        for sparse in graph.sparse_initializer:
            size = 1
            for dim in sparse.dims:
                size *= max(dim, 0)
            if size > limits.tensor_elements:
                raise too_many("elements in a sparse constant", size, limits.tensor_elements, "tensor_elements")


def _check_names(model: onnx.ModelProto, limits: Limits) -> None:
    def texts() -> Iterable[str]:
        for node in nodes(model):
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                yield attribute.name
        for graph, _ in graphs(model):
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield value.name
        for tensor in tensors(model):
            yield tensor.name

    longest = max(map(len, texts()), default=0)
    if longest > limits.name_characters:
        raise too_many("characters in a name", longest, limits.name_characters, "name_characters")
