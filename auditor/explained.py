"""The result of ``audit explain``: explanations of a class without a scan, and so without a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.exhibits import Picture
from auditor.explanations import Explanation
from auditor.findings import FileFacts, ImageFacts, Provenance


@dataclass(frozen=True)
class Explained:
    """What ``audit explain`` gives: explanations without a verdict."""

    model: FileFacts
    reference: FileFacts | None
    images: ImageFacts
    labels: tuple[str, ...]
    """class names, hostile text"""
    explanations: tuple[Explanation, ...]
    warnings: tuple[str, ...]
    provenance: Provenance
    seconds: float
    image_passes: int
    generated: Picture | None = None
    """the image made from a seed, where that was asked for"""
