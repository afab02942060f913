"""From a checked ONNX model to a torch module: interface, unsupported operations, conversion."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass

import onnx
from onnx import TensorProto
from torch import fx

from auditor.errors import ModelFileError, UnsupportedOperatorsError
from auditor.loading.limits import Limits
from auditor.loading.network import Layout
from auditor.loading.quoting import listed, quoted


@dataclass(frozen=True)
class Interface:
    """What the graph takes and gives. ``shape`` is the input in the file's own order, ``None`` where
    unknown."""

    shape: tuple[int | None, int | None, int | None, int | None]
    layout: Layout
    num_classes: int | None

    @property
    def batch(self) -> int | None:
        """The literal batch size, if the file fixes one."""
        return self.shape[0]

    @property
    def chw(self) -> tuple[int, int, int] | None:
        """(C, H, W), or ``None`` when one of them is unknown."""
        _, a, b, c = self.shape
        if a is None or b is None or c is None:
            return None
        return (a, b, c) if self.layout == "nchw" else (c, a, b)


def interface(model: onnx.ModelProto, limits: Limits) -> Interface:
    """Check that the graph maps one batch of images to one row of class scores each, and read its sizes.

    Raises ModelFileError otherwise.
    """
    inputs, outputs = list(model.graph.input), list(model.graph.output)
    if len(inputs) != 1:
        names = listed([quoted(value.name) for value in inputs])
        raise ModelFileError(
            f"expected one input, a batch of images, got {len(inputs)} inputs ({names}); "
            "export the classifier with the image as its only input"
        )
    dims = dims_of(inputs[0])
    if dims is None or len(dims) != 4 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
        raise ModelFileError(
            f"expected one float input of shape (N, C, H, W), got {kind} {_shown(dims)}; "
            "export the classifier with a float image batch as its input"
        )
    shape = (dims[0], dims[1], dims[2], dims[3])
    elements = 1
    for size in shape[1:]:
        elements *= size or 1
    if elements > limits.input_elements:
        raise ModelFileError(
            f"expected images of at most {limits.input_elements:,} values, got {_shown(dims)}; export for "
            "smaller images"
        )
    # some exporters declare () where they do not know; a graph that gives a number is found out by running it
    scores = (dims_of(outputs[0]) or None) if len(outputs) == 1 else None
    if len(outputs) != 1 or not outputs[0].type.HasField("tensor_type"):
        names = listed([f"{quoted(value.name)} {_shown(dims_of(value))}" for value in outputs])
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {len(outputs)} outputs ({names}); "
            "this looks like no image classifier: export the class scores alone"
        )
    if scores is not None and not is_class_scores(scores):
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {_shown(scores)}; "
            "this looks like no image classifier: export the class scores alone"
        )
    return Interface(shape=shape, layout=_layout(shape), num_classes=scores[1] if scores else None)


def is_class_scores(dims: list[int | None]) -> bool:
    """(N, K), or the same with trailing axes of length 1."""
    return len(dims) >= 2 and all(size == 1 for size in dims[2:])


def dims_of(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """The declared shape, ``None`` where a size is open, or in place of a shape that is not declared."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]


def _shown(dims: list[int | None] | None) -> str:
    if dims is None:
        return "of unknown shape"
    return "(" + ", ".join("?" if size is None else str(size) for size in dims) + ")"


def _layout(shape: tuple[int | None, ...]) -> Layout:
    return "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"


def check_operators(model: onnx.ModelProto) -> None:
    """Raise UnsupportedOperatorsError naming every operation that nothing converts, with version and
    count."""
    from auditor.loading.onnx_graph.converters import CONVERTERS, find_converter, load_plugins

    load_plugins()
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    missing: Counter[str] = Counter()
    for node in model.graph.node:
        version = opsets.get(node.domain, 0)
        if find_converter(node.op_type, version, node.domain) is None:
            missing[_operation(node, version)] += 1
    if missing:
        names = [f"{name} ({count}×)" for name, count in sorted(missing.items())]
        raise UnsupportedOperatorsError(
            f"expected operations of an image classifier, got {listed(names, limit=20)}, which nothing "
            "converts; export the model with torch.onnx.export from plain torch layers, audit its state dict, or "
            f"install a package that registers converters under the entry point group '{CONVERTERS}' "
            "(docs/loading.md, Adding a converter)"
        )


def _operation(node: onnx.NodeProto, opset: int) -> str:
    from auditor.loading.onnx_graph.converters import since_version

    name = quoted(node.op_type)[1:-1]
    if node.domain:
        return f"{quoted(node.domain)[1:-1]}::{name} of opset {opset}"
    since = since_version(node.op_type, opset)
    return f"{name}-{since}" if since else f"{name} of opset {opset}"


def convert(model: onnx.ModelProto) -> fx.GraphModule:
    """Convert with this package's converters, plugins' and onnx2torch's, to eval mode with frozen parameters.

    Raises UnsupportedOperatorsError for operations that nothing converts, and ModelFileError for a graph whose
    operations are used in a way that nothing converts.
    """
    from auditor.loading.onnx_graph.converters import build

    check_operators(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(model)
    except ModelFileError:
        raise
    except NotImplementedError as error:
        raise ModelFileError(
            f"expected operations used in ways that convert, got {quoted(str(error), 400)}; "
            "export the model again with torch.onnx.export, or audit its state dict"
        ) from error
    except Exception as error:  # converters raise whatever a malformed attribute makes them raise
        raise ModelFileError(
            "expected an ONNX graph that converts to torch, got "
            f"{quoted(f'{type(error).__name__}: {error}', 200)}; "
            "export the model again with torch.onnx.export, or audit its state dict"
        ) from error
    module.eval()
    module.requires_grad_(False)
    return module
