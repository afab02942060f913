"""From a path and the caller's options to a `Classifier`: what the file says, what the caller says, what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from auditor.classifier import PRESETS, Classifier, Preprocess
from auditor.errors import ConfigError, ModelFileError, ModelMismatchError
from auditor.findings import FileFacts
from auditor.loading import LoadedNetwork, load_network
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import SIDES
from auditor.loading.outputs import told_apart
from auditor.loading.quoting import quoted
from auditor.request import ModelOptions

Shape = tuple[int, int, int]


def open_classifier(
    path: Path,
    options: ModelOptions,
    *,
    device: str,
    labels: tuple[str, ...] = (),
    template: LoadedNetwork | None = None,
    default_shape: Shape | None = None,
    limits: Limits = DEFAULT_LIMITS,
    as_black_box: bool = False,
) -> tuple[Classifier, LoadedNetwork]:
    """Load a file and wrap it. ``default_shape`` (C, H, W) serves when neither the file nor the caller says.

    Raises `ModelFileError` and its kin from loading, `ConfigError` when the input size stays unknown, and
    `ModelMismatchError` when the network does not take what was declared.
    """
    network = _loaded(path, options, template, limits, as_black_box)
    shape = input_shape(options.input_size, network.input_shape, default_shape, network.file_name)
    network = told_apart(network, shape, options.scores)
    layout = network.layout if options.layout == "auto" else options.layout
    mean, std = PRESETS["none" if options.preprocess == "auto" else options.preprocess]
    preprocess = Preprocess(
        mean=options.mean if options.mean is not None else mean,
        std=options.std if options.std is not None else std,
        value_range=(options.leave_preparation_open and network.value_range) or options.value_range,
        layout=layout,
    )
    facts = FileFacts(
        name=network.file_name,
        sha256=network.sha256,
        format=network.format,
        architecture=network.architecture,
        num_classes=network.num_classes,
        input_shape=shape,
    )
    classifier = Classifier(
        network.module,
        input_shape=shape,
        facts=facts,
        preprocess=preprocess,
        device=device,
        labels=labels or network.labels or (),
        fixed_batch=network.fixed_batch,
        differentiable=network.differentiable,
    )
    if labels and len(labels) != classifier.num_classes:
        raise ModelMismatchError(
            f"expected {classifier.num_classes} class names for this model, got {len(labels)}; "
            "give --classes a file with one name a line"
        )
    return classifier, network


def _loaded(
    path: Path, options: ModelOptions, template: LoadedNetwork | None, limits: Limits, as_black_box: bool
) -> LoadedNetwork:
    """The network in a file; its errors name the file, since of two files the reader wants to know which."""
    try:
        return load_network(
            path,
            arch=options.arch,
            template=template,
            allow_torchscript=options.allow_torchscript,
            unsafe_pickle=options.unsafe_pickle,
            as_black_box=as_black_box,
            scores=options.scores,
            limits=limits,
        )
    except ModelFileError as error:
        name = quoted(path.name)
        if name in str(error):
            raise
        raise type(error)(f"{error} (file {name})") from error


def input_shape(asked: str | None, of_file: Shape | None, default: Shape | None, name: str) -> Shape:
    """(C, H, W) from --input-size, else the file, else ``default``."""
    known = of_file or default
    if asked is None:
        if known is None:
            raise ConfigError(
                f"expected the input size of '{name}', which its file does not say; "
                "add --input-size CxHxW, e.g. 3x32x32"
            )
        return known
    if not re.fullmatch(r"\d{1,5}(x\d{1,5}){0,2}", asked):
        raise ConfigError(f"expected --input-size as CxHxW, HxW or S, got '{asked}'; e.g. 3x32x32")
    numbers = [int(n) for n in asked.split("x")]
    channels = numbers[0] if len(numbers) == 3 else known[0] if known else 3
    height, width = numbers[-2:] if len(numbers) > 1 else (numbers[0], numbers[0])
    if not (1 <= channels <= 16 and height in SIDES and width in SIDES):
        raise ConfigError(f"expected --input-size between 1x4x4 and 16x4096x4096, got '{asked}'")
    return channels, height, width


def choose_device(asked: str) -> str:
    """``auto`` → ``cuda`` where there is one; raises `ConfigError` when cuda was asked for and is not there."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("expected a CUDA device, got none that torch can use; choose --device cpu")
    return asked


def read_labels(path: Path | None) -> tuple[str, ...]:
    """One class name a line; raises `ConfigError` for a missing or empty file."""
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected a text file of class names at '{path}', got: {error}") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise ConfigError(f"expected one class name a line in '{path.name}', got an empty file")
    return names
