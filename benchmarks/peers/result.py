"""What a peer concludes of one model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from auditor.archive import save_text


@dataclass(frozen=True)
class PeerResult:
    """One model, judged by one method as its authors judge it."""

    method: str
    score: float
    """at least 0, higher means more suspicious; comparable between models of one method only"""
    flagged: bool
    """the authors' own decision"""
    target_classes: tuple[int, ...]
    """classes that it names, the most suspicious first; empty unless flagged"""
    passes: int
    """image passes, counted by the same counter as the auditor's"""
    seconds: float
    per_class: tuple[float, ...]
    """(K,) mask sizes in pixels, or largest margins in logits"""

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all; raises `ConfigError` where that fails."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_text(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @staticmethod
    def load(path: Path) -> PeerResult:
        """What `save` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return PeerResult(
            **{**kept, "target_classes": tuple(kept["target_classes"]), "per_class": tuple(kept["per_class"])}
        )
