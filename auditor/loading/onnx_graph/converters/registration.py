"""Finding the converter of an operation: this package's or an installed plugin's.

A converter is a function from an ONNX node and its graph to a torch module and the names of the values it
reads. ``@converter("Reshape", 5, 13, ...)`` names an operation and the schema versions it is right for.
onnx2torch's own converters are used where ``aliases`` lists them, and its registry is never changed.

A plugin is an installed package with an entry point in the group ``auditor.onnx_converters``, which names a
module, or a function without arguments, that declares converters when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import nn

from auditor import registry
from auditor.errors import ConfigError
from auditor.loading.onnx_graph.converters.elements import to_torch

Converter = Callable[[OnnxNode, OnnxGraph], OperationConverterResult]

CONVERTERS = "auditor.onnx_converters"
"""The entry-point group of converters from outside."""

OURS: dict[tuple[str, int], Converter] = {}
"""Converters for operations of ONNX's own domain, by operation and schema version."""

FOREIGN: dict[tuple[str, str], Converter] = {}
"""Converters for operations of other domains, by domain and operation, whatever the version."""

_loaded_plugins: set[str] = set()


class StaticArguments(nn.Module):
    """A module whose arguments after the image-like ones may be tensors or plain Python numbers and lists.

    Shapes, axes and bounds are tensors in ONNX. ``specialise`` replaces them by numbers when they do
    not depend on the image, so that a forward pass neither builds nor reads back small tensors.
    """

    data_arguments = 1
    """How many leading arguments stay tensors."""

    most_numbers = 4096
    """A static argument with more entries stays a tensor."""


def converter(operation: str, *versions: int, domain: str = "") -> Callable[[Converter], Converter]:
    """Declare a converter for an operation at the given schema versions, or of another ``domain``.

    Raises ValueError for a version that has a converter already.
    """

    def declare(function: Converter) -> Converter:
        if domain:
            FOREIGN[domain, operation] = function
        for version in versions if not domain else ():
            if (operation, version) in OURS:
                raise ValueError(f"{operation} version {version} has two converters")
            OURS[operation, version] = function
        return function

    return declare


def load_plugins() -> None:
    """Load the entry points of the group, once. Raises ConfigError for a plugin that fails."""
    for name in registry.names(CONVERTERS):
        if name not in _loaded_plugins:
            plugin = registry.load(CONVERTERS, name)
            try:
                if callable(plugin):
                    plugin()
            except Exception as error:
                raise ConfigError(
                    f"expected plugin '{name}' to register its ONNX converters, got {type(error).__name__}: {error}; "
                    "reinstall or remove the package that brings it"
                ) from error
            _loaded_plugins.add(name)


def find_converter(operation: str, opset: int, domain: str = "") -> Converter | None:
    """The converter of an operation at an opset of its domain; ``None`` when nothing converts it."""
    if domain:
        return FOREIGN.get((domain, operation))
    return OURS.get((operation, since_version(operation, opset)))


def since_version(operation: str, opset: int) -> int:
    """The version of the operation's schema that holds at an opset; 0 when ONNX has no such operation."""
    try:
        return int(onnx.defs.get_schema(operation, max_inclusive_version=opset, domain="").since_version)
    except (onnx.defs.SchemaError, TypeError):  # an opset beyond 32 bits is no number to it
        return 0


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
    return to_torch(graph.initializers[name].proto) if name in graph.initializers else None


def wants(node: OnnxNode, output: int) -> bool:
    """Whether the graph names that output of the node."""
    return len(node.output_values) > output and bool(node.output_values[output])
