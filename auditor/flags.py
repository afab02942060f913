"""The flags of the command line, each made from its declaration in `auditor.request`. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from auditor.request import ModelOptions, ScanSettings
from auditor.settings import Declared, Setting, declared

SWITCH = bool | None
"""None = not given, so that a settings file may say"""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a scan works on and when it fails; the ``[scan]`` table of a settings file may hold these too."""

    reference: Annotated[str | None, Setting("clean model of the same task to compare with")] = None
    images: Annotated[
        str | None,
        Setting("folder or .npz (x, y) of clean images; without it images are made from the models"),
    ] = None
    classes: Annotated[str | None, Setting("text file with one class name a line")] = None
    calibration: Annotated[
        str | None, Setting("file that audit calibrate wrote, instead of the calibration that comes with the auditor")
    ] = None
    detector: Annotated[tuple[str, ...] | None, Setting("detector to run, repeatable; without it all")] = None
    fail_on: Annotated[
        Literal["suspicious", "backdoored", "never"], Setting("mildest verdict that gives exit code 1")
    ] = "suspicious"


def _metavar(spec: Declared, name: str) -> str:
    if get_origin(spec.type) is Literal:
        return "|".join(map(str, get_args(spec.type)))
    kinds = {int: "N", float: "X"}
    return kinds.get(spec.type, name)


def _flag(cls: type, name: str, flag: str = "", metavar: str = "TEXT", prefix: str = "") -> Any:
    """A Typer option with the declaration's help and default; parsed later, by `auditor.settings`."""
    spec = declared(cls)[name]
    text = prefix + spec.setting.help
    if spec.default is not None and not prefix:
        text += f" [default: {spec.default}]"
    return typer.Option(
        flag or "--" + name.replace("_", "-"), help=text, metavar=_metavar(spec, metavar), show_default=False
    )


def _switch(cls: type, name: str, off: str = "") -> Any:
    """A Typer option without a value; ``off`` is the flag for no, where yes is the default."""
    return typer.Option(
        "--" + name.replace("_", "-") + off, help=declared(cls)[name].setting.help, show_default=False
    )


Model = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="ONNX file, PyTorch checkpoint or state dict, .safetensors, or torch.export's .pt2",
        show_default=False,
    ),
]
Reference = Annotated[str | None, _flag(Gate, "reference", metavar="FILE")]
Images = Annotated[str | None, _flag(Gate, "images", metavar="PATH")]
Classes = Annotated[str | None, _flag(Gate, "classes", metavar="FILE")]
Calibration = Annotated[str | None, _flag(Gate, "calibration", metavar="FILE")]
Detectors = Annotated[list[str] | None, _flag(Gate, "detector", metavar="NAME")]
FailOn = Annotated[str | None, _flag(Gate, "fail_on")]

Arch = Annotated[str | None, _flag(ModelOptions, "arch", metavar="NAME")]
Preprocess = Annotated[str | None, _flag(ModelOptions, "preprocess")]
Mean = Annotated[str | None, _flag(ModelOptions, "mean", metavar="X,...")]
Std = Annotated[str | None, _flag(ModelOptions, "std", metavar="X,...")]
Range = Annotated[str | None, _flag(ModelOptions, "value_range", "--range")]
Layout = Annotated[str | None, _flag(ModelOptions, "layout")]
InputSize = Annotated[str | None, _flag(ModelOptions, "input_size", metavar="SIZE")]
Scores = Annotated[str | None, _flag(ModelOptions, "scores", metavar="NAME")]
AllowTorchscript = Annotated[SWITCH, _switch(ModelOptions, "allow_torchscript")]
UnsafePickle = Annotated[SWITCH, _switch(ModelOptions, "unsafe_pickle")]

_OF_REFERENCE = "of the reference, where it differs: "
ReferenceArch = Annotated[
    str | None, _flag(ModelOptions, "arch", "--reference-arch", "NAME", prefix="of the reference: ")
]
ReferencePreprocess = Annotated[
    str | None, _flag(ModelOptions, "preprocess", "--reference-preprocess", prefix=_OF_REFERENCE)
]
ReferenceMean = Annotated[
    str | None, _flag(ModelOptions, "mean", "--reference-mean", "X,...", prefix=_OF_REFERENCE)
]
ReferenceStd = Annotated[
    str | None, _flag(ModelOptions, "std", "--reference-std", "X,...", prefix=_OF_REFERENCE)
]

Seed = Annotated[str | None, _flag(ScanSettings, "seed")]
Device = Annotated[str | None, _flag(ScanSettings, "device")]
Budget = Annotated[str | None, _flag(ScanSettings, "budget", metavar="TIME")]
Effort = Annotated[str | None, _flag(ScanSettings, "effort")]
Explain = Annotated[str | None, _flag(ScanSettings, "explain")]
EarlyStop = Annotated[SWITCH, _switch(ScanSettings, "early_stop", "/--no-early-stop")]
Looks = Annotated[str | None, _flag(ScanSettings, "looks")]
Level = Annotated[str | None, _flag(ScanSettings, "level")]
ConfirmAt = Annotated[str | None, _flag(ScanSettings, "confirm_at")]
ImageCount = Annotated[str | None, _flag(ScanSettings, "image_count")]
BlackBox = Annotated[SWITCH, _switch(ScanSettings, "black_box")]

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.SETTING=VALUE",
        help="one setting of a detector, or of limits or worker, repeatable; audit detectors NAME lists a detector's",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file: tables [scan], [model], [reference], [limits], [worker] and one for each detector; flags win "
        "over it",
        show_default=False,
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT=FILE",
        help="report to write, repeatable: html=report.html, pdf=report.pdf (by Chromium), json=audit.json; - is "
        "standard output",
        show_default=False,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="no progress and no console report", show_default=False)
]


def _without_colour(wanted: bool) -> bool:
    """rich and everything else that draws here obeys NO_COLOR (no-color.org)."""
    if wanted:
        os.environ["NO_COLOR"] = "1"
    return wanted


NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color", help="no colours, as with NO_COLOR set", show_default=False, callback=_without_colour
    ),
]
