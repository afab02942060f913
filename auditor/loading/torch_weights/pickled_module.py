"""A whole module in a pickle: opened by running it, and only for a caller who says that the file is their own."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from auditor.errors import ModelFileError
from auditor.loading.file_format import sha256_of
from auditor.loading.network import LoadedNetwork
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_weights.weights_file import unsafe_names

_KEYS = ("model", "net", "network", "module", "ema", "netC", "classifier")


def load_pickled_module(path: Path) -> LoadedNetwork | None:
    """**Execute** a pickle and return the module in it; ``None``, nothing executed, when it needs no execution.

    Raises ModelFileError when the code in it fails or leaves no module.
    """
    names = unsafe_names(path)
    if not names:
        return None
    digest = sha256_of(path)  # before the file can change itself
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(stream, map_location="cpu", weights_only=False)
    except Exception as error:  # the file's own code
        raise ModelFileError(
            "expected a pickled module whose classes can be imported here, got "
            f"{quoted(path.name)}, which stopped with "
            f"{quoted(f'{type(error).__name__}: {error}', 160)}; run the audit where its classes can be imported, or "
            "save its state dict"
        ) from error
    module = _module_in(found)
    if module is None:
        raise ModelFileError(
            f"expected a pickled torch.nn.Module, got {quoted(type(found).__name__)} in {quoted(path.name)}; "
            "audit its state dict without --unsafe-pickle"
        )
    return LoadedNetwork(
        module=module.eval().requires_grad_(False).float(),
        format="pickled_module",
        architecture=quoted(f"{type(module).__module__}.{type(module).__qualname__}")[1:-1],
        sha256=digest,
        file_name=path.name,
        notes=(
            f"the file was executed, as asked: opening it ran code that it names ({listed(names, limit=6)}), which can "
            "do anything, also change this report",
        ),
        executed=True,
    )


def _module_in(found: object) -> nn.Module | None:
    if isinstance(found, nn.Module):
        return found
    if isinstance(found, dict):
        for key in _KEYS:
            if isinstance(found.get(key), nn.Module):
                module: nn.Module = found[key]
                return module
    return None
