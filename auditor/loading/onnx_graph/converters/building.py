"""Build the torch graph of an ONNX graph, operation by operation.

Nothing from the file becomes source text: modules and values get names of their own.
"""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from typing import Any

import onnx
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from torch import fx, nn

from auditor.loading.onnx_graph.converters.elements import CARRIED_TYPE, to_torch, type_name
from auditor.loading.onnx_graph.converters.registration import find_converter

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"})


def build(model: onnx.ModelProto) -> fx.GraphModule:
    """A torch module over the graph's inputs, giving its one output, or a tuple of them.

    Raises NotImplementedError that names every operation, and way of using one, that nothing converts.
    """
    return _Builder(model).module()


class _Builder:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.onnx = OnnxGraph(model.graph)
        self.root = nn.Module()
        self.constants = nn.Module()
        self.root.add_module("initializers", self.constants)
        self.graph = fx.Graph()
        self.values: dict[str, fx.Node] = {}
        self.refused: Counter[str] = Counter()

    def module(self) -> fx.GraphModule:
        for position, name in enumerate(self.onnx.input_values, 1):
            self.values[name] = self.graph.placeholder(f"input_{position}")
        for index, node in enumerate(self.onnx.nodes.values()):
            try:
                self._add(index, node)
            except NotImplementedError as error:  # go on, so that one message names them all
                self.refused[str(error)] += 1
                self.values.update(dict.fromkeys(node.output_values, self.graph.get_attr("initializers")))
        if self.refused:
            reasons = sorted(self.refused.items())
            raise NotImplementedError(
                "; ".join(why if count == 1 else f"{why}, {count} times" for why, count in reasons)
            )
        outputs = tuple(self._value(name) for name in self.onnx.output_values)
        self.graph.output(outputs[0] if len(outputs) == 1 else outputs)
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph)

    def _add(self, index: int, node: OnnxNode) -> None:
        converter = find_converter(node.operation_type, self.opsets.get(node.domain, 0), node.domain)
        if converter is None:
            raise NotImplementedError(f"operation {node.operation_type}")
        self._check_constants(node)
        module, mapping = converter(node, self.onnx)
        plain = node.operation_type.isascii() and node.operation_type.isalnum()
        name = f"{node.operation_type.lower()}_{index}" if plain else f"custom_{index}"
        self.root.add_module(name, module)
        call = self.graph.call_module(name, self._arguments(module, mapping.inputs))
        if len(node.output_values) == 1:
            self.values[node.output_values[0]] = call
            return
        for position, output in enumerate(node.output_values):
            if output:
                self.values[output] = self.graph.call_function(operator.getitem, (call, position))

    def _check_constants(self, node: OnnxNode) -> None:
        """Types carried by a wider one would overflow elsewhere; quantised operations keep to their range."""
        for name in node.input_values:
            kind = self.onnx.initializers[name].proto.data_type if name in self.onnx.initializers else 0
            if kind in CARRIED_TYPE and node.operation_type not in _QUANTISED:
                raise NotImplementedError(f"{node.operation_type} of constants of type {type_name(kind)}")

    def _arguments(self, module: nn.Module, names: tuple[str, ...]) -> tuple[Any, ...]:
        """A skipped input becomes the default of the module's argument, or ``None``."""
        defaults = [parameter.default for parameter in inspect.signature(module.forward).parameters.values()]
        arguments: list[Any] = []
        for position, name in enumerate(names):
            default = defaults[position] if position < len(defaults) else None
            arguments.append(self._value(name) if name else None if default is inspect.Parameter.empty else default)
        return tuple(arguments)

    def _value(self, name: str) -> fx.Node:
        """A value by its ONNX name; a constant is stored when it is first read."""
        if name not in self.values:
            if name not in self.onnx.initializers:
                raise ValueError("an operation reads a value that nothing computes")
            own = f"onnx_initializer_{len(self.constants._buffers)}"
            self.constants.register_buffer(own, to_torch(self.onnx.initializers[name].proto))
            self.values[name] = self.graph.get_attr(f"initializers.{own}")
        return self.values[name]
