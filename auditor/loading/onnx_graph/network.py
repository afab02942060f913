"""A parsed ONNX graph as a torch module: check, prepare, convert, specialise, verify."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, fx, nn

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.network import Layout
from auditor.loading.onnx_graph.convert import Interface, convert, interface
from auditor.loading.onnx_graph.prepare import EIGHT_BIT, WIDENED, prepare
from auditor.loading.onnx_graph.specialise import copied, drop_unused, fold_constants, specialise
from auditor.loading.onnx_graph.verify import TOLERANCE, relative_difference, verify
from auditor.loading.quoting import quoted

_GUESSED_SIZES = (224, 32, 28, 64, 299)


class OneByOne(nn.Module):
    """A graph bound to a batch of 1, run for every image of a batch at once by vectorising over it."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = torch.vmap(self.graph)(x.unsqueeze(1))
        return scores.squeeze(1)


@dataclass(frozen=True)
class OnnxNetwork:
    """What ``LoadedNetwork`` needs of a parsed model; see there."""

    module: nn.Module
    input_shape: tuple[int, int, int] | None
    layout: Layout
    num_classes: int
    fixed_batch: int | None
    notes: tuple[str, ...]


def network_from_model(model: onnx.ModelProto, limits: Limits) -> OnnxNetwork:
    """Convert and verify a parsed model. Raises ModelFileError or UnsupportedOperatorsError."""
    prepared, notes = prepare(model)
    sizes = interface(prepared, limits)
    images = _Images(sizes)
    module, fixed_batch = _settled(convert(prepared), sizes.batch, images)
    meant = prepared if {WIDENED, EIGHT_BIT} & set(notes) else model
    del prepared  # a copy of all weights
    scores = _run(module, images(fixed_batch or 4))
    if scores.dim() != 2 or not 1 <= scores.shape[1] <= limits.classes:
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {tuple(scores.shape)}; "
            "this looks like no image classifier: export the class scores alone"
        )
    note = verify(module, meant, images(sizes.batch or fixed_batch or 4))
    notes.extend([note] if note else [])
    if fixed_batch is not None:
        notes.append(f"the graph runs at a batch of {fixed_batch} only, so the audit is slower")
    return OnnxNetwork(
        module=module.eval(),
        input_shape=sizes.chw,
        layout=sizes.layout,
        num_classes=int(scores.shape[1]),
        fixed_batch=fixed_batch,
        notes=tuple(notes),
    )


class _Images:
    """Random images of the shape the file asks for, or of the first usual one when it leaves the size
    open."""

    def __init__(self, sizes: Interface) -> None:
        _, *shape = sizes.shape
        channel = 0 if sizes.layout == "nchw" else 2
        self.known = all(size is not None for size in shape)
        self.shape = [size or (3 if axis == channel else _GUESSED_SIZES[0]) for axis, size in enumerate(shape)]
        self.open = [axis for axis, size in enumerate(shape) if size is None and axis != channel]

    def __call__(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randn(count, *self.shape, generator=generator)

    def resize(self, size: int) -> None:
        for axis in self.open:
            self.shape[axis] = size


def _settled(graph: fx.GraphModule, batch: int | None, images: _Images) -> tuple[nn.Module, int | None]:
    """The graph, specialised, and the batch size it is bound to; ``batch`` is the file's literal one."""
    if not images.known:
        fold_constants(graph)
        _find_size(graph, images)
        _flatten_scores(graph, images(batch or 1))
        return graph, batch
    free = _freed(graph, batch, images)
    if not free:
        _specialise_at(graph, images, batch or 1)
    _flatten_scores(graph, images(batch or 1))
    drop_unused(graph)
    if free:
        return graph, None
    if batch in (None, 1):
        vectorised = OneByOne(graph)
        try:
            if _rows_independent(vectorised, graph, images, 1):
                return vectorised, None
        except ModelFileError:
            pass  # an operation that torch cannot vectorise: the caller runs image by image
    return graph, batch or 1


def _freed(graph: fx.GraphModule, batch: int | None, images: _Images) -> bool:
    """Specialise the graph for any batch size; returns False, the graph unchanged, when that fails."""
    original = copied(graph.graph)
    try:
        specialise(graph, images, (2, 3) if batch is None else (batch, 2 * batch + 1), batch is not None)
        if batch is None or _rows_independent(graph, graph, images, batch):
            return True
    except Exception:  # whatever a graph with a batch size inside raises at another one
        pass
    graph.graph = original
    return False


def _flatten_scores(graph: fx.GraphModule, images: Tensor) -> None:
    """Scores of shape (N, K, 1, 1) become (N, K)."""
    scores = _run(graph, images)
    if scores.dim() > 2 and all(size == 1 for size in scores.shape[2:]):
        output = next(node for node in graph.graph.nodes if node.op == "output")
        with graph.graph.inserting_before(output):
            output.args = (graph.graph.call_method("flatten", (output.args[0], 1)),)
        graph.recompile()


def _specialise_at(graph: fx.GraphModule, images: _Images, batch: int) -> None:
    try:
        specialise(graph, images, (batch, batch), literal_batch=False)
    except ModelFileError as error:
        raise _one_line(error) from error
    except Exception as error:
        raise _does_not_run(error) from error


def _one_line(error: ModelFileError) -> ModelFileError:
    """The error without the lines that ``torch.fx`` adds to whatever is raised while it runs a graph."""
    return type(error)(str(error).partition("\n")[0])


def _does_not_run(error: Exception) -> ModelFileError:
    return ModelFileError(
        "expected a graph that runs on its own input shape, got "
        f"{quoted(f'{type(error).__name__}: {error}', 200)}; "
        "export the model again with torch.onnx.export, or audit its state dict"
    )


def _run(module: nn.Module, images: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            scores = module(images)
    except ModelFileError as error:
        raise _one_line(error) from error
    except Exception as error:
        raise _does_not_run(error) from error
    if not isinstance(scores, Tensor):
        raise ModelFileError("expected one output of shape (N, classes), got several; export the class scores alone")
    return scores


def _rows_independent(module: nn.Module, original: nn.Module, images: _Images, batch: int) -> bool:
    """Whether several batches at once get the scores they get one after the other at the file's batch
    size."""
    several = images(3 * batch)
    together = _run(module, several)
    apart = torch.cat([_run(original, part) for part in several.split(batch)])
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
