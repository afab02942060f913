"""How large a model file may be before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds on what a model file may ask of the machine."""

    file_bytes: int = 4 * _GIB
    """Size of the model file, and of each file of external weights."""

    nodes: int = 50_000
    """Operations of an ONNX graph."""

    initializers: int = 50_000
    """Constants of an ONNX graph, or tensors of a state dict."""

    weight_bytes: int = 4 * _GIB
    """All weights together, as float32."""

    input_elements: int = 1 << 24
    """Elements of one input image."""

    classes: int = 100_000
    """Columns of the output."""

    folded_elements: int = 1 << 24
    """Elements of a tensor that is computed once and kept; larger ones are computed at every call."""

    archive_members: int = 200_000
    """Entries of a PyTorch archive."""

    unpacked_ratio: int = 200
    """Unpacked size of an archive, over its size on disk."""


DEFAULT_LIMITS = Limits()
