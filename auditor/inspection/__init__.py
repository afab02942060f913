"""Static inspection of model files: what they say of themselves, with nothing in them run.

Imports no torch; what an examination gives (`Examination`) can be read without onnx either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from auditor.inspection.examination import Examination, OperationCount, TensorFact

if TYPE_CHECKING:
    from auditor.inspection.examining import examine

__all__ = ["Examination", "OperationCount", "TensorFact", "examine"]


def __getattr__(name: str) -> Any:
    if name == "examine":
        return import_module("auditor.inspection.examining").examine
    raise AttributeError(f"module 'auditor.inspection' has no attribute '{name}'")
