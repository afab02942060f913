"""An exported program with a literal batch, at any batch: its sizes follow the batch of the images.

Exporters write the batch of the example into reshapes, expansions and new tensors. The graph is run at two batch
sizes, node by node; where the axis of the batch goes into a literal size, that size becomes a multiple of the batch.
The result is kept only when it gives every image the scores that the original gives it, which the caller checks.
"""

from __future__ import annotations

import copy
import math
import operator
from typing import Any

import torch
from torch import Tensor, fx

_RESHAPES = frozenset({"view", "reshape", "_unsafe_view"})
_REPEATS = frozenset({"expand", "repeat"})
_MAKERS = frozenset({"zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"})


def rebatched(module: fx.GraphModule, images: Tensor) -> fx.GraphModule | None:
    """A copy that may run at any batch, from a program that takes ``images`` (N, …); ``None`` where that fails."""
    freed = copy.deepcopy(module)
    twins = {node.name: node for node in freed.graph.nodes}
    source = next(node for node in freed.graph.nodes if node.op == "placeholder")
    with freed.graph.inserting_after(source):
        count = freed.graph.call_function(torch.ops.aten.sym_size.int, (source, 0))
    literal: dict[str, Any] = {}
    free: dict[str, Any] = {count.name: len(images) + 1}
    images, more = images.clone(), torch.cat([images, images[:1]])
    try:
        with torch.no_grad():
            for node in list(module.graph.nodes):
                literal[node.name] = _value(module, node, node, literal, images)
                twin = twins[node.name]
                _scale(node, twin, count, literal, free, len(images))
                free[node.name] = _value(freed, node, twin, free, more)
    except Exception:  # whatever a graph whose batch went elsewhere raises
        return None
    freed.recompile()
    return freed


def _value(module: fx.GraphModule, kind: fx.Node, node: fx.Node, values: dict[str, Any], images: Tensor) -> Any:
    """What a node gives; sizes that were made to follow the batch are computed on the way."""
    if kind.op == "placeholder":
        return images
    if kind.op == "get_attr":
        return getattr(module, str(kind.target))
    if kind.op == "output":
        return None

    def known(argument: fx.Node) -> Any:
        if argument.name not in values:  # a size that `_scale` added
            count, factor = argument.args
            assert isinstance(count, fx.Node)
            values[argument.name] = values[count.name] * factor
        return values[argument.name]

    assert callable(node.target)
    return node.target(*fx.map_arg(node.args, known), **fx.map_arg(node.kwargs, known))


def _scale(
    node: fx.Node, twin: fx.Node, count: fx.Node, literal: dict[str, Any], free: dict[str, Any], batch: int
) -> None:
    """Make the literal size that holds the batch follow it, in ``twin``."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return
    name = node.target._schema.name.removeprefix("aten::")
    place = next((i for i, a in enumerate(node.args) if isinstance(a, (list, tuple)) and a), None)
    if place is None or name not in _RESHAPES | _REPEATS | _MAKERS:
        return
    sizes = list(node.args[place])  # type: ignore[arg-type]
    given = node.args[0] if isinstance(node.args[0], fx.Node) else None
    before = tuple(literal[given.name].shape) if given is not None else ()
    after = tuple(free[given.name].shape) if given is not None else ()
    moved = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if name in _RESHAPES:
        index = _holding(before, moved[0], tuple(literal[node.name].shape), batch) if moved else None
    elif name in _REPEATS and moved:
        index = len(sizes) - len(before) + moved[0] if name == "expand" else None
    else:
        index = 0 if sizes[0] == batch else None
    size = None if index is None else sizes[index]
    if index is None or type(size) is not int or size < batch or size % batch:
        return
    with twin.graph.inserting_before(twin):
        sizes[index] = twin.graph.call_function(operator.mul, (count, size // batch))
    original = list(twin.args[place])  # type: ignore[arg-type]
    original[index] = sizes[index]
    twin.update_arg(place, original)


def _holding(before: tuple[int, ...], axis: int, after: tuple[int, ...], batch: int) -> int | None:
    """The axis of a reshaped tensor that the batch goes into, from ``axis`` before; ``None`` where none can take it.

    The batch is a factor of the axis: all of it, its outermost part (windows, heads), or its innermost one (a sequence
    whose axes were merged). The elements below that factor are as many before and after.
    """
    lowest = math.prod(before[axis + 1 :])
    found: list[tuple[bool, bool, int]] = []
    for below in dict.fromkeys((lowest * before[axis] // batch, lowest)):
        for j, size in enumerate(after):
            stride = math.prod(after[j + 1 :])
            if size % batch == 0 and stride and below % stride == 0 and stride * size % (below * batch) == 0:
                outermost = stride * size == below * batch
                # with a batch of 1 several fit: attention keeps three axes and splits, a linear layer merges to two
                found.append((size != batch or stride != below, outermost != (len(after) > 2), j))
    return min(found)[2] if found else None
