"""Operations that make a large tensor from a few bytes, found from the sizes that the file states.

``ConstantOfShape``, ``Expand``, ``Tile``, ``Resize``, ``Range`` and ``Pad`` take their size from a constant; chains of
``Concat``, broadcasting and outer products multiply sizes without one. The first are read off here before any other
code sees the graph. For the others onnx's shape inference is asked, on a copy without weights, where it computes
shapes and never values. Sizes that the graph computes as it runs are limited by the converters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx
import onnx.shape_inference
from onnx import TensorProto

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.counts import too_many
from auditor.loading.onnx_graph.tensors import elements, graphs, small_values
from auditor.loading.quoting import quoted

_KEPT = 64
"""elements up to which a constant is kept for shape inference: sizes and axes, but no weights"""
_UNKNOWN = 1
_SIZE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "CenterCropPad": 1, "AffineGrid": 1}
"""the operand that is the shape of the result"""
_SIZE_ATTRIBUTE = {"RandomNormal": "shape", "RandomUniform": "shape", "ConvTranspose": "output_shape"}


class _Sizes:
    """Constants that hold sizes, and the shapes of what is known to have one, by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants: dict[str, list[float]] = {}
        self.counts: dict[str, int] = {}
        for tensor in graph.initializer:
            self.keep(tensor.name, tensor)
        for value in graph.input:
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            self.counts.setdefault(value.name, math.prod(max(dim, _UNKNOWN) for dim in dims[1:]))

    def keep(self, name: str, tensor: TensorProto) -> None:
        self.constants[name] = small_values(tensor)
        self.counts[name] = max(elements(tensor), 1)

    def of(self, node: onnx.NodeProto, index: int) -> list[float]:
        return self.constants.get(node.input[index], []) if index < len(node.input) else []

    def count(self, node: onnx.NodeProto, index: int = 0) -> int:
        return self.counts.get(node.input[index], _UNKNOWN) if index < len(node.input) else _UNKNOWN


def check_sizes(model: onnx.ModelProto, limits: Limits) -> None:
    """Raise ModelFileError when a tensor of the graph would exceed ``limits.tensor_elements`` for one image."""
    for graph, _ in graphs(model):
        sizes = _Sizes(graph)
        for node in graph.node:
            _check_node(node, sizes, limits)
    for function in model.functions:
        sizes = _Sizes(onnx.GraphProto())
        for node in function.node:
            _check_node(node, sizes, limits)
    _check_inferred(model, limits)


def _check_node(node: onnx.NodeProto, sizes: _Sizes, limits: Limits) -> None:
    if node.op_type == "Constant" and node.output:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                sizes.keep(node.output[0], attribute.t)
            elif attribute.name in ("value_int", "value_float"):
                sizes.constants[node.output[0]] = [float(attribute.i or attribute.f)]
            elif attribute.name in ("value_ints", "value_floats") and len(attribute.ints) <= _KEPT:
                sizes.constants[node.output[0]] = [float(one) for one in (*attribute.ints, *attribute.floats)][:_KEPT]
        return
    if node.op_type in ("Identity", "Cast") and node.input and node.output:
        sizes.constants[node.output[0]] = sizes.of(node, 0)
        sizes.counts[node.output[0]] = sizes.count(node)
        return
    count = _asked(node, sizes)
    if not count <= limits.tensor_elements:  # NaN is refused too
        shown = math.inf if not math.isfinite(count) else int(count)
        raise ModelFileError(
            f"expected tensors of at most {limits.tensor_elements:,} elements, got {quoted(node.op_type)} "
            f"{quoted(node.name)} that asks for {shown:,}; audit a smaller export, or raise limits.tensor_elements"
        )
    if count > _UNKNOWN and node.output:
        sizes.counts[node.output[0]] = int(count)


def _asked(node: onnx.NodeProto, sizes: _Sizes) -> float:
    """Elements that an operation is told to make, or 1 when its size does not come from constants."""
    op = node.op_type
    settings = {attribute.name: attribute for attribute in node.attribute}
    if op in _SIZE_INPUT:
        return _product(sizes.of(node, _SIZE_INPUT[op]))
    if op in ("Tile", "OneHot"):
        return _product(sizes.of(node, 1)) * sizes.count(node)
    if op in ("Upsample", "Resize"):
        return _resized(node, sizes, settings)
    if op == "Range":
        return _ranged([sizes.of(node, i) for i in range(3)])
    if op == "Pad":
        return _padded(sizes.of(node, 1) or ([float(n) for n in settings["pads"].ints] if "pads" in settings else []))
    if op in _SIZE_ATTRIBUTE and _SIZE_ATTRIBUTE[op] in settings:
        return _product(settings[_SIZE_ATTRIBUTE[op]].ints)
    return _UNKNOWN


def _ranged(bounds: list[list[float]]) -> float:
    if not all(bounds):
        return _UNKNOWN
    start, limit, step = (bound[0] for bound in bounds)
    return max(0.0, (limit - start) / step) if step else math.inf


def _padded(pads: list[float]) -> float:
    half = len(pads) // 2
    return _product(1 + max(0.0, a) + max(0.0, b) for a, b in zip(pads[:half], pads[half:], strict=False))


def _resized(node: onnx.NodeProto, sizes: _Sizes, settings: dict[str, onnx.AttributeProto]) -> float:
    if node.op_type == "Resize" and len(node.input) > 3 and node.input[3]:
        return _product(sizes.of(node, 3))
    scales = sizes.of(node, 1 if node.op_type == "Upsample" or len(node.input) == 2 else 2)
    if not scales and "scales" in settings:
        scales = [float(scale) for scale in settings["scales"].floats]
    return _product(scales) * sizes.count(node) if scales else _UNKNOWN


def _product(numbers: Iterable[float]) -> float:
    """Product of sizes; -1 (keep) and 0 (copy) count as one."""
    product = 1.0
    for number in numbers:
        product *= number if not number <= 0 else 1.0
    return product


def _check_inferred(model: onnx.ModelProto, limits: Limits) -> None:
    light = without_weights(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, check_type=False, strict_mode=False, data_prop=False)
    except Exception:  # a graph that shape inference does not follow is judged by the runtime and the converters
        return
    inputs = {value.name for value in model.graph.input}
    for graph, _ in graphs(inferred):
        for value in (*graph.value_info, *graph.output):
            if value.name in inputs or not value.type.HasField("tensor_type"):
                continue
            dims = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]
            size = math.prod(max(dim, 1) for dim in dims)  # inference writes -1 in branches that cannot be taken
            if size > limits.tensor_elements:
                raise too_many(f"elements in {quoted(value.name)}", size, limits.tensor_elements, "tensor_elements")


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the main graph whose large constants became inputs of their type and shape.

    The sizes that the file claims for what is computed are left out, so that inference depends on none of them.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, original = light.graph, model.graph
    graph.name = "sizes"
    graph.node.extend(original.node)
    graph.input.extend(original.input)
    graph.output.extend(original.output)
    declared = {value.name for value in original.input}
    for tensor in original.initializer:
        if elements(tensor) <= _KEPT:
            graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in declared:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return light
