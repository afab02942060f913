"""What a peer concludes of one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PeerResult:
    """One model, judged by one method as its authors judge it."""

    method: str
    score: float
    """higher means more suspicious; comparable between models of one method"""
    flagged: bool
    target_classes: tuple[int, ...]
    """classes that it names; empty unless flagged"""
    passes: int
    """image passes, counted by the same counter as the auditor's"""
    seconds: float
    per_class: tuple[float, ...]
    """(K,) mask sizes, or largest margins"""
