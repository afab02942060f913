"""Networks of torch's and torchvision's own layers, put together again from what a pickle says of them.

Only plain values (numbers, texts, tuples of them) are taken over, onto classes of torch and torchvision alone, so what
runs later is their code. Anything else that could change what a layer computes, a hook or a function, ends it: then
the weights are all that is known.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from auditor.loading.torch_weights.kept_objects import DEEPEST, Kept

_CLASSES = re.compile(r"(torch\.nn\.modules|torchvision\.models|torchvision\.ops)(\.[a-z_0-9]+)*\.[A-Z]\w*")
_HOOKS = re.compile(r"_\w*hooks?\w*")
_UNUSED = re.compile(r"_?\w*(norm|activation|inception)_(layer|blocks?)|block|_version")
"""attributes that hold kinds of layers, which only building uses"""
_PLAIN = (int, float, str, bool, type(None))
_LONGEST = 64


def rebuilt(network: Kept, weights: Mapping[str, Tensor]) -> nn.Module | None:
    """The network, in eval mode and frozen, with the ``weights`` of its state dict; ``None`` where not all is known."""
    try:
        module = _module(network, weights, "", 0)
    except Exception:  # a library's own __setstate__ on attributes that are missing or of another kind
        return None
    return None if module is None else module.eval().requires_grad_(False).float()


def _module(kept: Kept, weights: Mapping[str, Tensor], prefix: str, depth: int) -> nn.Module | None:
    cls = _library_class(kept.name)
    if cls is None or not kept.is_module or depth > DEEPEST:
        return None
    state: dict[str, Any] = {"training": False}
    for name, value in dict.items(kept.state):
        if not isinstance(name, str) or name.startswith("__") or callable(getattr(cls, name, None)):
            return None
        if name in ("training", "_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            continue
        if _HOOKS.fullmatch(name):
            if value:
                return None
            state[name] = type(value)() if isinstance(value, dict) else None
        elif _is_plain(value):
            state[name] = value
        elif not _UNUSED.fullmatch(name):
            return None
    parts = _parts(kept, weights, prefix, depth)
    if parts is None:
        return None
    module: nn.Module = cls.__new__(cls)
    nn.Module.__init__(module)
    module.__setstate__({**vars(module), **state, **parts})
    return module


def _parts(kept: Kept, weights: Mapping[str, Tensor], prefix: str, depth: int) -> dict[str, Any] | None:
    """Parameters, buffers and modules inside; ``None`` where one of these cannot be told."""
    modules: dict[str, nn.Module | None] = {}
    for name, inner in kept.part("_modules"):
        if inner is not None and not isinstance(inner, Kept):
            return None
        modules[name] = None if inner is None else _module(inner, weights, f"{prefix}{name}.", depth + 1)
        if inner is not None and modules[name] is None:
            return None
    parameters: dict[str, nn.Parameter | None] = {}
    for name, tensor in kept.part("_parameters"):
        parameters[name] = None if tensor is None else nn.Parameter(weights[prefix + name], requires_grad=False)
    buffers: dict[str, Tensor | None] = {}
    for name, tensor in kept.part("_buffers"):
        if tensor is not None and prefix + name not in weights:
            return None  # a buffer that no state dict has
        buffers[name] = None if tensor is None else weights[prefix + name]
    return {"_modules": modules, "_parameters": parameters, "_buffers": buffers, "_non_persistent_buffers_set": set()}


def _library_class(name: str) -> type[nn.Module] | None:
    """A class of torch's or torchvision's own layers and networks."""
    if not _CLASSES.fullmatch(name):
        return None
    module, _, leaf = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), leaf, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, tuple | list):
        return depth < 3 and len(value) <= _LONGEST and all(_is_plain(entry, depth + 1) for entry in value)
    return type(value) in _PLAIN
