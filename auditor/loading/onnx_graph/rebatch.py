"""Repair a graph with a literal batch size while it runs at another one (see ``specialise``)."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from onnx2torch.node_converters.concat import OnnxConcat
from torch import Tensor, fx

from auditor.loading.onnx_graph.converters.shapes import Expand, Reshape

Shapes = dict[fx.Node, tuple[int, ...]]


class Repair:
    """Give literal targets the batch size of the run, watching how their inputs grew since the first run."""

    def __init__(self, module: fx.GraphModule, batch: fx.Node, first: int, shapes: Shapes) -> None:
        self.module, self.batch, self.first, self.shapes = module, batch, first, shapes

    def __call__(self, node: fx.Node, env: dict[fx.Node, Any]) -> None:
        if node.op != "call_module":
            return
        module = self.module.get_submodule(str(node.target))
        if isinstance(module, (Reshape, Expand)) and _all_ints(node.args[1]):
            source = node.args[0]
            if not isinstance(source, fx.Node) or source not in self.shapes:
                return
            axis = _grown_axis(self.shapes[source], tuple(env[source].shape))
            target = list(self.shapes[node])
            chosen = self._axis_in_target(module, self.shapes[source], target, axis)
            if chosen is not None:
                entry = self._scaled(node, env, target[chosen])
                node.args = (source, [*target[:chosen], entry, *target[chosen + 1 :]])
        elif isinstance(module, OnnxConcat):
            self._repeat_constants(node, module, env)

    def _axis_in_target(self, module: Any, source: tuple[int, ...], target: list[int], axis: int | None) -> int | None:
        if isinstance(module, Expand):
            if axis is not None:
                return axis + len(target) - len(source)
            widened = bool(target) and target[0] == self.first > 1 and (len(source) < len(target) or source[0] == 1)
            return 0 if widened else None
        if axis is None:
            return None
        ahead = math.prod(source[:axis])
        fitting = [
            position
            for position, size in enumerate(target)
            if math.prod(target[:position]) == ahead and size % self.first == 0
        ]
        same = [position for position in fitting if position == axis]
        return next(iter(same or fitting), None)

    def _repeat_constants(self, node: fx.Node, module: OnnxConcat, env: dict[fx.Node, Any]) -> None:
        grown: int | None = None
        for argument in node.args:
            if isinstance(argument, fx.Node) and argument in self.shapes:
                axis = _grown_axis(self.shapes[argument], tuple(env[argument].shape))
                grown = axis if axis is not None else grown
        if grown is None or grown == module.axis:
            return
        arguments = []
        for argument in node.args:
            if isinstance(argument, fx.Node) and tuple(env[argument].shape) == self.shapes.get(argument):
                argument = self._repeated(node, argument, grown, env)
            arguments.append(argument)
        node.args = tuple(arguments)

    def _repeated(self, node: fx.Node, argument: fx.Node, axis: int, env: dict[fx.Node, Any]) -> fx.Node:
        value = env[argument]
        one = value.narrow(axis, 0, 1)
        if value.shape[axis] != self.first or not torch.equal(value, one.expand_as(value)):
            return argument
        with self.module.graph.inserting_before(node):
            repeated = self.module.graph.call_function(repeat_along, (argument, axis, self.batch))
        env[repeated] = repeat_along(value, axis, env[self.batch])
        return repeated

    def _scaled(self, node: fx.Node, env: dict[fx.Node, Any], size: int) -> Any:
        if size == self.first:
            return self.batch
        with self.module.graph.inserting_before(node):
            product = self.module.graph.call_function(operator.mul, (self.batch, size // self.first))
        env[product] = env[self.batch] * (size // self.first)
        return product


def repeat_along(x: Tensor, axis: int, length: int) -> Tensor:
    """The first entry along ``axis``, ``length`` times, without copying."""
    return x.narrow(axis, 0, 1).expand(*x.shape[:axis], length, *x.shape[axis + 1 :])


def _all_ints(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(entry, int) for entry in value)


def _grown_axis(before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    """The one axis along which a tensor grew with the batch; ``None`` when it did not grow."""
    changed = [axis for axis, (low, high) in enumerate(zip(before, after, strict=True)) if low != high]
    return changed[0] if len(changed) == 1 else None
