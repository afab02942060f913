"""Which kind of model file this is, told by its content and never by its name."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Literal

from auditor.errors import ModelFileError
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.other_kinds import kind_of_file, kind_of_folder
from auditor.loading.quoting import quoted

Kind = Literal["onnx", "pytorch", "safetensors", "torchscript", "exported_program"]

_HEAD_BYTES = 1 << 16


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_is_file(path: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise ModelFileError unless ``path`` is a regular, non-empty file within the size limit."""
    name = quoted(path.name)
    if not path.exists():
        raise ModelFileError(f"expected a model file, got no file {name}; check the path")
    other = kind_of_folder(path) if path.is_dir() else None
    if other is not None:
        raise _of_another_kind(*other)
    if not path.is_file():
        raise ModelFileError(f"expected a model file, got {name}, which is not a regular file; name the file itself")
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(f"expected a model file, got {name}, which is empty; export or download it again")
    if size > limits.file_bytes:
        raise ModelFileError(
            f"expected a model file of at most {limits.file_bytes:,} bytes, got {name} with {size:,} bytes; "
            "audit a smaller export"
        )


def detect(path: Path) -> Kind:
    """Tell the kind of a model file by its content.

    Raises ModelFileError for kinds that are not audited, with a sentence on how to convert them.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    other = kind_of_file(head)
    if other is not None:
        raise _of_another_kind(*other)
    if _is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or is_zip(path):
        return _zip_kind(path)
    if _is_pickle(head) or head[257:262] == b"ustar":
        return "pytorch"
    return "onnx"


def is_zip(path: Path) -> bool:
    """Whether the file ends as a zip archive; False where Python itself stumbles over a damaged end."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # an archive said to span several disks
        return False


def _is_safetensors(head: bytes, size: int) -> bool:
    """The format begins with the length of its JSON header (8 bytes, little endian), then ``{``."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _is_pickle(head: bytes) -> bool:
    """Protocols 2 to 5 begin with PROTO; protocol 0 and 1 dumps of a dict, a list or an object with text
    opcodes."""
    return (head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05") or head[:2] in (
        b"(d",
        b"(l",
        b"}q",
        b"cc",
    )


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            "expected a complete PyTorch archive, got a damaged zip file; save or download the model again"
        ) from error
    tails = {name.rpartition("/")[2] for name in names}
    # wherever they lie: TorchScript that was packed again under another folder is still a program
    if tails & {"constants.pkl", "bytecode.pkl"} or any("code/" in name and name.endswith(".py") for name in names):
        return "torchscript"
    if "archive_format" in tails or tails & {"serialized_exported_program.json", "model_weights_config.json"}:
        return "exported_program"
    if "data.pkl" in tails:
        return "pytorch"
    if any(name.endswith(("config.json", "model.weights.h5")) for name in names):
        raise _of_another_kind("a Keras archive", "convert it with tf2onnx and audit the .onnx file")
    if any(name.endswith(".npy") for name in names):
        raise _of_another_kind("a NumPy archive", "export the network to ONNX, or save its state dict")
    if any(name.endswith("Manifest.json") for name in names):
        raise _of_another_kind("a CoreML package", "convert the network that it was made from to ONNX, and audit that")
    raise _of_another_kind("a zip archive of another kind", "unpack it and audit the model file inside")


def _of_another_kind(kind: str, remedy: str) -> ModelFileError:
    return ModelFileError(f"expected an ONNX, PyTorch or safetensors file, got {kind}; {remedy}")
