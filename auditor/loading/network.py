"""What loading hands to the rest: a frozen torch module and what its file says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

Layout = Literal["nchw", "nhwc"]
SIDES = range(4, 4097)
"""pixels that an image's side may have"""
Format = Literal["onnx", "state_dict", "safetensors", "torchscript", "exported_program", "pickled_module"]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network read from a file, ready to run and to differentiate, none of the file executed.

    Of its images and classes files of torch's say nothing, which is the default.
    """

    module: nn.Module
    """Eval mode, float32, CPU, parameters frozen; normalised (N, C, H, W) or (N, H, W, C) to (N, K)."""

    format: Format
    """How the file was stored."""

    sha256: str
    """Of the model file, in hexadecimal."""

    file_name: str
    """The last part of the path. Hostile text: escape before showing."""

    input_shape: tuple[int, int, int] | None = None
    """(C, H, W) when the file says, whatever the layout; ``None`` when a dimension is unknown."""

    layout: Layout = "nchw"
    """Order of the axes the module expects."""

    num_classes: int | None = None
    """K, when the file says."""

    fixed_batch: int | None = None
    """The one batch size the module can run at; ``None`` when it runs at any."""

    labels: tuple[str, ...] | None = None
    """Class names found in the file. Hostile text: escape before showing."""

    architecture: str | None = None
    """The name of the architecture, such as ``torchvision:resnet18``, when it was recognised or given."""

    differentiable: bool = True
    """Whether gradients with respect to the images can be had; not for a black box."""

    value_range: Literal["0..255"] | None = None
    """The pixels that the network expects, when the file says."""

    notes: tuple[str, ...] = ()
    """Odd things about the file that deserve a warning, already escaped."""

    executed: bool = False
    """Whether opening the file ran code from it, which only the caller's explicit wish allows."""

    onnx_model: Any = field(default=None, repr=False, compare=False)
    """The ONNX model it came from, kept so that a reference can reuse its graph; private to loading."""
