"""Backdoor auditor: the names a plugin author imports. Importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from auditor.findings import KIN, Curve, Exhibit, Matrix, Measurement, Picture, Statistic, Trigger
from auditor.outliers import anomaly_index, label_map_index, surprises
from auditor.settings import Setting

if TYPE_CHECKING:
    from auditor.classifier import Classifier
    from auditor.context import Context
    from auditor.detector import Detector, Effort, Need
    from auditor.feature_maps import Layer, layer_at, shifted_logits

__version__ = "0.1.0"

__all__ = [
    "KIN",
    "Classifier",
    "Context",
    "Curve",
    "Detector",
    "Effort",
    "Exhibit",
    "Layer",
    "Matrix",
    "Measurement",
    "Need",
    "Picture",
    "Setting",
    "Statistic",
    "Trigger",
    "anomaly_index",
    "label_map_index",
    "layer_at",
    "shifted_logits",
    "surprises",
]

_LAZY = {
    "Layer": "feature_maps",
    "layer_at": "feature_maps",
    "shifted_logits": "feature_maps",
    "Classifier": "classifier",
    "Context": "context",
    "Detector": "detector",
    "Effort": "detector",
    "Need": "detector",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"auditor.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'auditor' has no attribute '{name}'")
