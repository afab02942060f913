"""Plugins by entry points: detectors, reports and ONNX converters of this package and of anybody else's."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from auditor.errors import ConfigError

DETECTORS = "auditor.detectors"
REPORTS = "auditor.reports"
COMPARISONS = "auditor.comparisons"
"""reports of two audits"""
EXPLANATIONS = "auditor.explanations"
"""reports of one class, without a verdict"""


def names(group: str) -> list[str]:
    """Names registered under an entry-point group, sorted; imports nothing."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, name: str) -> Any:
    """The object behind one name; raises `ConfigError` naming the known ones, or the plugin that does not import."""
    found: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=group)}
    kind = group.rpartition(".")[2].rstrip("s")
    if name not in found:
        raise ConfigError(f"expected a {kind} among {', '.join(sorted(found)) or 'none'}, got '{name}'")
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"expected {kind} '{name}' to import from {found[name].value}, got: {error}; "
            "reinstall or remove the package that registers it"
        ) from error
