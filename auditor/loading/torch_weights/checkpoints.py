"""Which of a checkpoint's tensors are the network: out of wrappers, prefixes, averages and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auditor.loading.network import SIDES
from auditor.loading.quoting import listed, quoted

StateDict = dict[str, Tensor]

_WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "net_state_dict", "weights",
    "params", "classifier", "backbone", "netC",
)  # fmt: skip
"""Names that training scripts keep a network's weights under, likeliest first."""

_TRAINING = re.compile(
    r"(^|_)(optim\w*|sched\w*|scaler|callbacks?|loops|hparams|hyper_parameters|amp|criterion|loss\w*|rng\w*|metrics?|"
    r"(train|val|valid|test)_\w+)(_|$)",
    re.IGNORECASE,
)
"""Entries of a checkpoint, and parts of a training module, that hold training state and no network."""

_COUNTERS = frozenset({"n_averaged", "num_updates", "decay", "initted", "step"})
"""What averaging wrappers count with, beside the weights."""

_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged|ema_?model|shadow)([._]|$)", re.IGNORECASE)
_WRAPPING = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
)
"""Components that DataParallel, torch.compile and others put into names, at any depth."""

_MOST_PLACES = 64
_MOST_CANDIDATES = 24
_DEEPEST = 4


_SIZES = ("img_size", "image_size", "input_size", "input_shape")
"""Entries beside the weights in which training scripts keep the size of their images, with the channels or without."""


@dataclass(frozen=True)
class Candidate:
    """Tensors that may be one network's weights."""

    label: str
    """Where in the file they are, such as ``state_dict: model.``. Hostile text: escape before showing."""

    state: StateDict
    """Names without prefixes; tensors as they were read."""

    averaged: bool
    """Whether the label calls them an average over training steps (EMA, SWA)."""

    left_out: tuple[str, ...] = ()
    """Names of the tensors beside them in the same place. Hostile text."""


def image_shape(value: Any, state: StateDict) -> tuple[int, int, int] | None:
    """(C, H, W) of the images where a checkpoint tells it: a side, or two with C before them, after them or not at all.

    C is what the first convolution of ``state`` takes; None where the two say different things.
    """
    if not isinstance(value, dict):
        return None
    told: Any = next((entry for name in _SIZES if (entry := dict.get(value, name)) is not None), None)
    numbers = [told, told] if type(told) is int else list(told) if type(told) in (list, tuple, torch.Size) else []
    channels = next((tensor.shape[1] for tensor in state.values() if tensor.dim() == 4), None)
    if channels is None or any(type(number) is not int for number in numbers):
        return None
    if len(numbers) == 3 and channels in (numbers[0], numbers[2]):
        numbers = numbers[1:] if numbers[0] == channels else numbers[:2]
    if len(numbers) != 2 or any(side not in SIDES for side in numbers):
        return None
    return channels, numbers[0], numbers[1]


def candidates_in(value: Any) -> list[Candidate]:
    """Everything in a checkpoint that may be a network, likeliest first, at most a few dozen; empty for none."""
    found: list[Candidate] = []
    seen: set[tuple[int, ...]] = set()
    for path, tensors in sorted(_places(value), key=_likelihood):
        for candidate in _subtrees(path, tensors):
            key = (hash(tuple(candidate.state)), *(id(tensor) for tensor in candidate.state.values()))
            if key not in seen:
                seen.add(key)
                found.append(candidate)
            if len(found) == _MOST_CANDIDATES:
                return found
    return found


def twins(chosen: Candidate, candidates: list[Candidate]) -> list[Candidate]:
    """The other candidates with the same names and shapes but other tensors: averages, teachers, last epochs."""
    return [c for c in candidates if c is not chosen and _same_form(c.state, chosen.state) and _differ(c, chosen)]


def preferred(chosen: Candidate, candidates: list[Candidate]) -> tuple[Candidate, tuple[str, ...]]:
    """The average instead of the raw weights when the file has both, since evaluation and export use it.

    Returns the candidate and notes, escaped: which of several was taken, and what was left out beside it.
    """
    others = twins(chosen, candidates)
    averages = [c for c in others if c.averaged]
    taken = averages[0] if averages and not chosen.averaged else chosen
    notes = []
    rest = [c for c in (chosen, *others) if c is not taken]
    if rest:
        why = ", the average over training that evaluation uses" if taken.averaged else ""
        notes.append(
            f"the file holds several sets of the same weights: {quoted(taken.label)} was audited{why}, "
            f"{listed([quoted(c.label) for c in rest], limit=4)} not; save another one alone to audit it"
        )
    if taken.left_out:
        shown = listed([quoted(name, 60) for name in taken.left_out], limit=3)
        notes.append(f"tensors beside the network {quoted(taken.label)} were left out: {shown}")
    return taken, tuple(notes)


