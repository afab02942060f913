"""Measure how one architecture loads; ``benchmarks.loading`` does so in a process for each."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from auditor.errors import AuditError
from auditor.inspection import examine
from auditor.loading import load_network
from benchmarks.loading_networks import build, image_size, images

EXPORT_BATCH = 2
OTHER_BATCH = 3
"""images that a loaded network is compared on: another number than it was exported with"""

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """One way to save a network, written as ``dynamo``, ``legacy-17``, ``dynamo-fixed``, ``legacy-17-float16``, ``pt``
    or ``safetensors``."""

    exporter: str
    opset: int | None = None
    fixed: bool = False
    dtype: torch.dtype = torch.float32

    @classmethod
    def parse(cls, text: str) -> Case:
        """Raises ValueError for a word that is none of them."""
        exporter, *words = text.split("-")
        if exporter not in ("dynamo", "legacy", "pt", "safetensors"):
            raise ValueError(f"expected dynamo, legacy, pt or safetensors, got {exporter!r}")
        opset = next((int(word) for word in words if word.isdigit()), None)
        dtype = next((_DTYPES[word] for word in words if word in _DTYPES), torch.float32)
        return cls(exporter, opset, "fixed" in words, dtype)


@dataclass(frozen=True)
class Expected:
    """What torch says: scores and input gradients for ``OTHER_BATCH`` images."""

    pixels: Tensor
    scores: Tensor
    gradient: Tensor

    @classmethod
    def of(cls, network: nn.Module, pixels: Tensor) -> Expected:
        """Runs the network forward and back."""
        scores, gradient = scores_and_gradient(network, pixels)
        return cls(pixels, scores, gradient)

    @property
    def spread(self) -> float:
        """How far the images' scores lie apart, over the largest score: near 0 a comparison would show nothing."""
        return float((self.scores - self.scores[:1]).abs().max() / self.scores.abs().max())


def scores_and_gradient(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N, K) and the gradient of a fixed random combination of them, of the shape of ``pixels``."""
    x = pixels.clone().requires_grad_()
    scores = network(x)
    weights = torch.randn(scores.shape[1], generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((scores * weights).sum(), x)
    return scores.detach(), gradient


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``theirs``."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters print and warn a lot."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def save(network: nn.Module, case: Case, size: int, folder: Path) -> Path:
    """Write the network as the case says and return the path. Raises whatever the exporter raises."""
    if case.exporter == "pt":
        path = folder / "model.pt"
        torch.save(network.state_dict(), path)
        return path
    if case.exporter == "safetensors":
        from safetensors.torch import save_file

        path = folder / "model.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        return path
    path = folder / "model.onnx"
    example = images(1 if case.fixed else EXPORT_BATCH, size).to(case.dtype)
    options: dict[str, Any] = {} if case.opset is None else {"opset_version": case.opset}
    if case.exporter == "dynamo":
        dynamic = None if case.fixed else ({0: torch.export.Dim.DYNAMIC},)
        options.update(dynamo=True, dynamic_shapes=dynamic, verbose=False)
    else:
        axes = None if case.fixed else {"input": {0: "batch"}, "scores": {0: "batch"}}
        options.update(dynamo=False, dynamic_axes=axes, input_names=["input"], output_names=["scores"])
    with quiet():
        torch.onnx.export(network, (example,), str(path), **options)  # a str: only then weights go beside it
    return path


def compare(path: Path, expected: Expected, arch: str | None = None) -> dict[str, Any]:
    """Load a file and compare it with torch."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        loaded = load_network(path, arch=arch)
    except AuditError as error:
        return {"error": str(error)}
    except Exception as error:  # a crash, which no file should cause
        return {"error": f"crashed with {type(error).__name__}: {error}"}
    seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scores, gradient = scores_and_gradient(loaded.module, expected.pixels)
    return {
        "load_seconds": seconds,
        "load_cpu": cpu,
        "difference": relative(scores, expected.scores),
        "gradient": relative(gradient, expected.gradient),
        "gradient_nonzero": bool(gradient.abs().amax(dim=(1, 2, 3)).gt(0).all()),
        "classes": scores.shape[1] if loaded.num_classes is None else loaded.num_classes,
        "fixed_batch": loaded.fixed_batch,
        "architecture": loaded.architecture,
        "notes": list(loaded.notes),
    }


