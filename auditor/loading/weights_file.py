"""Read a state dict from a PyTorch or safetensors file, executing nothing in it."""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.limits import Limits
from auditor.loading.pickle_scan import imported_names
from auditor.loading.quoting import listed, quoted

StateDict = dict[str, Tensor]

_REMEDY = (
    "save the weights alone with torch.save(model.state_dict(), ...) or safetensors.torch.save_file, "
    "or export the network to ONNX"
)
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "net_state_dict",
    "weights",
    "params",
    "ema",
    "model_ema",
    "state_dict_ema",
    "netC",
)
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


def read_weights(path: Path, kind: str, limits: Limits) -> StateDict:
    """Return the float32 state dict in a file, out of its wrapper and without wrapper prefixes.

    ``kind`` is ``pytorch`` or ``safetensors``. Raises UnsafeFileError for a file that only executing it would
    open, ModelFileError for a damaged one or one without a state dict.
    """
    found = _read_safetensors(path) if kind == "safetensors" else _read_pytorch(path, limits)
    state = _unwrapped(found)
    if not state:
        raise ModelFileError(
            f"expected a state dict (names to tensors), got {quoted(type(found).__name__)} without one; {_REMEDY}"
        )
    if len(state) > limits.initializers or sum(4 * tensor.numel() for tensor in state.values()) > limits.weight_bytes:
        raise ModelFileError(
            f"expected at most {limits.initializers:,} tensors and {limits.weight_bytes:,} bytes of "
            "weights, got more; "
            "audit a smaller network"
        )
    return {name: _plain(tensor) for name, tensor in _without_prefixes(state).items()}


def _plain(tensor: Tensor) -> Tensor:
    if tensor.is_sparse or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        raise ModelFileError(
            "expected dense, unquantised weights, got sparse, quantised or complex ones; export the network to ONNX"
        )
    plain = tensor.detach().as_subclass(Tensor).clone(memory_format=torch.contiguous_format)
    return plain.float() if plain.is_floating_point() else plain


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, RuntimeError, KeyError, OSError) as error:
        raise _damaged(path, error) from error


def _read_pytorch(path: Path, limits: Limits) -> Any:
    if zipfile.is_zipfile(path):
        _check_archive(path, limits)
    elif tarfile.is_tarfile(path):
        raise UnsafeFileError(
            f"expected a PyTorch file of version 0.1.10 or later, got the tar format before it; {_REMEDY}"
        )
    try:
        with path.open("rb") as stream, warnings.catch_warnings():  # a path would be judged by its extension
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = imported_names(path)
        if not names:
            raise _damaged(path, error) from error
        raise UnsafeFileError(
            f"expected a state dict, got a pickle that wants to import {listed(names, limit=12)}, "
            f"which would run code from the file; {_REMEDY}"
        ) from error
    except Exception as error:  # damaged archives raise RuntimeError, EOFError, KeyError, struct.error and others
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelFileError:
    reason = quoted(f"{type(error).__name__}: {error}", 160)
    return ModelFileError(
        f"expected a complete file of weights, got {quoted(path.name)}, which does not read as one "
        f"({reason}); "
        "save or download it again"
    )


def _check_archive(path: Path, limits: Limits) -> None:
    """Refuse programs (TorchScript, torch.export) and archives that unpack to far more than they hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    tails = {entry.filename.split("/", 1)[-1] for entry in entries}
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        raise UnsafeFileError(f"expected a state dict, got a TorchScript archive, which is a program; {_REMEDY}")
    if "archive_format" in tails or any(tail.startswith(("models/", "data/weights/")) for tail in tails):
        raise UnsafeFileError(
            f"expected a state dict, got a torch.export archive, which opens by unpickling; {_REMEDY}"
        )
    unpacked = sum(entry.file_size for entry in entries)
    ratio = unpacked / max(1, path.stat().st_size)
    if len(entries) > limits.archive_members or ratio > limits.unpacked_ratio or unpacked > limits.file_bytes:
        raise ModelFileError(
            f"expected an archive of at most {limits.archive_members:,} members and {limits.file_bytes:,} "
            "bytes, got "
            f"{len(entries):,} members that unpack to {unpacked:,} bytes; save the state dict again"
        )


def _unwrapped(value: Any, depth: int = 3) -> StateDict:
    """The tensors of a state dict, looked for under the names training scripts wrap it in."""
    if not isinstance(value, dict):
        return {}
    if depth:
        for key in _WRAPPERS:
            inner = _unwrapped(value.get(key), depth - 1)
            if inner:
                return inner
    return {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}


def _without_prefixes(state: StateDict) -> StateDict:
    """Drop what DataParallel, torch.compile and training wrappers put before every name."""
    state = {name: tensor for name, tensor in state.items() if name != "n_averaged"}
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if state and all(name.startswith(prefix) and len(name) > len(prefix) for name in state):
                state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
                stripped = True
    return state
