"""What somebody needs to run an audit again: versions, seed, device, resolved settings."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from auditor import __version__
from auditor.detector import Detector
from auditor.findings import Provenance
from auditor.request import ScanRequest
from auditor.settings import values_of

PACKAGES = ("torch", "torchvision", "onnx", "onnx2torch", "numpy")


def provenance(seed: int, device: str, started: datetime, record: dict[str, Any]) -> Provenance:
    """Seed, device, time and the versions of everything that computed."""
    versions = {"backdoor-auditor": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Provenance(seed, device, versions, started.isoformat(timespec="seconds"), record)


def record_of(request: ScanRequest, detectors: Sequence[tuple[str, Detector]]) -> dict[str, Any]:
    """The resolved settings, defaults included; file names without their folders."""
    reference_options = request.reference_options
    return {
        "model": request.model.name,
        "reference": request.reference.name if request.reference else None,
        "images": request.images.name if request.images else None,
        "calibration": request.calibration.name if request.calibration else None,
        "scan": asdict(request.settings),
        "limits": asdict(request.limits),
        "worker": asdict(request.worker),
        "model options": asdict(request.model_options),
        "reference options": asdict(reference_options) if reference_options else None,
        "detectors": {name: values_of(detector) for name, detector in detectors},
    }
