"""Registering converters with onnx2torch: what it lacks, and where its own are slower or less exact.

A converter is a function from an ONNX node and its graph to a torch module and the names of the values it
reads.
``@converter("Reshape", 5, 13, ...)`` names an operation and the schema versions it is right for. They are
put into onnx2torch's registry while a model is converted and taken out again, so that other users of
onnx2torch in the same process see no change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from onnx2torch.node_converters import registry as onnx2torch_registry
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import nn

Converter = Callable[[OnnxNode, OnnxGraph], OperationConverterResult]

OURS: dict[tuple[str, int], Converter] = {}
"""Converters of this package, by operation and schema version."""


class StaticArguments(nn.Module):
    """A module whose arguments after the image-like ones may be tensors or plain Python numbers and lists.

    Shapes, axes and bounds are tensors in ONNX. ``onnx_specialise`` replaces them by numbers when they do
    not depend on the image, so that a forward pass neither builds nor reads back small tensors.
    """

    data_arguments = 1
    """How many leading arguments stay tensors."""

    most_numbers = 4096
    """A static argument with more entries stays a tensor."""


def converter(operation: str, *versions: int) -> Callable[[Converter], Converter]:
    """Declare a converter for an operation at the given schema versions."""

    def declare(function: Converter) -> Converter:
        for version in versions:
            if (operation, version) in OURS:
                raise ValueError(f"{operation} version {version} has two converters")
            OURS[operation, version] = function
        return function

    return declare


@contextmanager
def registered() -> Iterator[None]:
    """Hold this package's converters in onnx2torch's registry; the registry is as before afterwards."""
    table: dict[Any, Any] = onnx2torch_registry._CONVERTER_REGISTRY
    before = dict(table)
    try:
        for (operation, version), function in OURS.items():
            table.pop(onnx2torch_registry.OperationDescription("", operation, version), None)
            onnx2torch_registry.add_converter(operation_type=operation, version=version)(function)
        yield
    finally:
        table.clear()
        table.update(before)


def result(node: OnnxNode, module: nn.Module, inputs: tuple[str, ...] | None = None) -> OperationConverterResult:
    """Pair a module with the values it reads: all inputs of the node unless ``inputs`` names some."""
    names = tuple(node.input_values) if inputs is None else inputs
    while names and not names[-1]:
        names = names[:-1]
    return OperationConverterResult(
        torch_module=module, onnx_mapping=OnnxMapping(inputs=names, outputs=node.output_values)
    )


def integers(value: torch.Tensor | list[int] | tuple[int, ...] | int) -> list[int]:
    """A list of ints from a static argument, whichever form it has."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    return [int(value)] if isinstance(value, (int, float)) else [int(entry) for entry in value]


def constant(name: str, graph: OnnxGraph) -> torch.Tensor | None:
    """The initializer of that name, or ``None`` when the value is computed."""
    return graph.initializers[name].to_torch() if name in graph.initializers else None
