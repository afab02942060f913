"""A network as it is asked: a frozen copy, batch norm folded, lying in memory as it runs fastest."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.running_statistics import Remembered, remembered


@dataclass(frozen=True)
class OwnCopy:
    """The copy, and what is known of it."""

    module: nn.Module
    """in evaluation mode on the sample's device, float32, parameters without gradients"""
    writes_on_images: bool
    """whether it changes the images that it is given, as ``x.sub_(mean)`` does"""
    remembers: Remembered | None
    """what its batch norm, before it was folded, remembers of the training images"""


def own_copy(module: nn.Module, sample: Tensor, *, layout: str) -> OwnCopy:
    """A copy to ask. ``sample`` is a batch of images in [0, 1] as the network takes them, channels last where
    ``layout`` is ``nhwc``.

    In memory, channels lie last where it runs so: ``x.view(-1, 320)``, a line of many networks, wants them first.
    """
    owned = copy.deepcopy(module).eval().float()
    for tensor in (*owned.parameters(), *owned.buffers()):
        tensor.requires_grad_(False)
    remembers = remembered(owned.to(sample.device), sample, layout=layout)
    folded = _folded(owned, sample)
    writes = _writes_on(folded.to(memory_format=torch.channels_last), sample)
    if writes is None:
        writes = _writes_on(folded.to(memory_format=torch.contiguous_format), sample)
    return OwnCopy(folded, bool(writes), remembers)


def _writes_on(module: nn.Module, sample: Tensor) -> bool | None:
    """Whether the images are others once the network was asked; None where it does not run."""
    images = sample - 0.5
    before = images.clone()
    try:
        with torch.no_grad():
            module(images)
    except Exception:  # what it is comes up again when the network is asked in earnest
        return None
    return not torch.equal(images, before)


def _folded(module: nn.Module, sample: Tensor) -> nn.Module:
    """Batch norm folded into convolutions; the module itself where that fails or changes the answers."""
    from torch.fx.experimental.optimization import fuse

    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        return module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folded = fuse(module)
        with torch.no_grad():
            before, after = module(sample.clone()), folded(sample.clone())
        if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
            return folded
    except Exception:  # tracing user code can fail in any way; folding only saves time
        pass
    return module
