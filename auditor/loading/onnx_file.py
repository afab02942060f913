"""Read an ONNX file as data: parse, check, and load external weights from its own folder alone."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

_LABEL_KEYS = ("names", "labels", "classes", "class_names", "id2label")


@dataclass(frozen=True)
class OnnxFile:
    """A parsed ONNX model whose weights are all in memory."""

    model: onnx.ModelProto
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]


def read_onnx(path: Path, limits: Limits) -> OnnxFile:
    """Parse an ONNX file and the external weights it names.

    Raises ModelFileError when it is damaged or too large, UnsafeFileError when its external weights lie
    outside its folder.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # the protobuf backends raise their own, unrelated types
        raise ModelFileError(
            f"expected an ONNX model, got {quoted(path.name)}, which does not parse as one (truncated, or "
            "another "
            "format); export or download it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(
            f"expected an ONNX model, got {quoted(path.name)}, which holds no graph; export or download it again"
        )
    _check_counts(model, limits)
    notes = _load_external(model, path.resolve().parent, limits)
    return OnnxFile(model=model, labels=_labels(model), notes=tuple(notes))


def _check_counts(model: onnx.ModelProto, limits: Limits) -> None:
    counts = (
        ("operations", len(model.graph.node), limits.nodes),
        ("constants", len(model.graph.initializer), limits.initializers),
        ("weight bytes", sum(_bytes_as_float32(t) for t in model.graph.initializer), limits.weight_bytes),
    )
    for what, count, most in counts:
        if count > most:
            raise ModelFileError(f"expected at most {most:,} {what}, got {count:,}; audit a smaller export")


def _bytes_as_float32(tensor: onnx.TensorProto) -> int:
    size = 4
    for dim in tensor.dims:
        if dim < 0:
            raise ModelFileError("expected constants of non-negative size, got a negative dimension; export again")
        size *= dim
    return size


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found.extend(attribute.tensors)
    return found


def _load_external(model: onnx.ModelProto, folder: Path, limits: Limits) -> list[str]:
    """Copy the external weights into the model; returns a note per file with its SHA-256."""
    hashes: dict[str, str] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _external_path(entries.get("location", ""), folder)
        if file.name not in hashes:
            if file.stat().st_size > limits.file_bytes:
                raise ModelFileError(
                    f"expected external weights of at most {limits.file_bytes:,} bytes, got "
                    f"{quoted(file.name)} with "
                    f"{file.stat().st_size:,}; audit a smaller export"
                )
            with file.open("rb") as stream:
                hashes[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        tensor.raw_data = _read_slice(file, entries, tensor)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return [f"external weights read from {quoted(name)}, SHA-256 {digest}" for name, digest in hashes.items()]


def _external_path(location: str, folder: Path) -> Path:
    parts = PurePosixPath(location).parts + PureWindowsPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive
    if not location or "\0" in location or absolute or ".." in parts:
        raise UnsafeFileError(
            f"expected external weights in the model's own folder, got the path {quoted(location)}; "
            "export the model again with its weights inside, and do not trust this file"
        )
    candidate = folder
    for part in PurePosixPath(location).parts:
        candidate = candidate / part
        if candidate.is_symlink():
            raise UnsafeFileError(
                f"expected external weights in a regular file, got the symbolic link {quoted(location)}; "
                "copy the weights beside the model"
            )
    if not candidate.exists():
        raise ModelFileError(
            f"expected the external weights {quoted(location)} beside the model, got no such file; "
            "copy them there, or export with external_data=False"
        )
    if not candidate.is_file():
        raise UnsafeFileError(
            f"expected external weights in a regular file, got {quoted(location)}, which is not one; "
            "export the model again with its weights inside"
        )
    return candidate


def _read_slice(file: Path, entries: dict[str, str], tensor: onnx.TensorProto) -> bytes:
    name = quoted(file.name)
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", "0") or 0)
        length = int(entries.get("length", "") or size - offset)
    except ValueError as error:
        raise ModelFileError(f"expected offsets in {name} to be numbers, got text; export the model again") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelFileError(
            f"expected weights within the {size:,} bytes of {name}, got offset {offset:,} and length "
            f"{length:,}; "
            "the file is truncated or does not belong to this model: export or copy both again"
        )
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(file, flags), "rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def _labels(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Class names from the metadata, where exporters leave them as JSON or as a Python literal."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for key in _LABEL_KEYS:
        text = metadata.get(key, "")
        if not text or len(text) > 1_000_000:
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(text)  # literals only: nothing is evaluated
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                continue
        names = _as_names(value)
        if names:
            return names
    return None


def _as_names(value: object) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        keys = {str(key): name for key, name in value.items()}
        if set(keys) != {str(index) for index in range(len(keys))}:
            return None
        value = [keys[str(index)] for index in range(len(keys))]
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None
