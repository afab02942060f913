"""State dicts of torchvision classifiers whose classifying layers were replaced.

A state dict names layers with weights only. Where the new head holds one linear layer, what lies beside it is dropout
as a rule, and the network is rebuilt so, which its architecture's name then says. Two layers or more have an activation
between them that no state dict tells: such a network is not guessed at, but the caller learns which architecture it
comes from.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from auditor.loading.quoting import listed, quoted

StateDict = dict[str, Tensor]

_CONTAINERS = ("fc", "classifier", "head", "heads")
_COUNTER = "num_batches_tracked"
_MOST_INDEX = 32

_HEADS = re.compile(r"(fc|classifier|head|heads|linear|last_linear|logits|output|out|final|cls)_?\d*")


def head_size(state: StateDict) -> int | None:
    """Rows of the classifying weight matrix, which is the number of classes in a classifier's state dict.

    That is the last matrix of a state dict in the order of its network. Files in the order of the alphabet, as
    safetensors writes them, have it under one of the usual names.
    """
    names = [name for name, tensor in state.items() if name.endswith("weight") and tensor.dim() in (2, 4)]
    if names == sorted(names):
        heads = [name for name in names if _HEADS.fullmatch(name.partition(".")[0])]
        names = sorted(heads, key=_by_number) or names
    return int(state[names[-1]].shape[0]) if names else None


def _by_number(name: str) -> list[tuple[int, str]]:
    """``classifier.10`` comes after ``classifier.9``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,9})", name)]


def fit_head(module: nn.Module, state: StateDict) -> str | None:
    """Replace the head of ``module``, in place, by the one linear layer that ``state`` has for it.

    Returns the new layer's name; ``None``, and nothing is changed, when the state dict differs elsewhere or the new
    head is no single linear layer with the old one's inputs.
    """
    expected = _names(module.state_dict())
    given = _names(state)
    missing, extra = expected - given, given - expected
    container = next((name for name in _CONTAINERS if hasattr(module, name)), None)
    if container is None or not all(name.startswith(f"{container}.") for name in missing | extra):
        return None
    if len(missing | extra) == 1:
        return _with_other_bias(module, (missing | extra).pop(), state)
    layers = {name.rpartition(".")[0] for name in extra}
    if len(layers) != 1:
        return None
    layer = layers.pop()
    weight, bias = state.get(f"{layer}.weight"), state.get(f"{layer}.bias")
    if weight is None or weight.dim() != 2 or extra - {f"{layer}.weight", f"{layer}.bias"}:
        return None
    old = _replaced(module, container, layer, missing, given)
    if old is None or weight.shape[1] != old[1] or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    place, features = old
    new = nn.Linear(features, weight.shape[0], bias=bias is not None, device="meta")
    nested = _nested(layer[len(place) + 1 :].split("."), new) if layer != place else new
    if nested is None:
        return None
    owner, _, leaf = place.rpartition(".")
    setattr(module.get_submodule(owner), leaf, nested)
    return layer


def _with_other_bias(module: nn.Module, name: str, state: StateDict) -> str | None:
    """The classifying layer gained or lost its bias."""
    layer, _, leaf = name.rpartition(".")
    old, weight = module.get_submodule(layer), state.get(f"{layer}.weight")
    if leaf != "bias" or not isinstance(old, nn.Linear) or weight is None:
        return None
    if weight.dim() != 2 or weight.shape[1] != old.in_features:
        return None
    owner, _, attribute = layer.rpartition(".")
    new = nn.Linear(old.in_features, weight.shape[0], bias=name in state, device="meta")
    setattr(module.get_submodule(owner), attribute, new)
    return layer


def _names(state: StateDict) -> set[str]:
    return {name for name in state if not name.endswith(_COUNTER)}


def _replaced(
    module: nn.Module, container: str, layer: str, missing: set[str], given: set[str]
) -> tuple[str, int] | None:
    """Which part of the head gave way to ``layer``, and how many features it took."""
    head = module.get_submodule(container)
    linear = [(name, part) for name, part in head.named_modules(prefix=container) if isinstance(part, nn.Linear)]
    if not linear:
        return None
    last, classifying = linear[-1]
    if layer.startswith(f"{last}.") and missing <= {f"{last}.weight", f"{last}.bias"}:
        return last, classifying.in_features  # the last layer became several, one of them with weights
    kept = any(name.startswith(f"{container}.") and not name.startswith(f"{layer}.") for name in given)
    inside = [part for part in head.modules() if not list(part.children())]
    plain = all(isinstance(part, nn.Linear) or not list(part.parameters()) for part in inside)
    if kept or not plain or any(isinstance(part, nn.Flatten) for part in inside):
        return None
    return container, linear[0][1].in_features  # all of the head gave way


def _nested(path: list[str], layer: nn.Linear) -> nn.Module | None:
    """``layer`` under the given names, below modules that do nothing."""
    whole: nn.Module = layer
    for name in reversed(path):
        if not name or (name.isdigit() and int(name) > _MOST_INDEX):
            return None
        before = [(str(index), nn.Identity()) for index in range(int(name))] if name.isdigit() else []
        whole = nn.Sequential(OrderedDict([*before, (name, whole)]))
    return whole


@dataclass(frozen=True)
class Likeness:
    """How much of an architecture a state dict has."""

    name: str
    shared: int
    """tensors of the same name and shape"""
    differing: tuple[str, ...]
    """the others, with shapes, escaped already"""

    def sentence(self) -> str:
        """What to tell the owner of the file."""
        return (
            f"nearest is torchvision:{self.name}, with {self.shared} tensors alike, but for "
            f"{listed(list(self.differing), limit=6)}"
        )


def likeness(name: str, expected: StateDict, state: StateDict) -> Likeness:
    """Compare a state dict with that of the architecture ``name``."""
    given, wanted = _names(state), _names(expected)
    alike = {key for key in given & wanted if state[key].shape == expected[key].shape}
    differing = [f"{quoted(key, 60)} {tuple(state[key].shape)}" for key in state if key in given - alike]
    differing += [f"no {quoted(key, 60)}" for key in expected if key in wanted - given]
    return Likeness(name, len(alike), tuple(differing))
