"""An ONNX file as a network: read, converted and verified, or asked as a black box where nothing converts it."""

from __future__ import annotations

from pathlib import Path

from auditor.errors import UnsupportedOperatorsError
from auditor.loading.file_format import sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import LoadedNetwork
from auditor.loading.onnx_graph.black_box import black_box
from auditor.loading.onnx_graph.file import read_onnx
from auditor.loading.onnx_graph.network import network_from_model
from auditor.loading.onnx_graph.prepare import EIGHT_BIT
from auditor.loading.onnx_graph.scores import keep_scores


def load_onnx(
    path: Path, limits: Limits = DEFAULT_LIMITS, *, as_black_box: bool = False, scores: str | None = None
) -> LoadedNetwork:
    """Load an ONNX image classifier as a torch module that was verified against an ONNX runtime.

    With ``as_black_box`` a graph that nothing converts is asked through onnxruntime, without gradients. ``scores``
    names one of several outputs.

    Raises ModelFileError, UnsafeFileError, UnsupportedOperatorsError or ConfigError, each with a remedy.
    """
    file = read_onnx(path, limits)
    chosen = keep_scores(file.model, scores)
    differentiable = True
    try:
        network = network_from_model(file.model, limits)
    except UnsupportedOperatorsError:
        if not as_black_box:
            raise
        network, differentiable = black_box(file.model, limits), False
    return LoadedNetwork(
        module=network.module,
        input_shape=network.input_shape,
        layout=network.layout,
        num_classes=network.num_classes,
        fixed_batch=network.fixed_batch,
        labels=_fitting(file.labels, network.num_classes),
        format="onnx",
        architecture=None,
        sha256=sha256_of(path),
        file_name=path.name,
        notes=(*file.notes, *chosen, *network.notes),
        differentiable=differentiable,
        value_range="0..255" if EIGHT_BIT in network.notes else None,
        onnx_model=file.model,
    )


def _fitting(labels: tuple[str, ...] | None, classes: int | None) -> tuple[str, ...] | None:
    return labels if labels and len(labels) == classes else None
