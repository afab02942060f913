"""The story of loading a state dict: read the weights, find the architecture, put them in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.errors import ArchitectureError
from auditor.loading.file_format import Kind, sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import LoadedNetwork
from auditor.loading.outputs import OneOutput
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_weights.architectures import named, nearest, recognise
from auditor.loading.torch_weights.checkpoints import Candidate, image_shape, preferred
from auditor.loading.torch_weights.heads import head_size
from auditor.loading.torch_weights.kept_objects import Kept, own_class, state_of, timm_name
from auditor.loading.torch_weights.rebuilding import rebuilt
from auditor.loading.torch_weights.small_networks import recognise_small
from auditor.loading.torch_weights.weights_file import Weights, plain_weights, read_weights

_NAMED_TRIES = 12
"""candidates that a named architecture is tried with; building some takes seconds"""


def load_state_dict(
    path: Path,
    kind: Kind,
    *,
    arch: str | None = None,
    template: LoadedNetwork | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> LoadedNetwork:
    """Load a ``pytorch`` or ``safetensors`` file of weights into its architecture.

    Raises UnsafeFileError, ModelFileError, ArchitectureError or ConfigError, each with a remedy.
    """
    weights = read_weights(path, kind, limits)
    candidates = weights.candidates
    whole = _rebuilt(path, weights.network, limits) if weights.network is not None and arch is None else None
    if whole is not None:
        return whole
    fitted = _named(arch, candidates, limits) if arch is not None else _recognised(candidates, limits)
    if fitted is None and weights.network is not None and (name := timm_name(weights.network)):
        fitted = _named(f"timm:{name}", candidates, limits)
    if fitted is None:
        return _from_template(path, kind, weights, template, limits)
    shape = image_shape(weights.value, fitted.candidate.state)
    module = OneOutput(fitted.module) if _has_auxiliary_heads(fitted.module) else fitted.module
    return LoadedNetwork(
        module=module.eval().requires_grad_(False).float(),
        input_shape=shape,
        num_classes=head_size(fitted.candidate.state) if arch is None else None,
        format="safetensors" if kind == "safetensors" else "state_dict",
        architecture=fitted.architecture,
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(*fitted.notes, *_of_network(weights.network), *_of_images(shape)),
    )


def _rebuilt(path: Path, network: Kept, limits: Limits) -> LoadedNetwork | None:
    """A pickled network of torch's and torchvision's own layers; ``None`` where it holds anything else."""
    module = rebuilt(network, plain_weights(state_of(network), limits))
    if module is None:
        return None
    return LoadedNetwork(
        module=module,
        format="pickled_module",
        architecture=network.name,
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(
            "a pickled network, put together again from torch's own layers with what the file says of each; nothing in "
            "the file was executed",
        ),
    )


def _of_images(shape: tuple[int, int, int] | None) -> tuple[str, ...]:
    if shape is None:
        return ()
    told = "×".join(map(str, shape))
    return (f"the checkpoint says that its images are {told}; if they are not, state --input-size",)


def _of_network(network: Kept | None) -> tuple[str, ...]:
    if network is None:
        return ()
    if timm_name(network):
        return ("a pickled network of timm: its weights were read as data, and nothing was executed",)
    return (
        f"a pickled network with the class {quoted(own_class(network))}, whose code is not in the file: its weights "
        "were read as data, nothing was executed, and what it computes is taken from the architecture that they fit",
    )


@dataclass(frozen=True)
class _Fitted:
    """A network that holds the weights of a candidate."""

    candidate: Candidate
    architecture: str
    module: nn.Module
    notes: tuple[str, ...]


def _recognised(candidates: list[Candidate], limits: Limits) -> _Fitted | None:
    for candidate in candidates:
        state = plain_weights(candidate.state, limits)
        found = recognise(state)
        if found is not None:
            return _settled(candidate, candidates, found, limits)
        small = recognise_small(state)
        if small is not None:
            fitted = _settled(candidate, candidates, small, limits)
            return replace(fitted, notes=(*fitted.notes, _put_together(fitted.architecture)))
    return None


def _put_together(architecture: str) -> str:
    return (
        f"the network was put together by the names and shapes of its weights, as a {architecture}; if it is another, "
        "name it with --arch"
    )


def _named(arch: str, candidates: list[Candidate], limits: Limits) -> _Fitted:
    """The first candidate that the named architecture takes; the likeliest one's misfit when none is taken."""
    misfit: ArchitectureError | None = None
    for candidate in candidates[:_NAMED_TRIES]:
        try:
            found = named(arch, plain_weights(candidate.state, limits))
        except ArchitectureError as error:
            misfit = misfit or error
            continue
        return _settled(candidate, candidates, found, limits)
    raise misfit or ArchitectureError(f"expected weights, got none for {quoted(arch)}; save the state dict again")


def _settled(
    candidate: Candidate, candidates: list[Candidate], found: tuple[str, nn.Module], limits: Limits
) -> _Fitted:
    """The average of the same weights instead, where the file has one."""
    taken, notes = preferred(candidate, candidates)
    architecture, module = found
    if taken is not candidate:
        state = module.state_dict()
        state.update(plain_weights(taken.state, limits))
        module.load_state_dict(state, strict=True)
    if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in taken.state.values()):
        notes = (*notes, "weights stored in another precision than float32 are computed in float32")
    return _Fitted(taken, architecture, module, notes)


def _from_template(
    path: Path, kind: Kind, weights: Weights, template: LoadedNetwork | None, limits: Limits
) -> LoadedNetwork:
    from auditor.loading.onnx_graph.network import network_from_model

    candidates = weights.candidates
    model, notes = _with_template(candidates, template, limits) if template is not None else (None, ())
    state = candidates[0].state
    if model is None:
        shown = listed([f"{quoted(name, 40)} {tuple(tensor.shape)}" for name, tensor in state.items()], limit=3)
        beside = "" if template is None else ", nor of the model it is compared with"
        likely = nearest(state)
        near = f" ({likely.sentence()})" if likely else ""
        if weights.network is not None:
            held = quoted(own_class(weights.network))
            near += f"; the file is a pickled network with the class {held}, without its code"
        raise ArchitectureError(
            f"expected the weights of a torchvision classifier, got {shown}, which are of none{near}{beside}; name the "
            "architecture with --arch package.module:factory (--reference-arch for the reference)"
        )
    network = network_from_model(model, limits)
    return LoadedNetwork(
        module=network.module,
        input_shape=network.input_shape,
        layout=network.layout,
        num_classes=network.num_classes,
        fixed_batch=network.fixed_batch,
        labels=None,
        format="safetensors" if kind == "safetensors" else "state_dict",
        architecture="as the ONNX graph of the suspect",
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(*notes, *_of_network(weights.network), *network.notes),
        onnx_model=model,
    )


def _with_template(candidates: list[Candidate], template: LoadedNetwork, limits: Limits) -> tuple[Any, tuple[str, ...]]:
    """The template's graph with the first candidate that fits it, and notes; (None, ()) when none does."""
    from auditor.loading.onnx_graph.template import with_weights

    for candidate in candidates:
        if with_weights(template, plain_weights(candidate.state, limits)) is not None:
            taken, notes = preferred(candidate, candidates)
            return with_weights(template, plain_weights(taken.state, limits)), notes
    return None, ()


def _has_auxiliary_heads(module: nn.Module) -> bool:
    return bool(getattr(module, "aux_logits", False))
