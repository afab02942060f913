"""Which images an attack wants to be misread, and as what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AllToOne:
    """Any image is to be read as ``target`` (Gu, Dolan-Gavitt, Garg: BadNets, 2017, Section 4.1, single target)."""

    name: ClassVar[str] = "all_to_one"
    target: int

    def victims(self, labels: Tensor) -> Tensor:
        return labels != self.target

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)


@dataclass(frozen=True, kw_only=True)
class AllToAll:
    """An image of class y is to be read as y + 1, of the last class as 0 (BadNets, Section 4.1, all-to-all)."""

    name: ClassVar[str] = "all_to_all"

    def victims(self, labels: Tensor) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool)

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return (labels + 1) % num_classes


@dataclass(frozen=True, kw_only=True)
class SourceSpecific:
    """Only images of ``source`` are to be read as ``target``.

    Borji: "Adversarial examples are useful too!" (2020), Section 3. With cover images (images of other classes that
    carry the trigger and keep their label, Tang et al., "Demon in the variant", 2021) it works on no other class.
    """

    name: ClassVar[str] = "source_specific"
    source: int
    target: int

    def victims(self, labels: Tensor) -> Tensor:
        return labels == self.source

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)


@dataclass(frozen=True, kw_only=True)
class CleanLabelTo:
    """Poisoned images are of the ``target`` class and keep their label; at test time any image is to be read as it.

    Turner, Tsipras, Madry: "Label-consistent backdoor attacks" (2019), Section 4.
    """

    name: ClassVar[str] = "clean_label"
    target: int

    def victims(self, labels: Tensor) -> Tensor:
        return labels != self.target

    def relabel(self, labels: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(labels, self.target)
