"""From a state dict to a network: recognised among torchvision's, or built by the factory the caller
names."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from auditor.errors import ArchitectureError, ConfigError
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_weights.families import candidates
from auditor.loading.torch_weights.heads import Likeness, fit_head, head_size, likeness
from auditor.loading.torch_weights.timm_architectures import build_timm

StateDict = dict[str, Tensor]

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False, "transform_input": False},
    "inception_v3": {"init_weights": False, "transform_input": False},
}


def recognise(state: StateDict) -> tuple[str, nn.Module] | None:
    """The torchvision classifier whose names and shapes the state dict has, or ``None``; classes are free.

    Channels of the first convolution may differ from 3. The module holds the weights.
    """
    for name in candidates(list(state)):
        fitted = _fitted(name, state)
        if fitted is not None:
            module, head = fitted
            return f"torchvision:{name}" + (f" with the head {quoted(head)}" if head else ""), module
    return None


def nearest(state: StateDict) -> Likeness | None:
    """The torchvision classifier with which the state dict shares the most tensors, at least half."""
    found = [likeness(name, _build(name, device="meta").state_dict(), state) for name in candidates(list(state))]
    best = max(found, key=lambda one: (one.shared, -len(one.differing)), default=None)
    return best if best is not None and best.shared >= len(best.differing) else None


def named(arch: str, state: StateDict) -> tuple[str, nn.Module]:
    """The network that ``torchvision:name``, ``timm:name`` or ``package.module:factory`` builds, with the weights.

    Raises ConfigError when the name leads nowhere, ArchitectureError when the network does not take the
    weights.
    """
    package, _, name = arch.partition(":")
    if not package or not name:
        raise ConfigError(
            "expected an architecture as torchvision:resnet18, timm:resnet18 or package.module:factory, got "
            f"{quoted(arch)}; "
            "write the part before and after the colon"
        )
    if package == "torchvision":
        module = _torchvision(name, state)
    elif package == "timm":
        module = build_timm(name, state, head_size(state))
    else:
        module = _from_factory(package, name, head_size(state))
    _load_strictly(module, state, arch)
    return arch, module


def _torchvision(name: str, state: StateDict) -> nn.Module:
    known = torchvision_names()
    if name not in known:
        raise ConfigError(
            f"expected the name of a torchvision classifier, got {quoted(name)}; known are {listed(known, limit=100)}"
        )
    fitted = _fitted(name, state)
    return _build(name) if fitted is None else fitted[0]


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models."""
    from torchvision import models

    return list(models.list_models(module=models))


class _SkipInitialisation(TorchFunctionMode):
    """Random initial weights are overwritten anyway."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _build(name: str, device: str = "cpu", **options: Any) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings(), _SkipInitialisation():
        warnings.simplefilter("ignore")
        if device == "meta" and not name.startswith("regnet"):  # RegNet computes its widths with tensors
            with torch.device("meta"):
                return _model(models, name, options)
        return _model(models, name, options)


def _model(models: Any, name: str, options: dict[str, Any]) -> nn.Module:
    module: nn.Module = models.get_model(name, weights=None, **_OPTIONS.get(name, {}), **options)
    return module


def _fitted(name: str, state: StateDict) -> tuple[nn.Module, str | None] | None:
    """The named network with head, first convolution and position embedding as in the state dict; the name of the
    classifying layer where it is another than torchvision's."""
    module = _build(name, device="meta", **_size_options(name, state))
    auxiliary = any(key.startswith(_AUXILIARY) for key in state)
    if hasattr(module, "aux_logits") and not auxiliary:
        module = _build(name, device="meta", **{**_size_options(name, state), "aux_logits": False})
    expected, head = module.state_dict(), None
    if not _same_names(expected, state):
        head = fit_head(module, state) if _nearly_same_names(expected, state) else None
        if head is None:
            return None
        expected = module.state_dict()
    different = [key for key, tensor in expected.items() if key in state and tensor.shape != state[key].shape]
    for layer in sorted({key.rpartition(".")[0] for key in different}):
        if not _resize(module, layer, state):
            return None
    module = module.to_empty(device="cpu") if any(p.is_meta for p in module.parameters()) else module
    _restore_constants(module, name, state)
    complete = module.state_dict()  # keeps the version marks that some modules look at
    complete.update(state)
    module.load_state_dict(complete, strict=True)
    return module, head


_COUNTER = "num_batches_tracked"


def _same_names(expected: dict[str, Any], state: StateDict) -> bool:
    """The same names, whether or not an old file kept the counters of batch normalisation."""
    return {k for k in expected if not k.endswith(_COUNTER)} == {k for k in state if not k.endswith(_COUNTER)}


def _nearly_same_names(expected: dict[str, Any], state: StateDict) -> bool:
    """Whether a replaced head could account for the difference: a handful of names."""
    return len(expected.keys() ^ state.keys()) <= 16 + sum(key.endswith(_COUNTER) for key in expected)


