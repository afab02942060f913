"""Load the weights that an ONNX file keeps beside itself, from regular files in its own folder alone.

Every step of the path is opened by descriptor and without following links, and what was opened is looked at, not what
the name meant a moment before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.findings import ExternalFile
from auditor.loading.limits import Limits
from auditor.loading.onnx_graph.tensors import elements, raw_bytes, tensors, typed_field
from auditor.loading.quoting import quoted

_BLOCK = 1 << 20
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class _Opened:
    descriptor: int
    facts: ExternalFile


def is_external(tensor: TensorProto) -> bool:
    """Whether runtimes look for this tensor's numbers in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def locations(model: onnx.ModelProto) -> list[str]:
    """The external files that the model names, unescaped, in order, each once."""
    return list(dict.fromkeys(_entries(t).get("location", "") for t in tensors(model) if is_external(t)))


def load_external(model: onnx.ModelProto, folder: Path, limits: Limits) -> tuple[ExternalFile, ...]:
    """Copy the external weights into the model; gives the files that they came from.

    Raises UnsafeFileError for a path that leads out of ``folder`` or to anything but a regular file with one name,
    ModelFileError when a file is missing, too large, or holds another length than the tensor's type and dimensions.
    """
    opened: dict[str, _Opened] = {}
    with ExitStack() as stack:
        for tensor in _external(model):
            entries = _entries(tensor)
            location = entries.get("location", "")
            if location not in opened:
                descriptor = open_inside(folder, location)
                stack.callback(os.close, descriptor)
                opened[location] = _Opened(descriptor, _facts(descriptor, location, limits))
            raw = _read(opened[location], entries, tensor)
            del tensor.external_data[:]
            for name in (typed_field(tensor), "int32_data"):
                tensor.ClearField(name)
            tensor.raw_data = raw
            tensor.data_location = TensorProto.DEFAULT
    return tuple(one.facts for one in opened.values())


def _external(model: onnx.ModelProto) -> Iterator[TensorProto]:
    return (tensor for tensor in tensors(model) if is_external(tensor))


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def open_inside(folder: Path, location: str) -> int:
    """A descriptor of the regular file ``location`` inside ``folder``; the caller closes it.

    Raises UnsafeFileError or ModelFileError as `load_external` says.
    """
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    outside = PurePosixPath(location).is_absolute() or windows.drive or windows.root or "\\" in location
    if not parts or "\0" in location or outside or ".." in (*parts, *windows.parts):
        raise UnsafeFileError(
            f"expected external weights in the model's own folder, got the path {quoted(location)}; "
            "export the model again with its weights inside, and do not trust this file"
        )
    try:
        descriptor = _descend(folder, parts)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"expected the external weights {quoted(location)} beside the model, got no such file; "
            "copy them there, or export with external_data=False"
        ) from error
    except OSError as error:
        linked = error.errno in (errno.ELOOP, errno.EMLINK) or _has_link(folder, parts)
        got = f"the symbolic link {quoted(location)}" if linked else f"{quoted(location)}, which does not open as one"
        raise UnsafeFileError(
            f"expected external weights in a regular file, got {got}; copy the weights themselves beside the model"
        ) from error
    try:
        _check_regular(os.fstat(descriptor), location)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _descend(folder: Path, parts: tuple[str, ...]) -> int:
    if os.open not in os.supports_dir_fd:  # Windows: no descriptors of folders, so look before opening
        if _has_link(folder, parts):
            raise OSError(errno.ELOOP, "a link")
        return os.open(folder.joinpath(*parts), _FLAGS | getattr(os, "O_BINARY", 0))
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        return os.open(parts[-1], _FLAGS, dir_fd=current)
    finally:
        os.close(current)


def _has_link(folder: Path, parts: tuple[str, ...]) -> bool:
    # os.path's form, since Path.is_symlink raises on a name that is too long for the system
    return any(os.path.islink(folder.joinpath(*parts[: i + 1])) for i in range(len(parts)))


def _check_regular(status: os.stat_result, location: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(
            f"expected external weights in a regular file, got {quoted(location)}, which is not one; "
            "export the model again with its weights inside"
        )
    if status.st_nlink > 1:
        raise UnsafeFileError(
            f"expected external weights in a file of their own, got {quoted(location)}, which has {status.st_nlink} "
            "hard links and may be another file of this machine; copy it and put the copy in its place"
        )


def _facts(descriptor: int, location: str, limits: Limits) -> ExternalFile:
    size = os.fstat(descriptor).st_size
    if size > limits.file_bytes:
        raise ModelFileError(
            f"expected external weights of at most {limits.file_bytes:,} bytes, got {quoted(location)} with {size:,}; "
            "audit a smaller export, or raise limits.file_bytes"
        )
    digest = hashlib.sha256()
    position = 0
    while block := _portion(descriptor, position, _BLOCK):
        digest.update(block)
        position += len(block)
    return ExternalFile(quoted(location)[1:-1], size, digest.hexdigest())


def _portion(descriptor: int, position: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, position)
    os.lseek(descriptor, position, os.SEEK_SET)
    return os.read(descriptor, length)


def _read(file: _Opened, entries: dict[str, str], tensor: TensorProto) -> bytes:
    name, size = f"'{file.facts.name}'", file.facts.size
    offset = _number(entries.get("offset", ""), 0, name)
    needed = raw_bytes(tensor)
    if needed is None or elements(tensor) < 0:
        raise ModelFileError(
            f"expected external weights in {name} to be numbers of a known type, got type {tensor.data_type} for "
            f"{quoted(tensor.name)}; export the model again"
        )
    length = _number(entries.get("length", ""), needed, name)
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelFileError(
            f"expected weights within the {size:,} bytes of {name}, got offset {offset:,} and length {length:,}; "
            "the file is truncated or does not belong to this model: export or copy both again"
        )
    if length != needed:
        raise ModelFileError(
            f"expected {needed:,} bytes in {name} for the dimensions of {quoted(tensor.name)}, got a length of "
            f"{length:,}; export the model again"
        )
    blocks, position = [], offset
    while position < offset + length:
        wanted = min(_BLOCK * 64, offset + length - position)
        block = _portion(file.descriptor, position, wanted)
        if not block:
            raise ModelFileError(f"expected {name} to stay as it was, got a shorter file while reading; try again")
        blocks.append(block)
        position += len(block)
    return b"".join(blocks)


def _number(text: str, default: int, name: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ModelFileError(
            f"expected offsets and lengths in {name} to be whole numbers, got {quoted(text)}; export the model again"
        )
    return int(text)
