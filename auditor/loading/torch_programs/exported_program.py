"""Exported programs (``.pt2`` of ``torch.export``): read as JSON and raw weights, never by torch's own loader.

``torch.export.load`` unpickles parts of the file without restriction. Here the graph is rebuilt from its JSON, by an
allow-list of pure operations, and sample inputs, pickled constants, guards and everything else stay unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.file_format import sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import Layout, LoadedNetwork
from auditor.loading.outputs import Offered, note_on, which_scores
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_programs.exported_graph import Graph, check_operations
from auditor.loading.torch_programs.exported_rebatch import rebatched
from auditor.loading.torch_programs.exported_sizes import BoundedSizes, check_sizes
from auditor.loading.torch_programs.exported_weights import DTYPES, damaged, parse, read_tensors
from auditor.loading.torch_weights.archive import read_members

_GUESSED_SIZES = (224, 32, 28, 64, 299)
_TOLERANCE = 1e-4


def load_exported_program(
    path: Path, limits: Limits = DEFAULT_LIMITS, *, scores: str | None = None
) -> LoadedNetwork:
    """Load the image classifier in an archive of ``torch.export.save``; ``scores`` names one of several outputs.

    Raises UnsafeFileError for pickled weights and compiled libraries, UnsupportedOperatorsError for operations that
    are not on the list, ModelFileError for what is damaged, too large, or no image classifier, ConfigError for an
    output that is not there.
    """
    members = read_members(path, limits)
    program = _program(members, path, limits)
    weights = read_tensors(members, limits)
    module, image, notes = _module(program, weights, limits, scores)
    sizes, layout = _interface(image, limits)
    module, fixed_batch, classes = _settle(module, sizes, limits)
    chw = sizes[1:] if layout == "nchw" else [sizes[3], sizes[1], sizes[2]]
    known = [size for size in chw if size is not None]
    return LoadedNetwork(
        module=module.eval().requires_grad_(False),
        input_shape=(known[0], known[1], known[2]) if len(known) == 3 else None,
        layout=layout,
        num_classes=classes,
        fixed_batch=fixed_batch,
        labels=None,
        format="exported_program",
        architecture=None,
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(*notes, *_slow(fixed_batch)),
    )


def _slow(batch: int | None) -> tuple[str, ...]:
    return () if batch is None else (f"the program runs at a batch of {batch} only, so it is slower",)


def _program(members: dict[str, bytes], path: Path, limits: Limits) -> dict[str, Any]:
    """The one program in the archive, as JSON. Raises UnsafeFileError for compiled and pickled ones."""
    models = [name for name in members if name.startswith("models/") and name.endswith(".json")]
    if len(models) == 1:
        return parse(members[models[0]], limits)
    if any(name.startswith("data/aotinductor/") for name in members):
        raise UnsafeFileError(
            f"expected an exported graph, got {quoted(path.name)}, a compiled library, which opens by running it; "
            "export the network with torch.onnx.export"
        )
    if "serialized_exported_program.json" in members:
        raise UnsafeFileError(
            f"expected a program of torch 2.8 or later, got {quoted(path.name)} of an earlier torch.export, whose "
            "weights are pickles; export it again with a current torch, or with torch.onnx.export"
        )
    raise damaged(f"{quoted(path.name)} with {len(models)} programs")


@dataclass(frozen=True)
class _Image:
    """The one input, as the file describes it."""

    dtype: torch.dtype | None
    sizes: list[int | None]


def _module(
    program: dict[str, Any], tensors: dict[str, dict[str, Tensor]], limits: Limits, scores: str | None
) -> tuple[fx.GraphModule, _Image, tuple[str, ...]]:
    """The graph with its weights, what it takes, and what to note on its outputs."""
    held = program.get("graph_module")
    graph = held.get("graph") if isinstance(held, dict) else None
    signature = held.get("signature") if isinstance(held, dict) else None
    if not isinstance(graph, dict) or not isinstance(signature, dict):
        raise damaged("no graph")
    nodes = graph.get("nodes")
    if not isinstance(nodes, list) or len(nodes) > limits.nodes:
        raise ModelFileError(f"expected at most {limits.nodes:,} operations, got none or more; audit a smaller export")
    check_operations(nodes)
    made = Graph()
    root = nn.Module()
    images = _inputs(made, root, signature.get("input_specs"), tensors)
    for node in nodes:
        made.add(node)
    name, notes = _output(signature.get("output_specs"), graph.get("tensor_values"), scores)
    made.fx.output(made.value(name))
    image = _described(images, graph.get("tensor_values"))
    return fx.GraphModule(root, made.fx), image, notes


def _inputs(made: Graph, root: nn.Module, specs: Any, tensors: dict[str, dict[str, Tensor]]) -> list[str]:
    """Bind weights and the image; returns the names of the caller's inputs."""
    images: list[str] = []
    rest: list[tuple[str, Any]] = []
    for kind, spec in _specs(specs):
        if kind == "user_input":
            name = _tensor_name(spec.get("arg"))
            if not images:
                made.take_image(name)
            images.append(name)
        else:
            rest.append((kind, spec))
    if len(images) != 1:
        raise ModelFileError(
            f"expected one input, the images, got {len(images)} inputs; export the classifier alone"
        )
    for index, (kind, spec) in enumerate(rest):
        if kind == "constant_input":
            continue
        place = {"parameter": "weights", "tensor_constant": "constants"}.get(kind)
        if kind == "buffer":
            place = "weights" if spec.get("persistent") else "constants"
        name = spec.get({"buffer": "buffer_name"}.get(kind, f"{kind}_name"))
        tensor = tensors[place].get(name) if place is not None and isinstance(name, str) else None
        if tensor is None:
            raise damaged(f"an input {quoted(str(name))} of the kind {quoted(kind)}, which has no weights")
        root.register_buffer(f"w{index}", tensor)
        made.bind((spec.get("arg") or {}).get("name"), made.fx.get_attr(f"w{index}"))
    return images


