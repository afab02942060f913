"""Examine an ONNX file: what it states of itself, and what its graph does with the image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from auditor.errors import ModelFileError
from auditor.findings import ExternalFile, FileFinding
from auditor.inspection.constants import template_findings, weight_findings
from auditor.inspection.examination import OperationCount, TensorFact
from auditor.inspection.flow import trace
from auditor.inspection.operations import RUNTIME, STANDARD
from auditor.inspection.selection import selection_findings, unused_findings
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.bombs import check_sizes
from auditor.loading.onnx_graph.external import load_external
from auditor.loading.onnx_graph.file import parse
from auditor.loading.onnx_graph.tensors import elements, nodes, raw_bytes, tensors
from auditor.loading.onnx_graph.traps import disarm
from auditor.loading.quoting import listed, quoted

_LARGEST = 5


def examine_onnx(path: Path, limits: Limits) -> tuple[dict[str, Any], list[FileFinding]]:
    """Fields of an Examination, and findings. Raises ModelFileError when the file does not parse as ONNX."""
    model, findings = parse(path, limits)
    fields = _fields(model)
    findings += disarm(model)
    files: tuple[ExternalFile, ...] = ()
    try:
        check_sizes(model, limits)
    except ModelFileError as error:
        findings.append(FileFinding("tensor-too-large", "danger", str(error)))
    try:
        files = load_external(model, path.resolve().parent, limits)
    except ModelFileError as error:
        findings.append(FileFinding("external-data-refused", "danger", str(error)))
    fields["external_files"] = files
    flow = trace(model)
    findings += [
        *_foreign(model),
        *selection_findings(flow),
        *unused_findings(model, flow),
        *template_findings(model, flow),
        *weight_findings(model),
    ]
    return fields, findings


def _fields(model: onnx.ModelProto) -> dict[str, Any]:
    stored = [tensor for tensor in tensors(model) if elements(tensor) > 0]
    constants = {tensor.name for tensor in model.graph.initializer}
    producer = " ".join(text for text in (model.producer_name, model.producer_version) if text)
    opsets = [f"{quoted(entry.domain or 'ai.onnx', 40)[1:-1]} {entry.version}" for entry in model.opset_import]
    return {
        "inputs": tuple(_value(value) for value in model.graph.input if value.name not in constants),
        "outputs": tuple(_value(value) for value in model.graph.output),
        "operations": _operations(model),
        "tensors": len(stored),
        "parameters": sum(elements(tensor) for tensor in stored),
        "weight_bytes": sum(raw_bytes(tensor) or 0 for tensor in stored),
        "largest": tuple(_stored(tensor) for tensor in sorted(stored, key=elements, reverse=True)[:_LARGEST]),
        "facts": {
            "producer": quoted(producer)[1:-1],
            "IR version": str(model.ir_version),
            "operation sets": listed(opsets),
        },
    }


def _operations(model: onnx.ModelProto) -> tuple[OperationCount, ...]:
    versions = {("" if e.domain == "ai.onnx" else e.domain): e.version for e in model.opset_import}
    counts = Counter(("" if node.domain in STANDARD else node.domain, node.op_type) for node in nodes(model))
    return tuple(
        OperationCount(quoted(domain)[1:-1], quoted(kind)[1:-1], versions.get(domain, 0), count)
        for (domain, kind), count in counts.most_common()
    )


def _value(value: onnx.ValueInfoProto) -> TensorFact:
    tensor = value.type.tensor_type
    shape = tuple(
        str(dim.dim_value) if dim.HasField("dim_value") else quoted(dim.dim_param, 40)[1:-1] or "?"
        for dim in tensor.shape.dim
    )
    return TensorFact(quoted(value.name)[1:-1], type_name(tensor.elem_type), shape)


def _stored(tensor: TensorProto) -> TensorFact:
    return TensorFact(quoted(tensor.name)[1:-1], type_name(tensor.data_type), tuple(map(str, tensor.dims)))


def type_name(number: int) -> str:
    """The name of an ONNX element type; its number when the installed onnx does not know it."""
    names = {value: name.lower() for name, value in TensorProto.DataType.items()}
    name = names.get(number, f"type {number}")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _foreign(model: onnx.ModelProto) -> list[FileFinding]:
    """Operations of other domains than ONNX's own, which somebody's library would compute."""
    local = {(function.domain, function.name) for function in model.functions}
    findings = []
    for own in (True, False):
        counts = Counter(
            f"{node.domain}::{node.op_type}"
            for node in nodes(model)
            if node.domain not in STANDARD
            and (node.domain, node.op_type) not in local
            and (node.domain == RUNTIME) is own
        )
        if not counts:
            continue
        shown = listed([f"{quoted(name)[1:-1]} ({count}×)" for name, count in counts.most_common()])
        if own:
            message = f"operations that onnxruntime adds to ONNX's own are in the graph: {shown}"
            findings.append(FileFinding("runtime-operations", "info", message))
        else:
            message = f"operations of somebody's library are in the graph: {shown}; the file does not say what they do"
            findings.append(FileFinding("custom-operations", "warning", message))
    return findings
