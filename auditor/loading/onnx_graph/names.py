"""Names in ONNX graphs: each defined once, before it is used, and never hidden by an inner graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import onnx

from auditor.findings import FileFinding
from auditor.loading.quoting import quoted


class Scope:
    """Names of one graph, on top of those of the graphs around it."""

    def __init__(self, names: Iterable[str], outer: Scope | None = None) -> None:
        self.names = {name for name in names if name}
        self.outer = outer

    def __contains__(self, name: str) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return True
            scope = scope.outer
        return False


def name_findings(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """What is wrong with the names of the model's graphs and functions; sorts operations that are out of order.

    onnxruntime refuses a value that is computed twice or nowhere, sorts operations, and lets the constants of an
    inner graph hide outer ones, where onnx's evaluator takes the outer ones.
    """
    yield from _graph(model.graph, None)
    for function in model.functions:
        yield from _repeated(function.input)
        scope = Scope(function.input)
        _sort(function)
        yield from _body(function.node, scope)
        yield from _missing(function.output, scope)


def _graph(graph: onnx.GraphProto, outer: Scope | None) -> Iterator[FileFinding]:
    inputs = [value.name for value in graph.input]
    constants = [tensor.name for tensor in graph.initializer]
    sparse = [one.values.name for one in graph.sparse_initializer]
    yield from _repeated(inputs)
    yield from _repeated([*set(constants), *sparse])
    scope = Scope((*inputs, *constants, *sparse), outer)
    if outer is not None:
        for name in sorted(scope.names):
            if name in outer:
                yield _shadowed(name)
    _sort(graph)
    yield from _body(graph.node, scope)
    yield from _missing([value.name for value in graph.output], scope)


def _repeated(names: Iterable[str]) -> Iterator[FileFinding]:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            yield _twice(name)
        seen.add(name)


def _body(nodes: Iterable[onnx.NodeProto], scope: Scope) -> Iterator[FileFinding]:
    """Follow the operations in order; the scope grows by what they compute."""
    for node in nodes:
        yield from _missing(node.input, scope)
        for graph in _inner(node):
            yield from _graph(graph, scope)
        for name in node.output:
            if name and name in scope:
                yield _twice(name) if name in scope.names else _shadowed(name)
            scope.names.add(name)


def _missing(names: Iterable[str], scope: Scope) -> Iterator[FileFinding]:
    for name in names:
        if name and name not in scope:
            yield FileFinding(
                "undefined-name",
                "danger",
                f"expected every value to be computed by something before it is used, got {quoted(name)}, which "
                "nothing gives; export the model again",
                quoted(name)[1:-1],
            )


def _twice(name: str) -> FileFinding:
    return FileFinding(
        "duplicate-value",
        "danger",
        f"expected each input, constant and computed value to have its own name, got {quoted(name)} twice; "
        "export the model again",
        quoted(name)[1:-1],
    )


def _shadowed(name: str) -> FileFinding:
    return FileFinding(
        "shadowed-name",
        "danger",
        f"expected inner graphs to leave outer names alone, got {quoted(name)} defined again inside a branch, which "
        "readers resolve differently; export the model again",
        quoted(name)[1:-1],
    )


def _inner(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    found = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += list(attribute.graphs)
    return found


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that an operation reads, with those that the graphs inside it take from outside or give."""
    names = set(node.input)
    for graph in _inner(node):
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names |= reads(inner)
    return names


def _sort(body: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Put operations behind what they read, keeping their order otherwise; a circle stays as it is."""
    nodes = list(body.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    wants = [{maker[name] for name in reads(node) if name in maker} for node in nodes]
    if all(not wanted or max(wanted) < index for index, wanted in enumerate(wants)):
        return
    readers: list[list[int]] = [[] for _ in nodes]
    for index, wanted in enumerate(wants):
        for other in wanted:
            readers[other].append(index)
    open_wants = [len(wanted) for wanted in wants]
    ready = [index for index, count in enumerate(open_wants) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            open_wants[reader] -= 1
            if open_wants[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        return
    copies = [onnx.NodeProto.FromString(nodes[index].SerializeToString()) for index in order]
    del body.node[:]
    body.node.extend(copies)
