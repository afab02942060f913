"""Networks of timm, when it is installed: built by name without weights, never downloading any."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from auditor.errors import ArchitectureError, ConfigError
from auditor.loading.quoting import listed, quoted


def build_timm(name: str, state: dict[str, Tensor], classes: int | None) -> nn.Module:
    """timm's network ``name`` with the classes and input channels of a state dict, on the CPU, random weights.

    Raises ConfigError when timm is missing or does not know the name, ArchitectureError when it does not build it.
    """
    timm = _timm()
    known = list(timm.list_models(pretrained=False))
    plain = name.partition(".")[0]  # "resnet18.a1_in1k" names weights too, which are not wanted
    if plain not in known:
        near = [other for other in known if plain[:5] in other]
        raise ConfigError(
            f"expected the name of a network of timm, got {quoted(name)}; known are {listed(near or known, limit=20)}"
        )
    options: dict[str, Any] = {"in_chans": _channels(state)}
    if classes is not None:
        options["num_classes"] = classes
    try:
        module = timm.create_model(plain, pretrained=False, **options)
    except Exception as error:  # some networks take no other number of channels
        raise ArchitectureError(
            f"expected timm to build {quoted(plain)} with {options}, got "
            f"{quoted(f'{type(error).__name__}: {error}', 160)}; name a factory of your own that builds it"
        ) from error
    if not isinstance(module, nn.Module):
        raise ArchitectureError(f"expected a network from timm, got {quoted(type(module).__name__)}; update timm")
    return module


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise ConfigError(
            "expected the package timm for an architecture timm:…, got none; install it: pip install timm"
        ) from None


def _channels(state: dict[str, Tensor]) -> int:
    """Input channels of the first convolution; 3 without one."""
    for tensor in state.values():
        if tensor.dim() == 4:
            return int(tensor.shape[1])
    return 3
