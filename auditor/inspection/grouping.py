"""Findings in the order of their weight, and many of one kind cut short."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from auditor.findings import FileFinding

MOST = 8
"""findings of one kind that are listed one by one"""
_ORDER = {"danger": 0, "warning": 1, "info": 2}


def grouped(findings: Iterable[FileFinding], most: int = MOST) -> list[FileFinding]:
    """The findings, dangers first, at most ``most`` of one kind; the last of them counts the rest."""
    kinds: dict[tuple[str, str], list[FileFinding]] = defaultdict(list)
    for finding in dict.fromkeys(findings):
        kinds[finding.id, finding.severity].append(finding)
    kept = []
    for group in kinds.values():
        kept += group[:most]
        if len(group) > most:
            last = group[most]
            kept[-1] = FileFinding(
                last.id, last.severity, f"{group[most - 1].message} (and {len(group) - most} more of this kind)"
            )
    return sorted(kept, key=lambda finding: _ORDER[finding.severity])
