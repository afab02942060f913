"""Compute once what does not depend on the image, and free the batch size.

A converted graph recomputes its shapes, axes and masks as small tensors at every call, and a graph exported
with a literal batch of 1 runs at batch 1 alone. Both are settled by running it at two batch sizes and
watching:

- a value computed from constants and shapes that is the same in both runs becomes a constant;
- an integer that grows in proportion to the batch becomes an expression of the batch size;
- in a graph with a literal batch, a Reshape or Expand whose input grew along one axis has its literal target
  grow along the matching one, and a constant that is concatenated to a batch is repeated for every image.

Nothing is taken on trust: the caller compares the result with the file's own meaning (``verify``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from auditor.loading.limits import DEFAULT_LIMITS
from auditor.loading.onnx_graph.converters import StaticArguments
from auditor.loading.onnx_graph.converters.shapes import Shape, Size
from auditor.loading.onnx_graph.rebatch import Repair, Shapes

Probe = Callable[[int], Tensor]
Values = dict[fx.Node, Any]

_CONVERTED = "call_module"


def specialise(module: fx.GraphModule, probe: Probe, batches: tuple[int, int], literal_batch: bool) -> None:
    """Rewrite the graph of ``module`` in place for the batch sizes seen.

    ``probe(n)`` gives n images; ``batches`` are two sizes to watch, equal when the graph runs at one size
    only. With ``literal_batch`` the first is the file's own and the graph is repaired to run at the second.
    Raises whatever the graph raises when it cannot run at a size; the graph is then half rewritten: put back
    a copy.
    """
    first, second = batches
    placeholder = next(node for node in module.graph.nodes if node.op == "placeholder")
    with module.graph.inserting_after(placeholder):
        batch = module.graph.call_method("size", (placeholder, 0))
    from_image = _depending(module, at_shapes=False)
    before = _Watch(module, keep=lambda node: node not in from_image)
    before.run(probe(first))
    rewrite = _Rewrite(module, batch, batches, before.values, before.values)
    rewrite.fold_constants()
    if first != second:
        repair = Repair(module, batch, first, before.shapes) if literal_batch else None
        after = _Watch(module, keep=lambda node: node not in from_image, repair=repair)
        after.run(probe(second))
        rewrite.after = after.values
    for node in list(module.graph.nodes):
        rewrite.fold(node, lambda argument: argument not in from_image)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()


def fold_constants(module: fx.GraphModule) -> None:
    """Turn constant shapes, axes and bounds into numbers: all there is to do when image sizes may vary."""
    placeholder = next(node for node in module.graph.nodes if node.op == "placeholder")
    _Rewrite(module, placeholder, (1, 1), {}, {}).fold_constants()
    module.recompile()


def copied(graph: fx.Graph) -> fx.Graph:
    """A copy of a graph, over the same modules."""
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    return copy


def drop_unused(module: fx.GraphModule) -> None:
    """Free the modules and constants that the graph does not read any more."""
    module.delete_all_unused_submodules()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in module.named_buffers() if name.startswith(("initializers.", "folded_"))]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)


def _depending(module: fx.GraphModule, at_shapes: bool) -> set[fx.Node]:
    """Nodes whose value depends on the image, or, with ``at_shapes``, on its shape alone as well."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            found.add(node)
        elif any(argument in found for argument in node.all_input_nodes):
            reads_shape = node.op == _CONVERTED and isinstance(module.get_submodule(str(node.target)), (Shape, Size))
            if at_shapes or not (reads_shape or (node.op == "call_method" and node.target == "size")):
                found.add(node)
    return found


