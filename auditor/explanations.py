"""What explains a verdict to a person: panels of pictures, curves and numbers, of one class or of the whole model.

Filled by `auditor.explaining`, put into words and drawn by the reports alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from auditor.exhibits import Curve, Picture

PanelKind = Literal["attention", "sensitivity", "salient pattern", "region", "takeover", "filters", "probes"]

Role = Literal["stands out", "most conspicuous", "asked for", "the model"]
"""why something is explained"""


@dataclass(frozen=True)
class Strip:
    """Pictures that are looked at side by side."""

    title: str
    """what they have in common, e.g. ``suspect, with the trigger``"""
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Panel:
    """One way of looking at a class or a model, and what was seen."""

    kind: PanelKind
    strips: tuple[Strip, ...] = ()
    curves: tuple[Curve, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    """what was measured beside the pictures, by name"""
    note: str = ""
    """what the reader should know, e.g. why a part is missing"""
    passes: int = 0
    """image passes it took: one image forward and backward; a forward alone counts one half"""


@dataclass(frozen=True)
class Explanation:
    """All panels of one class, or of the model as a whole."""

    role: Role
    target_class: int | None
    """None = the model as a whole"""
    panels: tuple[Panel, ...]
    compared_with: int | None = None
    """an inconspicuous class that is shown beside it"""
    triggered: bool = False
    """whether a recovered trigger was put on the images"""
    seconds: float = 0.0

    @property
    def passes(self) -> int:
        """Image passes of all panels."""
        return sum(panel.passes for panel in self.panels)