def _same_form(one: StateDict, other: StateDict) -> bool:
    return one.keys() == other.keys() and all(one[name].shape == other[name].shape for name in one)


def _differ(one: Candidate, other: Candidate) -> bool:
    return any(_unlike(one.state[name], other.state[name]) for name in one.state)


def _unlike(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return False
    same_kind = one.dtype == other.dtype and one.layout == other.layout == torch.strided and one.device == other.device
    return not same_kind or one.is_quantized or not torch.equal(one, other)


def _places(value: Any) -> Iterator[tuple[tuple[str, ...], StateDict]]:
    """Every dict that holds tensors, with its path; cycles and endless nesting end at a small depth."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    visited: set[int] = set()
    bare: dict[int, Tensor] = {}
    while waiting and len(visited) < _MOST_PLACES:
        path, inner = waiting.pop(0)
        if not isinstance(inner, dict) or id(inner) in visited:
            continue
        visited.add(id(inner))
        # the methods of dict itself: a file can set attributes on an OrderedDict that hide them
        items = [(key, entry) for key, entry in dict.items(inner) if isinstance(key, str)]
        tensors = {k: bare.setdefault(id(e), _bare(e)) for k, e in items if isinstance(e, Tensor)}
        if tensors:
            yield path, tensors
        if len(path) < _DEEPEST:
            waiting += [((*path, k), e) for k, e in items if isinstance(e, dict) and not _TRAINING.search(k)]


def _bare(tensor: Tensor) -> Tensor:
    """The tensor without gradient, subclass and the attributes a file may have set on it, which hide methods."""
    detached = Tensor.detach(tensor)
    plain = detached.layout == torch.strided  # others have no storage to share, and are refused later
    return Tensor.as_subclass(detached, Tensor) if plain else detached


def _likelihood(place: tuple[tuple[str, ...], StateDict]) -> tuple[bool, int, int]:
    """Sort key: raw weights before averages, known names before others, many elements before few."""
    path, tensors = place
    ranks = [_WRAPPERS.index(part) for part in path if part in _WRAPPERS]
    elements = sum(tensor.numel() for tensor in tensors.values())
    return _is_averaged(path, tensors), min(ranks, default=len(_WRAPPERS) if path else 0), -elements


def _is_averaged(path: tuple[str, ...], tensors: StateDict) -> bool:
    return "n_averaged" in tensors or any(_AVERAGED.search(part) for part in path)


def _subtrees(path: tuple[str, ...], tensors: StateDict) -> Iterator[Candidate]:
    """The whole place, then the parts of it that share a prefix, large ones first; wrapping components dropped.

    A wrapping component may be the network's own name for a part, so the names as they are come last.
    """
    weights = {name: tensor for name, tensor in tensors.items() if not (name in _COUNTERS and tensor.dim() == 0)}
    forms: list[StateDict] = []
    unwrapped = _without_wrapping(weights)
    for form in (unwrapped, _without_training(unwrapped), weights, _without_training(weights)):
        if form and all(form.keys() != earlier.keys() for earlier in forms):
            forms.append(form)
    for names in forms:
        for prefix in ("", *_prefixes(names)):
            state = {name[len(prefix) :]: tensor for name, tensor in names.items() if name.startswith(prefix)}
            kept = {id(tensor) for tensor in state.values()}
            yield Candidate(
                label=": ".join((*path, prefix)) if prefix else "/".join(path) or "the file",
                state=state,
                averaged=_is_averaged(path, tensors) or bool(_AVERAGED.search(prefix)),
                left_out=tuple(name for name, tensor in weights.items() if id(tensor) not in kept),
            )


def _without_wrapping(tensors: StateDict) -> StateDict:
    """Names without wrapping components; unchanged when two names would become one."""
    renamed: StateDict = {}
    for name, tensor in tensors.items():
        parts = [part for part in name.split(".") if part not in _WRAPPING]
        renamed[".".join(parts) or name] = tensor
    return renamed if len(renamed) == len(tensors) else tensors


def _without_training(tensors: StateDict) -> StateDict:
    """Without the parts of a training module that are no network: losses with weights, metrics with counters."""
    return {name: tensor for name, tensor in tensors.items() if not _TRAINING.search(name.split(".")[0])}


def _prefixes(tensors: StateDict) -> list[str]:
    """Beginnings of names, up to a few components, that at least a fifth of the elements share; large ones first."""
    total = sum(tensor.numel() for tensor in tensors.values())
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        for depth in range(1, min(_DEEPEST, len(parts))):
            prefix = ".".join(parts[:depth]) + "."
            sizes[prefix] = sizes.get(prefix, 0) + tensor.numel()
    large = [prefix for prefix, size in sizes.items() if 5 * size >= total]
    return sorted(large, key=lambda prefix: (-sizes[prefix], len(prefix)))[:8]
