"""Static inspection of model files: what they say of themselves, with nothing in them run. Imports no torch."""

from __future__ import annotations

from auditor.findings import FileFinding
from auditor.inspection.examination import Examination, OperationCount, TensorFact
from auditor.inspection.examine import examine
from auditor.loading.onnx_external import ExternalFile

__all__ = ["Examination", "ExternalFile", "FileFinding", "OperationCount", "TensorFact", "examine"]
