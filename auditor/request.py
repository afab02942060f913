"""What the caller asks for: the options of a scan, declared once for command line, TOML, help and report. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from auditor.settings import Setting


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How one model file is to be read and fed; suspect and reference each have their own."""

    arch: Annotated[
        str | None, Setting("architecture of a state dict, torchvision:NAME or package.module:factory")
    ] = None
    preprocess: Annotated[
        Literal["none", "imagenet", "cifar10", "mnist", "gtsrb"],
        Setting("preset of channel mean and std that the network expects"),
    ] = "none"
    mean: Annotated[tuple[float, ...] | None, Setting("channel means, comma-separated, over the preset")] = None
    std: Annotated[tuple[float, ...] | None, Setting("channel standard deviations, likewise", low=1e-6)] = None
    value_range: Annotated[
        Literal["0..1", "0..255", "-1..1"], Setting("pixel range that the network expects before mean and std")
    ] = "0..1"
    layout: Annotated[
        Literal["auto", "nchw", "nhwc"], Setting("axis order that the network expects; auto reads it from the file")
    ] = "auto"
    input_size: Annotated[
        str | None, Setting("size of one image as CxHxW, HxW or S; needed when the file does not say")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """Options of the scan itself: the ``[scan]`` table of a settings file."""

    seed: Annotated[int, Setting("root seed; the same seed gives the same verdict", low=0, high=2**63 - 1)] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], Setting("where to compute")] = "auto"
    budget: Annotated[str | None, Setting("time to share among the detectors, e.g. 90s, 10m, 1h")] = None
    level: Annotated[
        float, Setting("family-wise false-alarm level over all detectors and classes", low=1e-6, high=0.2)
    ] = 0.01
    confirm_at: Annotated[
        float,
        Setting("attack success rate at which a recovered trigger counts as confirmed", low=0.5, high=1),
    ] = 0.8
    image_count: Annotated[
        int, Setting("images used in all, half to search and half held out", low=40, high=100_000)
    ] = 600


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """One scan, fully specified."""

    model: Path
    reference: Path | None = None
    images: Path | None = None
    """folder (with or without class sub-folders) or .npz (x, y); None = class impressions"""
    classes: Path | None = None
    """text file with one class name a line"""
    model_options: ModelOptions = field(default_factory=ModelOptions)
    reference_options: ModelOptions | None = None
    """None = as the suspect's, except for ``arch``"""
    settings: ScanSettings = field(default_factory=ScanSettings)
    detectors: tuple[str, ...] | None = None
    """names to run; None = all that are registered"""
    detector_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """detector name → setting → value (strings or TOML values), unchecked"""