class _Watch(fx.Interpreter):
    """Run the graph once, noting the shape of every tensor and the values that are asked for."""

    def __init__(self, module: fx.GraphModule, keep: Callable[[fx.Node], bool], repair: Repair | None = None) -> None:
        super().__init__(module)
        self.keep, self.repair = keep, repair
        self.shapes: Shapes = {}
        self.values: Values = {}

    def run(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        if self.repair is not None:
            self.repair(n, self.env)
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        if n.op != "get_attr" and self.keep(n):
            self.values[n] = value
        return value


class _Rewrite:
    """Replace arguments that do not depend on the image."""

    def __init__(
        self, module: fx.GraphModule, batch: fx.Node, batches: tuple[int, int], before: Values, after: Values
    ) -> None:
        self.module, self.batch, self.batches = module, batch, batches
        self.before, self.after = before, after
        self.buffers: dict[fx.Node, fx.Node] = {}

    def fold_constants(self) -> None:
        """Fold what depends neither on the image nor on its shape."""
        varying = _depending(self.module, at_shapes=True)
        for node in list(self.module.graph.nodes):
            self.fold(node, lambda argument: argument not in varying)

    def fold(self, node: fx.Node, foldable: Callable[[fx.Node], bool]) -> None:
        if node.op != _CONVERTED:
            return
        module = self.module.get_submodule(str(node.target))
        static_from, most = len(node.args), 0
        if isinstance(module, StaticArguments):
            static_from, most = module.data_arguments, module.most_numbers
        arguments = []
        for position, argument in enumerate(node.args):
            if isinstance(argument, fx.Node) and foldable(argument):
                arguments.append(self._folded(node, argument, most if position >= static_from else 0))
            else:
                arguments.append(argument)
        keywords = {
            name: self._folded(node, argument, most)
            if isinstance(argument, fx.Node) and foldable(argument)
            else argument
            for name, argument in node.kwargs.items()
        }
        node.args, node.kwargs = tuple(arguments), keywords

    def _folded(self, node: fx.Node, argument: fx.Node, most: int) -> Any:
        """A number or list when it has at most ``most`` entries, else a buffer; the argument itself if it
        varies."""
        if argument.op == "get_attr":
            value = _attribute(self.module, str(argument.target))
            return value.tolist() if value.numel() <= most else argument
        if argument is self.batch or argument not in self.before:
            return argument
        before, after = self.before[argument], self.after[argument]
        if not isinstance(before, Tensor) or before.shape != after.shape:
            return argument
        if torch.equal(before, after):
            if before.numel() <= most:
                return before.tolist()
            return self._buffer(argument, before)
        expressions = self._expressions(node, before, after) if before.numel() <= min(most, 64) else None
        return argument if expressions is None else expressions

    def _buffer(self, argument: fx.Node, value: Tensor) -> fx.Node:
        if value.numel() > DEFAULT_LIMITS.folded_elements:
            return argument
        if argument not in self.buffers:
            name = f"folded_{len(self.buffers)}"
            self.module.register_buffer(name, value.clone())
            with self.module.graph.inserting_after(argument):
                self.buffers[argument] = self.module.graph.get_attr(name)
        return self.buffers[argument]

    def _expressions(self, node: fx.Node, before: Tensor, after: Tensor) -> Any:
        """Each entry as slope · batch + offset, when whole numbers fit both runs."""
        if before.is_floating_point() or before.dtype == torch.bool or before.dim() > 1:
            return None
        entries = []
        first, second = self.batches
        for low, high in zip(before.reshape(-1).tolist(), after.reshape(-1).tolist(), strict=True):
            slope, rest = divmod(high - low, second - first)
            if rest:
                return None
            entries.append(_line(self.module.graph, node, self.batch, slope, low - slope * first))
        return entries if before.dim() else entries[0]


def _line(graph: fx.Graph, node: fx.Node, batch: fx.Node, slope: int, offset: int) -> Any:
    if slope == 0:
        return offset
    value: fx.Node = batch
    with graph.inserting_before(node):
        if slope != 1:
            value = graph.call_function(operator.mul, (batch, slope))
        if offset:
            value = graph.call_function(operator.add, (value, offset))
    return value


def _attribute(module: torch.nn.Module, target: str) -> Tensor:
    owner, _, name = target.rpartition(".")
    value: Tensor = getattr(module.get_submodule(owner), name)
    return value
