"""Read a state dict from a PyTorch or safetensors file, executing nothing in it."""

from __future__ import annotations

import pickle
import re
import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.file_format import is_zip
from auditor.loading.limits import Limits
from auditor.loading.other_kinds import kind_of_pickle
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_weights.archive import check_archive
from auditor.loading.torch_weights.checkpoints import Candidate, StateDict, candidates_in
from auditor.loading.torch_weights.kept_objects import (
    Kept,
    holds_only_modules,
    keeping,
    pickled_network,
    with_weights_only,
)
from auditor.loading.torch_weights.pickle_check import check_pickles
from auditor.loading.torch_weights.pickle_scan import imported_names
from auditor.loading.torch_weights.safe_globals import SAFE_NAMES, StandIn, stand_ins

REMEDY = (
    "save the weights alone with torch.save(model.state_dict(), ...) or safetensors.torch.save_file, "
    "or export the network to ONNX"
)
"""The safe ways to hand over a network."""


_MOST_AXES = 16
"""axes of one tensor; a file can ask for thousands, each of which would be shown in a message"""


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds."""

    candidates: list[Candidate]
    """what may be the network's weights, likeliest first; at least one"""
    network: Kept | None = None
    """the whole network, where the file is a pickle of one, as data"""
    value: Any = None
    """everything that the file holds, as data"""


def read_weights(path: Path, kind: str, limits: Limits) -> Weights:
    """Return the weights in a file.

    ``kind`` is ``pytorch`` or ``safetensors``. Raises UnsafeFileError for a file that only executing it would
    open, ModelFileError for a damaged one or one without a state dict.
    """
    found = _read_safetensors(path, limits) if kind == "safetensors" else _read_pytorch(path, limits)
    try:
        network = pickled_network(found)
        candidates = candidates_in(with_weights_only(found))
    except Exception as error:  # tensors without storage or of hostile classes: torch raises many types on them
        raise _damaged(path, error) from error
    if not candidates:
        raise ModelFileError(
            f"expected a state dict (names to tensors), got {quoted(type(found).__name__)} without one; {REMEDY}"
        )
    return Weights(candidates, network, found)


def plain_weights(state: StateDict, limits: Limits) -> StateDict:
    """The same weights, dense and contiguous, floats as float32.

    Raises ModelFileError for more of them than the limits allow, and for sparse, quantised or complex ones.
    """
    if len(state) > limits.initializers or sum(4 * tensor.numel() for tensor in state.values()) > limits.weight_bytes:
        raise ModelFileError(
            f"expected at most {limits.initializers:,} tensors and {limits.weight_bytes:,} bytes of "
            "weights, got more; "
            "audit a smaller network"
        )
    return {name: _plain(name, tensor) for name, tensor in state.items()}


def _plain(name: str, tensor: Tensor) -> Tensor:
    dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_complex()
    if not dense or tensor.device.type != "cpu":
        raise ModelFileError(
            f"expected dense, unquantised weights, got {quoted(name)}, which is sparse, quantised, complex or without "
            "data; export the network to ONNX"
        )
    if tensor.dim() > _MOST_AXES:
        raise ModelFileError(
            f"expected weights of at most {_MOST_AXES} axes, got {quoted(name)} with {tensor.dim():,}; "
            "export the network to ONNX"
        )
    try:
        plain = tensor.contiguous()
        return plain.float() if plain.is_floating_point() else plain
    except (RuntimeError, NotImplementedError) as error:
        raise ModelFileError(
            f"expected weights with data, got {quoted(name)}, which has none "
            f"({quoted(str(error), 120)}); save the state dict again"
        ) from error


def _read_safetensors(path: Path, limits: Limits) -> Any:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            count = len(file.keys())  # the header alone: making a tensor of each takes many times longer
        if count > limits.initializers:
            raise ModelFileError(
                f"expected at most {limits.initializers:,} tensors, got {count:,} in {quoted(path.name)}; audit a "
                "smaller network, or raise limits.initializers"
            )
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, RuntimeError, KeyError, OSError) as error:
        raise _damaged(path, error) from error


def _read_pytorch(path: Path, limits: Limits) -> Any:
    if is_zip(path):
        check_archive(path, limits)
    elif tarfile.is_tarfile(path):
        raise UnsafeFileError(
            "expected a PyTorch file of version 0.1.10 or later, got the tar format before it, "
            f"which torch reads only by executing it; load it with the torch that wrote it, then {REMEDY}"
        )
    check_pickles(path, limits)
    try:
        return _unpickled(path, stand_ins())
    except pickle.UnpicklingError as error:
        names = unsafe_names(path)
        kept = None if kind_of_pickle(names) else keeping(names)
        if not kept:
            raise _refused(path, error) from error
        return _read_network(path, kept, error)
    except Exception as error:  # damaged archives raise RuntimeError, EOFError, KeyError, struct.error and others
        raise _damaged(path, error) from error


def _unpickled(path: Path, allowed: list[StandIn]) -> Any:
    with path.open("rb") as stream, warnings.catch_warnings():  # a path would be judged by its extension
        warnings.simplefilter("ignore")
        with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
            return torch.load(stream, map_location="cpu", weights_only=True)


def _read_network(path: Path, kept: list[StandIn], refusal: Exception) -> Any:
    """The file of a pickled network, its objects as data. Raises as if it were none when there is more in it."""
    try:
        found = _unpickled(path, [*stand_ins(), *kept])
    except Exception as error:  # what the stand-ins do not take is what made it unsafe
        raise _refused(path, refusal) from error
    if not holds_only_modules(kept):
        raise _refused(path, refusal)
    return found


def _refused(path: Path, error: Exception) -> ModelFileError:
    """Why weights_only refused: classes that would be imported, another pickle protocol, or damage."""
    names = unsafe_names(path)
    other = kind_of_pickle(names)
    if other is not None:
        return UnsafeFileError(f"expected a state dict, got {other[0]}, which opens by running code; {other[1]}")
    if names:
        return UnsafeFileError(
            f"expected a state dict, got a pickle that wants to import {listed(names, limit=12)}, "
            f"which would run code from the file; {REMEDY}"
        )
    if "Unsupported operand" in str(error):
        return ModelFileError(
            f"expected a file as torch.save writes it, with pickle protocol 2, got {quoted(path.name)} with operations "
            "that torch.load does not take; save it with torch.save and its default protocol, if you trust it"
        )
    return _damaged(path, error)


def unsafe_names(path: Path) -> list[str]:
    """Escaped full names, beyond tensors and those with a stand-in, that the file's pickles import; reads, never runs.

    What torch itself finds in the first pickle, and what our own reading of all of them finds.
    """
    known = SAFE_NAMES | set(torch._weights_only_unpickler._get_allowed_globals())
    # pickles of protocol 2 name the builtins as Python 2 did
    ours = (re.sub(r"^__builtin__\.", "builtins.", name) for name in imported_names(path))
    found = dict.fromkeys(name for name in ours if name not in known)
    try:
        with path.open("rb") as stream:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(stream)
    except Exception:  # legacy, damaged or other protocols: torch raises many types, and our own reading remains
        names = []
    return [*found, *(shown for n in sorted(names) if n not in SAFE_NAMES and (shown := quoted(n)[1:-1]) not in found)]


def _damaged(path: Path, error: Exception) -> ModelFileError:
    reason = quoted(f"{type(error).__name__}: {error}", 160)
    return ModelFileError(
        f"expected a complete file of weights, got {quoted(path.name)}, which does not read as one "
        f"({reason}); "
        "save or download it again"
    )
