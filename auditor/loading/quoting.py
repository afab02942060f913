"""Text from a model file, made safe to show."""

from __future__ import annotations


def quoted(text: str, limit: int = 80) -> str:
    """Return ``text`` in single quotes, every character that is not printable ASCII escaped, cut to
    ``limit``."""
    escaped = text.encode("unicode_escape", "backslashreplace").decode("ascii").replace("'", "\\'")
    return f"'{escaped[:limit]}…'" if len(escaped) > limit else f"'{escaped}'"


def listed(items: list[str], limit: int = 8) -> str:
    """Join up to ``limit`` items, which are escaped already, and count the rest."""
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown
