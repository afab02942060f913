"""The audit as versioned JSON, described by ``audit.schema.json`` beside this file."""

from __future__ import annotations

from auditor.archive import to_text
from auditor.findings import Audit


def render(audit: Audit) -> str:
    """JSON text of the whole audit, enough to render every other report again."""
    return to_text(audit)
