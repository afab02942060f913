"""Kinds of model files that are not audited, told by their content, and how to convert each."""

from __future__ import annotations

import re
from pathlib import Path

_TF2ONNX = "convert it with tf2onnx and audit the .onnx file"
_SAVED_MODEL = "convert it with python -m tf2onnx.convert --saved-model FOLDER --output model.onnx and audit that"
_SOURCE = "audit the ONNX file or the weights that it was made from"

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "a Keras/HDF5 file", _TF2ONNX),
    (4, b"TFL3", "a TensorFlow Lite file", "convert it with tf2onnx --tflite and audit the .onnx file"),
    (4, b"ORTM", "a file in ONNX Runtime's own format", "audit the .onnx file that it was made from"),
    (4, b"ET12", "an ExecuTorch program", _SOURCE),
    (0, b"ftrt", "a TensorRT engine", _SOURCE),
    (0, b"\x93NUMPY", "a NumPy array", "export the network to ONNX, or save its state dict"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it and audit the model file inside"),
    (0, b"BZh", "a bzip2 archive", "unpack it and audit the model file inside"),
    (0, b"\xfd7zXZ\0", "an xz archive", "unpack it and audit the model file inside"),
    (0, b"(\xb5/\xfd", "a Zstandard archive", "unpack it and audit the model file inside"),
    (0, b"GGUF", "a GGUF file", "export the image classifier to ONNX"),
    (0, b"7767517", "an ncnn network", "convert the network that it was made from to ONNX"),
    (0, b"\x12\x01\0\0\0\0\0\0", "MXNet weights", "convert the network with mxnet.onnx.export_model"),
    (0, b"version https://git-lfs", "a Git LFS pointer in place of the file", "run git lfs pull, then audit the file"),
)
"""Offset, bytes there, kind, remedy."""

_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (rb'^\s*\{.*"weight_map"', "the index of a safetensors file in several parts", "load the parts and save one file "
     "with safetensors.torch.save_file"),
    (rb'^\s*\{.*"modelTopology"', "a TensorFlow.js model", "convert the model that it was made from with tf2onnx"),
    (rb'^\s*\{.*"pd_op\.', "a PaddlePaddle program", "convert it with paddle2onnx and audit the .onnx file"),
    (rb"^\s*<\?xml.*<net\b", "an OpenVINO network", "audit the ONNX file or the weights that it was converted from"),
    (rb"^\s*(<!doctype html|<html)", "a web page", "the download failed: get the model file itself"),
    (rb"^\s*(#[^\n]*\n\s*)*\[net(work)?\]\s", "a Darknet network without weights", "convert cfg and weights to ONNX"),
)  # fmt: skip
"""Pattern at the beginning of a text, kind, remedy."""

_FOLDERS: tuple[tuple[str, str, str], ...] = (
    ("saved_model.pb", "a TensorFlow SavedModel folder", _SAVED_MODEL),
    ("keras_metadata.pb", "a Keras folder", _SAVED_MODEL),
    ("Manifest.json", "a CoreML package", "convert the network that it was made from to ONNX, and audit that"),
    (".metadata", "a distributed checkpoint of torch", "merge it with torch.distributed.checkpoint.format_utils"),
    ("model.safetensors", "a folder of a model", "name the model.safetensors inside it, with --arch if need be"),
    ("pytorch_model.bin", "a folder of a model", "name the pytorch_model.bin inside it, with --arch if need be"),
)
"""Name inside a folder, kind, remedy."""

_JOBLIB = ("joblib.", "sklearn.", "xgboost.", "lightgbm.", "catboost.")


def kind_of_file(head: bytes) -> tuple[str, str] | None:
    """(kind, remedy) of a file that begins with ``head``, the first 64 KiB or less; ``None`` when it may be ours."""
    for offset, magic, kind, remedy in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return kind, remedy
    if head[:4] == b"\0\0\0\0" and head[4:8] in (b"\1\0\0\0", b"\2\0\0\0"):
        return "Darknet weights", "convert them with their cfg to ONNX, and audit that"
    for pattern, kind, remedy in _TEXTS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return kind, remedy
    return _protobuf(head)


def kind_of_folder(path: Path) -> tuple[str, str] | None:
    """(kind, remedy) of a folder that is a model of another kind, by the names in it."""
    for name, kind, remedy in _FOLDERS:
        if (path / name).is_file():
            return kind, remedy
    return None


def kind_of_pickle(names: list[str]) -> tuple[str, str] | None:
    """(kind, remedy) of a pickle by what it imports."""
    if any(name.startswith(_JOBLIB) for name in names):
        return "a scikit-learn or joblib model", "convert it with skl2onnx, if it classifies images"
    if any(name.startswith("ultralytics.") for name in names):
        return "an Ultralytics checkpoint", "export it with yolo export format=onnx and audit the .onnx file"
    return None


def _protobuf(head: bytes) -> tuple[str, str] | None:
    """TensorFlow, CoreML, Caffe and Paddle, by their first fields; ONNX begins with its version and producer."""
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        # the second field: the producer's name in ONNX, which may be empty (Paddle's exporter), a message, which begins
        # with a tag, in the others
        start = next((i + 1 for i in range(3, min(len(head), 13)) if head[i] < 0x80), len(head))
        if head[3:4] == b"\0" or head[start : start + 1] not in (b"\n", b"\x12", b"\x1a"):
            return None
        if b"saved_model" in head or b"tensorflow" in head or b"serve" in head:
            return "a TensorFlow SavedModel", _SAVED_MODEL
        return "a CoreML model", "convert the network that it was made from to ONNX, and audit that"
    if head[:1] != b"\n":
        return None
    if re.match(rb"\n.[ -~]{1,120}\xa2\x06", head, re.DOTALL):
        return "a Caffe network", "convert it to ONNX, with caffe2onnx for one, and audit that"
    if re.match(rb"\n.{1,4}\n.[ -~]{1,120}\x12.(Placeholder|Const|NoOp|VarHandleOp)", head, re.DOTALL):
        return "a frozen TensorFlow graph", "convert it with python -m tf2onnx.convert --graphdef and audit the result"
    if b"feed" in head and b"fetch" in head and b"block" not in head[:2]:
        return "a PaddlePaddle program", "convert it with paddle2onnx and audit the .onnx file"
    return None