def _specs(specs: Any) -> list[tuple[str, dict[str, Any]]]:
    """``[{"parameter": {…}}, …]`` → ``[("parameter", {…}), …]``."""
    if not isinstance(specs, list):
        raise damaged("no signature")
    found = []
    for spec in specs:
        inner = next(iter(spec.values())) if isinstance(spec, dict) and len(spec) == 1 else None
        if not isinstance(inner, dict):
            raise damaged("a signature that does not read as one")
        found.append((str(next(iter(spec))), inner))
    return found


def _tensor_name(argument: Any) -> str:
    tensor = argument.get("as_tensor") if isinstance(argument, dict) else None
    name = tensor.get("name") if isinstance(tensor, dict) else None
    if not isinstance(name, str):
        raise ModelFileError("expected inputs and outputs that are tensors, got others; export the classifier alone")
    return name


def _output(specs: Any, values: Any, wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """The name of the output that holds the class scores, and what to note where there are several."""
    found = _specs(specs)
    others = sorted({kind for kind, _ in found if kind != "user_output"})
    if others:
        raise ModelFileError(
            f"expected a program that only computes scores, got one with {listed([quoted(k) for k in others])}; export "
            "the network after model.eval()"
        )
    if len(found) == 1:
        return _tensor_name(found[0][1].get("arg")), ()
    names = [_tensor_name(spec.get("arg")) for _, spec in found]
    offered = [Offered(name, _width(_sizes(name, values))) for name in names]
    place = which_scores(offered, wanted)
    if place is None:
        raise ModelFileError(
            f"expected an output of shape (N, classes), got {len(found)} outputs of others; export the class scores "
            "alone"
        )
    return names[place], (note_on(offered, place),)


def _width(sizes: list[int | None]) -> int | None:
    """Of one row an image: its length, 0 where that is open."""
    return (sizes[1] or 0) if len(sizes) == 2 else None


def _sizes(name: str, values: Any) -> list[int | None]:
    """The shape of a value of the program, ``None`` where a size is open. Raises ModelFileError without one."""
    meta = values.get(name) if isinstance(values, dict) else None
    sizes = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(sizes, list):
        raise damaged("an input or output without a shape")
    numbers = [size.get("as_int") if isinstance(size, dict) else None for size in sizes]
    return [n if type(n) is int else None for n in numbers]


def _described(images: list[str], values: Any) -> _Image:
    sizes = _sizes(images[0], values)
    return _Image(DTYPES.get(values[images[0]].get("dtype", 0)), sizes)


def _interface(image: _Image, limits: Limits) -> tuple[list[int | None], Layout]:
    """Sizes of the input (N, and three more), and the order of its axes."""
    sizes = image.sizes
    if image.dtype is None or not image.dtype.is_floating_point or len(sizes) != 4:
        raise ModelFileError(
            "expected one float input of shape (N, channels, height, width), got "
            f"{quoted(str(image.dtype))} of {len(sizes)} axes; export the image classifier alone"
        )
    elements = 1
    for size in sizes:
        elements *= 1 if size is None else size
    if elements < 1 or elements > limits.input_elements:
        raise ModelFileError(
            f"expected an input of at most {limits.input_elements:,} elements, got {elements:,}; audit a smaller export"
        )
    nhwc = sizes[3] in (1, 3) and sizes[1] not in (1, 3)
    return sizes, "nhwc" if nhwc else "nchw"


def _settle(
    module: fx.GraphModule, sizes: list[int | None], limits: Limits
) -> tuple[fx.GraphModule, int | None, int]:
    """The program, the one batch size it runs at (``None`` = any), and the number of classes, found by running it."""
    batch = sizes[0]
    shape = _shape(module, sizes, limits)
    scores = _run(module, _images(batch or 2, shape), limits)
    if scores.dim() != 2 or len(scores) != (batch or 2) or not 1 <= scores.shape[1] <= limits.classes:
        raise ModelFileError(
            f"expected one output of shape (N, classes), got {tuple(scores.shape)}; "
            "this looks like no image classifier: export the class scores alone"
        )
    classes = int(scores.shape[1])
    if batch is None:
        return module, None, classes
    images = _images(2 * batch + 2 * (batch == 1), shape)
    apart = torch.cat([_run(module, part, limits) for part in images.split(batch)])
    for candidate in (module, rebatched(module, images[:batch])):
        if candidate is None:
            continue
        if all(_gives(candidate, images[:n], apart[:n], limits) for n in (1, len(images))):
            return candidate, None, classes
    return module, batch, classes


def _gives(module: nn.Module, images: Tensor, expected: Tensor, limits: Limits) -> bool:
    """Whether a program runs at another batch size and gives every image the scores it has at the file's own."""
    try:
        scores = _run(module, images, limits)
    except ModelFileError:
        return False
    largest = float(expected.abs().max())
    return scores.shape == expected.shape and torch.allclose(
        scores, expected, rtol=_TOLERANCE, atol=_TOLERANCE * largest
    )


def _shape(module: fx.GraphModule, sizes: list[int | None], limits: Limits) -> list[int]:
    """Sizes of one image; the first usual ones at which the program runs where the file leaves them open."""
    for guess in _GUESSED_SIZES:
        shape = [size or (3 if axis == 0 else guess) for axis, size in enumerate(sizes[1:])]
        check_sizes(module, (sizes[0] or 2, *shape), limits)
        if None not in sizes[1:]:
            return shape
        try:
            _run(module, _images(sizes[0] or 2, shape), limits)
        except ModelFileError:
            continue
        return shape
    return shape


def _images(count: int, shape: list[int]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))


def _run(module: nn.Module, images: Tensor, limits: Limits) -> Tensor:
    try:
        with torch.no_grad(), BoundedSizes(len(images) * limits.tensor_elements):
            scores = module(images)
    except ModelFileError:
        raise
    except Exception as error:  # whatever an inconsistent graph raises
        raise ModelFileError(
            "expected a program that runs on its own input shape, got "
            f"{quoted(f'{type(error).__name__}: {error}', 160)}; export it again, or with torch.onnx.export"
        ) from error
    if not isinstance(scores, Tensor):
        raise ModelFileError("expected one output of shape (N, classes), got several; export the class scores alone")
    return scores