def graph_facts(path: Path) -> dict[str, Any]:
    """Opset and number of operations of an export, and what ``audit inspect`` finds odd in it."""
    model = onnx.load(path, load_external_data=False)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    findings = [f"{found.severity} {found.id}: {found.message}" for found in examine(path).findings]
    return {"opset": opset, "nodes": len(model.graph.node), "findings": findings}


@dataclass(frozen=True)
class Saved:
    """A case as it was saved."""

    path: Path | None
    """``None`` when the exporter refused"""
    refusal: str
    seconds: float
    expected: Expected


def save_case(network: nn.Module, text: str, size: int, folder: Path, expected: Expected) -> Saved:
    """Save one case, or note the exporter's refusal in a sentence."""
    folder.mkdir()
    began = time.perf_counter()
    path, refusal = None, ""
    try:
        path = save(network, Case.parse(text), size, folder)
    except Exception as error:  # exporters raise whatever they meet
        refusal = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
    return Saved(path, refusal, time.perf_counter() - began, expected)


def load_case(saved: Saved, architecture: str, kept: Path | None) -> dict[str, Any]:
    """Load what was saved, compare it, keep a copy as ``kept`` and delete it."""
    if saved.path is None:
        return {"exporter_error": saved.refusal}
    files = list(saved.path.parent.iterdir())
    facts = {"save_seconds": saved.seconds, "bytes": sum(file.stat().st_size for file in files)}
    graph = saved.path.suffix == ".onnx"
    if graph:
        facts.update(graph_facts(saved.path))
    arch = architecture if architecture.startswith("timm:") and not graph else None
    result = {**facts, **compare(saved.path, saved.expected, arch)}
    if kept is not None and graph:
        keep_copy(saved.path, kept)
    for file in files:
        file.unlink()
    return result


def measure_architecture(architecture: str, cases: list[str], work: Path, keep: Path | None) -> dict[str, Any]:
    """Build, save in every form, free the network, then load and compare each file."""
    size, short = image_size(architecture), architecture.partition(":")[2]
    network = build(architecture)
    result: dict[str, Any] = {
        "name": architecture,
        "size": size,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    saved: dict[str, Saved] = {}
    for dtype in dict.fromkeys(Case.parse(text).dtype for text in cases):
        network.to(dtype).float()  # parameters of that precision, computed in float32
        expected = Expected.of(network, images(OTHER_BATCH, size))
        result.setdefault("spread", expected.spread)
        network.to(dtype)
        for text in cases:
            if Case.parse(text).dtype == dtype:
                saved[text] = save_case(network, text, size, work / text, expected)
        network.float()
    del network
    result["cases"] = {
        text: load_case(saved[text], architecture, keep / f"{short}.{text}.onnx" if keep else None) for text in cases
    }
    result["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def keep_copy(path: Path, target: Path, whole_bytes: int = 60 << 20, most: int = 1024) -> None:
    """Keep a small export whole, of a larger one the graph with constants of at most ``most`` bytes."""
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    model = onnx.load(path, load_external_data=size <= whole_bytes)
    if size > whole_bytes:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > most:
                tensor.ClearField("raw_data")
    onnx.save(model, target)


def warm_up() -> None:
    """Import what every measurement needs and let the exporter build its tables, once for all processes."""
    torch.set_num_threads(1)
    import onnxruntime  # noqa: F401
    import torchvision  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        save(network, Case("dynamo"), 8, Path(folder))


def measure_confined(
    architecture: str, cases: list[str], work: Path, keep: Path | None, memory_gib: float, told: Connection
) -> None:
    """Measure one architecture within a limit of memory and send the result as JSON; the main function of a process."""
    most = int(memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        result = measure_architecture(architecture, cases, work, keep)
    except Exception as error:  # a failure is a result
        result = {"name": architecture, "error": f"{type(error).__name__}: {error}"[:300]}
    told.send_bytes(json.dumps(result).encode())
