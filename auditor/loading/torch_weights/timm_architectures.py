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
    options: dict[str, Any] = {"in_chans": _channels(state, _stated(timm, plain, "first_conv"))}
    head = state.get(f"{_stated(timm, plain, 'classifier')}.weight")
    if head is not None or classes is not None:
        options["num_classes"] = classes if head is None else int(head.shape[0])
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


def _stated(timm: Any, name: str, key: str) -> str | None:
    """What timm says of a network's layers: the name of its first convolution or of its classifying layer."""
    value = timm.models.get_pretrained_cfg_value(name, key)
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    return value if isinstance(value, str) else None


def _channels(state: dict[str, Tensor], first_conv: str | None) -> int:
    """Input channels of the first convolution; 3 without one. safetensors files are in the order of the alphabet."""
    stated = state.get(f"{first_conv}.weight")
    for tensor in [stated] if stated is not None else state.values():
        if tensor.dim() == 4:
            return int(tensor.shape[1])
    return 3
