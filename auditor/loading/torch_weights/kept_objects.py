"""A whole network in a pickle, as ``torch.save(network)`` writes it, read as data.

Such a pickle names classes and says what their objects hold. Opened as it is meant, it imports the classes and runs
their code. Here each class gets a stand-in that runs nothing and keeps what it is given, so that the weights can be
read, and networks of torch's and torchvision's own layers be put together again (`rebuilding`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from auditor.loading.torch_weights.safe_globals import StandIn

_LIBRARY = re.compile(
    r"torch\.(nn|optim|_C\._nn)\.[\w.]+|torchvision\.(models|ops|transforms)\.[\w.]+|timm\.(models|layers)\.[\w.]+"
    r"|functools\.partial"
)
"""names of torch, torchvision and timm: their networks, and beside these activations, kinds of layers, optimisers,
transforms of images"""

_CLASS = re.compile(r"(?!torch\.|torchvision\.|timm\.)([A-Za-z_]\w*\.)+_*[A-Z]\w*")
"""what a class of somebody's is called; functions, which a hostile pickle wants to call, are not"""

DEEPEST = 40
"""modules in modules; torchvision's networks have eight"""

_MOST_MODULES = 100_000


class Kept:
    """What a pickle says of one object; nothing of its class but the ``name`` is known, and nothing runs."""

    name: ClassVar[str] = ""
    """full name of the class. Hostile text, but of letters, digits, dots and underscores"""
    made: ClassVar[list[Kept]] = []
    """every object of the same file"""
    dump_patches: ClassVar[bool] = False
    """torch asks the classes of legacy files for it"""

    state: dict[Any, Any]
    """the object's attributes; empty where it has none that are a dict"""

    def __new__(cls, *_arguments: Any) -> Kept:
        """A new object whatever the arguments."""
        kept = super().__new__(cls)
        kept.state = {}
        cls.made.append(kept)
        return kept

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state

    @property
    def is_module(self) -> bool:
        """Whether it holds what every ``torch.nn.Module`` holds."""
        return all(isinstance(self.state.get(part), dict) for part in ("_modules", "_parameters", "_buffers"))

    def part(self, name: str) -> list[tuple[str, Any]]:
        """The entries of ``_modules``, ``_parameters`` or ``_buffers``."""
        # the method of dict itself: a file can set attributes on an OrderedDict that hide it
        return [(key, value) for key, value in dict.items(self.state[name]) if isinstance(key, str)]


def keeping(names: list[str]) -> list[StandIn] | None:
    """Stand-ins for all ``names`` of a file, for ``torch.serialization.safe_globals``.

    ``None`` where one of them is no name that a pickled network has: what the standard library calls, say.
    """
    own = [name for name in names if not _LIBRARY.fullmatch(name)]
    if any(not _CLASS.fullmatch(name) or name.partition(".")[0] in sys.stdlib_module_names for name in own):
        return None
    made: list[Kept] = []
    return [(type("Kept", (Kept,), {"name": name, "made": made}), name) for name in names]


def holds_only_modules(stand_ins: list[StandIn]) -> bool:
    """Whether, after reading, there is a module, and every object of somebody's own class is one."""
    made = next((cls.made for cls, _ in stand_ins if isinstance(cls, type) and issubclass(cls, Kept)), [])
    others = [kept for kept in made if not kept.is_module]
    return len(others) < len(made) and all(_LIBRARY.fullmatch(kept.name) for kept in others)


def pickled_network(value: Any) -> Kept | None:
    """The one module with weights in a file, itself or in a checkpoint's entry, without what wraps it for several
    devices."""
    entries = [value] if isinstance(value, Kept) else list(dict.values(value)) if isinstance(value, dict) else []
    networks = [entry for entry in entries if isinstance(entry, Kept) and entry.is_module and state_of(entry)]
    if len(networks) != 1:
        return None
    network = networks[0]
    for _ in range(DEEPEST):
        inner = dict(network.part("_modules")).get("module")
        if not network.name.startswith("torch.nn.parallel.") or not isinstance(inner, Kept) or not inner.is_module:
            break
        network = inner
    return network


def with_weights_only(value: Any, depth: int = 0) -> Any:
    """A checkpoint with every pickled network in it replaced by its state dict."""
    if isinstance(value, Kept):
        return state_of(value) if value.is_module else None
    if isinstance(value, dict) and depth < DEEPEST // 10:
        return {key: with_weights_only(entry, depth + 1) for key, entry in dict.items(value)}
    return value


def state_of(network: Kept) -> dict[str, Tensor]:
    """Names → parameters and persistent buffers, as ``state_dict()`` gives them."""
    state: dict[str, Tensor] = {}
    for prefix, module in _modules(network):
        passing = module.state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else set()
        held = [*module.part("_parameters"), *((k, v) for k, v in module.part("_buffers") if k not in passing)]
        state.update((prefix + name, tensor) for name, tensor in held if isinstance(tensor, torch.Tensor))
    return state


def timm_name(network: Kept) -> str | None:
    """The name of the architecture that timm leaves in its networks. Hostile text, of letters, digits and _."""
    config = network.state.get("pretrained_cfg")
    stated = dict.get(config, "architecture") if isinstance(config, dict) else None
    known = network.name.startswith("timm.") and isinstance(stated, str) and re.fullmatch(r"\w{1,80}", stated, re.ASCII)
    return stated if known else None


def own_class(network: Kept) -> str:
    """The name of the first class in it, or in its parts, that is not of these libraries; else of its own."""
    return next((m.name for _, m in _modules(network) if not _LIBRARY.fullmatch(m.name)), network.name)


def _modules(network: Kept) -> Iterator[tuple[str, Kept]]:
    """Every module with the beginning of its names; cycles end at a depth and a count."""
    waiting = [("", network, 0)]
    for _ in range(_MOST_MODULES):
        if not waiting:
            return
        prefix, module, depth = waiting.pop()
        yield prefix, module
        if depth < DEEPEST:
            inner = [(k, v) for k, v in module.part("_modules") if isinstance(v, Kept) and v.is_module]
            waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(inner)]
