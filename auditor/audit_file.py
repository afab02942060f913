"""A finished audit as it lies in a file."""

from __future__ import annotations

from pathlib import Path

from auditor import archive
from auditor.errors import ConfigError
from auditor.findings import Audit


def read_audit(path: Path) -> Audit:
    """The audit that ``-o json=`` wrote to ``path``; raises `ConfigError` when there is none to be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"expected an audit at {path.name!a}, got: {reason}; name a file written by -o json="
        ) from error
    return archive.from_text(text)
