"""What the caller asks for: the options of a scan, declared once for command line, TOML, help and report. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.settings import Setting

EXPLANATIONS = ("salient_pattern", "sensitivity", "filters", "probes", "generation")
"""tables of a settings file that tune explanations; `auditor.explain.subject` knows who declares each"""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How one model file is to be read and fed; suspect and reference each have their own."""

    arch: Annotated[
        str | None, Setting("architecture of a state dict: torchvision:NAME, timm:NAME or package.module:factory")
    ] = None
    preprocess: Annotated[
        Literal["auto", "none", "imagenet", "cifar10", "mnist", "gtsrb"],
        Setting("preset of channel mean and std that the network expects; auto: as labels, else batch norm, tell"),
    ] = "auto"
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
    scores: Annotated[
        str | None, Setting("output that holds the class scores, by name or position, where a model has several")
    ] = None
    allow_torchscript: Annotated[
        bool, Setting("load a TorchScript program, after every operation in it passed a list of harmless ones")
    ] = False
    unsafe_pickle: Annotated[
        bool, Setting("execute a pickled module; only for a file that you made yourself, and recorded in red")
    ] = False


    @property
    def leave_preparation_open(self) -> bool:
        """Whether nothing is said of what the network expects, so that labelled images may tell."""
        return self.preprocess == "auto" and self.mean is None and self.std is None and self.value_range == "0..1"


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """Options of the scan itself: the ``[scan]`` table of a settings file."""

    seed: Annotated[int, Setting("root seed; the same seed gives the same verdict", low=0, high=2**63 - 1)] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], Setting("where to compute")] = "auto"
    budget: Annotated[str | None, Setting("time to share among the detectors, e.g. 90s, 10m, 1h")] = None
    effort: Annotated[
        Literal["quick", "standard", "thorough"], Setting("how much to spend: which detectors run unless named")
    ] = "standard"
    early_stop: Annotated[
        bool, Setting("end once a confirmed trigger has decided the verdict; thorough never does")
    ] = True
    looks: Annotated[
        int,
        Setting("how often a suspicion or doubt that no trigger confirms is measured; the mean counts", low=1, high=20),
    ] = 3
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
    explain: Annotated[
        Literal["none", "standard", "full"],
        Setting("pictures of why: standard in less than half of the time, full as in the papers"),
    ] = "standard"
    black_box: Annotated[
        bool,
        Setting("where nothing converts the ONNX graph, go on by onnxruntime with what needs no gradients"),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What the process that opens and measures the model may take: the ``[worker]`` table of a settings file."""

    memory_gib: Annotated[
        float | None, Setting("memory in GiB; without it three quarters of the machine's", low=0.5, high=100_000)
    ] = None
    cpu_seconds: Annotated[int | None, Setting("CPU time of all its threads", low=1, high=10**8)] = None
    loading_seconds: Annotated[float, Setting("time until the models are open", low=1, high=10**6)] = 300.0
    open_files: Annotated[int, Setting("files open at once", low=64, high=10**6)] = 1024
    written_bytes: Annotated[int, Setting("bytes of the largest file it may write", low=0, high=2**40)] = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """One scan, fully specified."""

    model: Path
    reference: Path | None = None
    images: Path | None = None
    """folder (with or without class sub-folders) or .npz (x, y); None = class impressions"""
    classes: Path | None = None
    """text file with one class name a line"""
    calibration: Path | None = None
    """what `audit calibrate` wrote; None = the shipped one"""
    model_options: ModelOptions = field(default_factory=ModelOptions)
    reference_options: ModelOptions | None = None
    """None = as the suspect's, except for ``arch``"""
    settings: ScanSettings = field(default_factory=ScanSettings)
    limits: Limits = DEFAULT_LIMITS
    """what a model file may ask of the machine"""
    worker: Confinement = field(default_factory=Confinement)
    detectors: tuple[str, ...] | None = None
    """names to run; None = all that are registered"""
    detector_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """detector name → setting → value (strings or TOML values), unchecked"""
    explanation_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """likewise for the tables of `EXPLANATIONS`"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What ``audit explain`` asks of a model, besides what a scan would be given."""

    target: int
    """the class to be explained"""
    audit: Path | None = None
    """a finished audit, as JSON, whose trigger of that class is put on the images"""
    seed_image: Path | None = None
    """an image to be turned into one of the class instead (`auditor.explain.generation`)"""
    mask: Path | None = None
    """the region of ``seed_image`` to be filled in: white where it is"""
