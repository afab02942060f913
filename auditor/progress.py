"""How long work tells how far it is: one callback, whoever listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""called with (label, done, total); in between with (`PASSES`, image passes so far, 0)"""

PASSES = "image passes"
"""the label under which a loop tells what was spent"""
