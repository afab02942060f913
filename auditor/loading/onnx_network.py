"""The story of loading an ONNX file: read, check, prepare, convert, specialise, verify."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, fx, nn

from auditor.errors import ModelFileError
from auditor.loading.file_format import sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import LoadedNetwork
from auditor.loading.onnx_convert import Interface, convert, interface
from auditor.loading.onnx_file import read_onnx
from auditor.loading.onnx_prepare import prepare
from auditor.loading.onnx_specialise import specialise
from auditor.loading.onnx_verify import TOLERANCE, relative_difference, verify
from auditor.loading.quoting import quoted

_GUESSED_SIZES = (224, 32, 28, 64, 299)


class ClassScores(nn.Module):
    """The converted graph, its output flattened to (N, K)."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.graph(x)
        return scores.flatten(1) if scores.dim() > 2 else scores


def load_onnx(path: Path, limits: Limits = DEFAULT_LIMITS) -> LoadedNetwork:
    """Load an ONNX image classifier as a torch module that was verified against an ONNX runtime.

    Raises ModelFileError, UnsafeFileError or UnsupportedOperatorsError, each with a remedy.
    """
    file = read_onnx(path, limits)
    network, notes = network_from_model(file.model, limits)
    return LoadedNetwork(
        **network,
        labels=_fitting(file.labels, network["num_classes"]),
        format="onnx",
        architecture=None,
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(*file.notes, *notes),
        onnx_model=file.model,
    )


def _fitting(labels: tuple[str, ...] | None, classes: int | None) -> tuple[str, ...] | None:
    return labels if labels and len(labels) == classes else None


def network_from_model(model: onnx.ModelProto, limits: Limits) -> tuple[dict[str, object], list[str]]:
    """Module, input shape, layout, class count and fixed batch of a parsed model; and notes."""
    prepared, notes = prepare(model)
    sizes = interface(prepared, limits)
    graph = convert(prepared)
    images = _Images(sizes)
    fixed_batch = _settle_batch(graph, sizes, images)
    module = ClassScores(graph).eval()
    scores = _run(module, images(fixed_batch or sizes.batch or 2))
    if scores.dim() != 2 or not 2 <= scores.shape[1] <= limits.classes:
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {tuple(scores.shape)}; "
            "this looks like no image classifier: export the class scores alone"
        )
    verify(module, prepared if notes else model, images(sizes.batch or fixed_batch or 2))
    if fixed_batch is not None:
        notes.append(f"the graph runs at a batch of {fixed_batch} only, so the audit is slower")
    found: dict[str, object] = {
        "module": module,
        "input_shape": sizes.chw,
        "layout": sizes.layout,
        "num_classes": int(scores.shape[1]),
        "fixed_batch": fixed_batch,
    }
    return found, notes


class _Images:
    """Random images of the shape the file asks for, or of the first usual one when it leaves the size open."""

    def __init__(self, sizes: Interface) -> None:
        _, *shape = sizes.shape
        channel = 0 if sizes.layout == "nchw" else 2
        self.known = all(size is not None for size in shape)
        self.shape = [
            size or (3 if axis == channel else _GUESSED_SIZES[0]) for axis, size in enumerate(shape)
        ]
        self.open = [axis for axis, size in enumerate(shape) if size is None and axis != channel]

    def __call__(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randn(count, *self.shape, generator=generator)

    def resize(self, size: int) -> None:
        for axis in self.open:
            self.shape[axis] = size


def _settle_batch(graph: fx.GraphModule, sizes: Interface, images: _Images) -> int | None:
    """Specialise the graph; returns the batch size it is bound to, or ``None``."""
    if not images.known:
        _find_size(graph, images)
        return sizes.batch
    if sizes.batch is None:
        try:
            specialise(graph, images, (2, 3), literal_batch=False)
        except Exception:  # the graph says any batch but has one inside: go on with the usual one
            _specialise_at(graph, images, 1)
            return 1
        return None
    batch = sizes.batch
    try:
        specialise(graph, images, (batch, 2 * batch + 1), literal_batch=True)
        if _rows_independent(graph, images, batch):
            return None
    except Exception:  # nothing to repair it with: one batch size is what the graph has
        _specialise_at(graph, images, batch)
    return batch


def _specialise_at(graph: fx.GraphModule, images: _Images, batch: int) -> None:
    try:
        specialise(graph, images, (batch, batch), literal_batch=False)
    except Exception as error:
        raise _does_not_run(error) from error


def _does_not_run(error: Exception) -> ModelFileError:
    return ModelFileError(
        f"expected a graph that runs on its own input shape, got {quoted(f'{type(error).__name__}: {error}', 200)}; "
        "export the model again with torch.onnx.export, or audit its state dict"
    )


def _run(module: nn.Module, images: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            scores = module(images)
    except Exception as error:
        raise _does_not_run(error) from error
    if not isinstance(scores, Tensor):
        raise ModelFileError(
            "expected one output of shape (N, classes), got several; export the class scores alone"
        )
    return scores


def _rows_independent(graph: fx.GraphModule, images: _Images, batch: int) -> bool:
    """Whether a repaired graph gives each image the scores it has at the file's own batch size."""
    several = images(3 * batch)
    together = _run(graph, several)
    apart = torch.cat([_run(graph, part) for part in several.split(batch)])
    return relative_difference(together, apart) <= TOLERANCE / 10


def _find_size(graph: fx.GraphModule, images: _Images) -> None:
    """The file leaves height and width open: take the first usual size at which the graph runs."""
    for size in _GUESSED_SIZES:
        images.resize(size)
        try:
            _run(graph, images(1))
        except ModelFileError:
            continue
        return
    images.resize(_GUESSED_SIZES[0])