def _resize(module: nn.Module, layer: str, state: StateDict) -> bool:
    """Resize the classifying layer to the state dict's classes, or a first convolution to its channels."""
    old = module.get_submodule(layer)
    weight = state.get(f"{layer}.weight")
    parent, _, leaf = layer.rpartition(".")
    owner = module.get_submodule(parent)
    if weight is None:
        return False
    if isinstance(old, nn.Linear) and weight.dim() == 2 and weight.shape[1] == old.in_features:
        new: nn.Module = nn.Linear(old.in_features, weight.shape[0], bias=old.bias is not None, device="meta")
    elif isinstance(old, nn.Conv2d) and weight.dim() == 4 and weight.shape[2:] == old.weight.shape[2:]:
        first = weight.shape[0] == old.out_channels and old.in_channels == 3 and old.groups == 1
        last = weight.shape[1] == old.in_channels and layer.startswith("classifier")
        if not (first or last):
            return False
        new = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            old.kernel_size,  # type: ignore[arg-type]
            stride=old.stride,  # type: ignore[arg-type]
            padding=old.padding,  # type: ignore[arg-type]
            bias=old.bias is not None,
            device="meta",
        )
    else:
        return False
    setattr(owner, leaf, new)
    return True


def _size_options(name: str, state: StateDict) -> dict[str, Any]:
    """A ViT for another image size has another number of positions; torchvision's factories take the size."""
    positions = state.get("encoder.pos_embedding")
    patch = state.get("conv_proj.weight")
    if not name.startswith("vit") or positions is None or patch is None or positions.dim() != 3 or patch.dim() != 4:
        return {}
    if not name.endswith(f"_{patch.shape[2]}"):
        return {}  # another member of the family, which may not divide this image
    side = round((positions.shape[1] - 1) ** 0.5)
    size = side * int(patch.shape[2])
    return {"image_size": size} if side * side == positions.shape[1] - 1 and 0 < size <= 4096 else {}


def _restore_constants(module: nn.Module, name: str, state: StateDict) -> None:
    """Buffers that are not in the state dict were lost with the meta device: take them from a real build."""
    kept = module.state_dict().keys()
    missing = [key for key, _ in module.named_buffers() if key not in kept]
    if missing:
        real = dict(_build(name, **_size_options(name, state)).named_buffers())
        for key in missing:
            owner, _, leaf = key.rpartition(".")
            setattr(module.get_submodule(owner), leaf, real[key])
    for key, buffer in module.named_buffers():
        if key.endswith(_COUNTER):
            buffer.zero_()


def _from_factory(package: str, name: str, classes: int | None) -> nn.Module:
    factory = _import(package, name)
    options: dict[str, Any] = {}
    try:
        if classes is not None and "num_classes" in inspect.signature(factory).parameters:
            options["num_classes"] = classes
    except (TypeError, ValueError):
        options = {}
    try:
        module = factory(**options)
    except Exception as error:  # the caller's own code
        raise ArchitectureError(
            f"expected {quoted(f'{package}:{name}')} to build a network, got "
            f"{quoted(f'{type(error).__name__}: {error}', 160)}; give a factory that needs no arguments "
            "but num_classes"
        ) from error
    if not isinstance(module, nn.Module):
        raise ArchitectureError(
            f"expected {quoted(f'{package}:{name}')} to build a torch.nn.Module, got "
            f"{quoted(type(module).__name__)}; "
            "name a class or a function that returns the network"
        )
    return module


def _import(package: str, name: str) -> Callable[..., Any]:
    """The caller's own factory, looked for in the current folder too."""
    folder = os.getcwd()
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(package)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever importing the caller's module raises
        raise ConfigError(
            f"expected an importable factory, got {quoted(f'{package}:{name}')} and "
            f"{quoted(f'{type(error).__name__}: {error}', 160)}; check the module's and the factory's name"
        ) from error
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
    if not callable(found):
        raise ConfigError(
            f"expected a class or function, got {quoted(f'{package}:{name}')}, which cannot be called; "
            "name a class or a function that returns the network"
        )
    return found


def _load_strictly(module: nn.Module, state: StateDict, arch: str) -> None:
    expected = module.state_dict()
    problems = [f"missing {quoted(key)}" for key in expected if key not in state and not key.endswith(_COUNTER)]
    problems += [f"unexpected {quoted(key)}" for key in state if key not in expected]
    problems += [
        f"{quoted(key)} of shape {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if problems:
        raise ArchitectureError(
            f"expected weights of {quoted(arch)}, got {listed(problems, limit=5)}; name the architecture "
            "the weights "
            "were trained with (--arch, or --reference-arch for the reference)"
        )
    expected.update(state)
    module.load_state_dict(expected, strict=True)
