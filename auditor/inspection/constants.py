"""Findings about stored numbers: templates that the image is held against, NaN and infinity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from auditor.findings import FileFinding
from auditor.inspection import operations as ops
from auditor.inspection.flow import Flow, Value, Visit
from auditor.loading.onnx_graph.tensors import elements, numbers, tensors
from auditor.loading.quoting import quoted

FLAT = 64
"""elements from which on a constant along one axis is no statistic of the channels"""


def template_findings(model: onnx.ModelProto, flow: Flow) -> Iterator[FileFinding]:
    """Constants with an extent in space that meet the raw image element by element.

    Mean and standard deviation vary along the channels alone; positional embeddings meet the image behind weights.
    """
    seen: set[str] = set()
    extents: dict[int, bool] = {}
    for visit in flow.visits:
        meeting = [value for value in visit.operands if value.content]
        if not meeting or visit.op not in ops.ELEMENTWISE or max(value.depth for value in meeting) > 0:
            continue
        for value in visit.operands:
            if value.content:
                continue
            if value.anchor not in extents:
                extents[value.anchor] = _has_extent(value)
            if extents[value.anchor]:
                name = value.constant.name if value.constant is not None else ""
                seen.add(name)
                yield _template(visit, quoted(name)[1:-1])
    yield from _pictures(model, flow, seen)


def _template(visit: Visit, name: str) -> FileFinding:
    deciding = visit.op in ops.DECIDING
    return FileFinding(
        "image-template",
        "danger" if deciding else "warning",
        f"a constant with the extent of a picture meets the image in {visit.op}"
        + (", which compares or selects: a stored trigger would look so" if deciding else ": look at it"),
        name or visit.where,
    )


def _has_extent(value: Value) -> bool:
    if value.constant is None:
        return value.elements >= FLAT
    axes = [dim for dim in value.constant.dims if dim > 1]
    if value.elements < FLAT and (len(axes) < 2 or value.elements <= 4):
        return False
    stored = numbers(value.constant)
    return stored is None or bool((stored != stored[0]).any())


def _pictures(model: onnx.ModelProto, flow: Flow, seen: set[str]) -> Iterator[FileFinding]:
    """Constants of exactly the input's channels, height and width that no layer uses as weights."""
    shapes = {_image_shape(value) for value in model.graph.input} - {None}
    if not shapes:
        return
    weights = {
        value.constant.name
        for visit in flow.visits
        if visit.op in ops.WEIGHTED
        for value in visit.operands
        if value.constant is not None
    }
    for tensor in model.graph.initializer:
        dims = tuple(dim for dim in tensor.dims if dim != 1)
        if dims in shapes and tensor.name not in weights and tensor.name not in seen and _varies(tensor):
            yield FileFinding(
                "image-shaped-constant",
                "warning",
                "a constant has exactly the shape of the input image and is no layer's weights: look at it",
                quoted(tensor.name)[1:-1],
            )


def _image_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if len(dims) != 4 or min(dims[1:]) < 1 or sorted(dims[1:])[1] < 8:
        return None
    return tuple(dim for dim in dims[1:] if dim != 1)


def _varies(tensor: TensorProto) -> bool:
    stored = numbers(tensor)
    return stored is None or bool((stored != stored[0]).any())


def weight_findings(model: onnx.ModelProto) -> Iterator[FileFinding]:
    """NaN and infinity among the stored numbers; masks of 0 and infinity are none of them."""
    for tensor in tensors(model):
        finding = not_finite(numbers(tensor), tensor.name) if elements(tensor) > 0 else None
        if finding is not None:
            yield finding


def not_finite(stored: npt.NDArray[np.generic] | None, name: str) -> FileFinding | None:
    """A finding when an array of floats holds NaN, or infinity among other numbers than a mask's."""
    if stored is None or stored.dtype.kind != "f" or not stored.size:
        return None
    where = quoted(name)[1:-1]
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(stored)
    if finite.all():
        return None
    missing = int(np.isnan(stored).sum())
    if missing:
        return FileFinding(
            "weights-not-finite",
            "danger",
            f"{missing:,} of {stored.size:,} stored numbers are NaN: answers built on them mean nothing",
            where,
        )
    if stored.size == 1 or not stored[finite].any():
        return None
    infinite = stored.size - int(finite.sum())
    return FileFinding(
        "weights-not-finite", "warning", f"{infinite:,} of {stored.size:,} stored numbers are infinite", where
    )
