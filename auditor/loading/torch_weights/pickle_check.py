"""What torch's restricted unpickler would not notice: pickles that take hours, or that its archive reader alone sees.

``weights_only`` bounds which functions a pickle calls, not how often, nor with what. Read from the opcodes, before
torch is shown the file.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import IO

from auditor.errors import ModelFileError
from auditor.loading.file_format import is_zip
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted

_MOST_OPCODES = 3_000_000
"""Opcodes of one pickle: hundreds of times what the largest checkpoints have, a few seconds for torch."""

_MOST_PICKLES = 16

_QUADRATIC_CODECS = frozenset({"idna", "punycode"})
"""Text encodings that take quadratic time (the class of CVE-2022-45061); torch lets a pickle call any by its name."""


def check_pickles(path: Path, limits: Limits) -> None:
    """Raise ModelFileError for a PyTorch file whose pickles are too large, too long or made to take time."""
    if not is_zip(path):
        with path.open("rb") as stream:
            _check(path, stream, limits)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.filename.casefold().endswith(".pkl"):
                    continue
                if entry.file_size > limits.pickle_bytes:
                    raise _refused(path, f"one of {entry.file_size:,} bytes, above {limits.pickle_bytes:,}")
                with archive.open(entry) as member:
                    _check(path, member, limits)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, RuntimeError, EOFError) as error:
        raise ModelFileError(
            f"expected an archive as torch writes it, got {quoted(path.name)}, whose headers contradict each other "
            f"({quoted(f'{type(error).__name__}: {error}', 120)}); do not trust this file, and save the model again"
        ) from error


def _check(path: Path, stream: IO[bytes], limits: Limits) -> None:
    """Pickles in a row, as legacy files have them, until something else comes."""
    count = 0
    for _ in range(_MOST_PICKLES):
        encodes, codec = False, ""
        start = stream.tell()
        opcodes = pickletools.genops(stream)
        while True:
            try:
                _opcode, argument, _position = next(opcodes)
            except StopIteration:
                break
            except Exception:  # weights, or damage, which torch reports: pickletools raises many types on them
                return
            count += 1
            if isinstance(argument, str):
                encodes = encodes or argument == "_codecs encode"
                plain = argument.casefold().replace("-", "_").replace(" ", "_") if len(argument) < 16 else ""
                codec = plain if plain in _QUADRATIC_CODECS else codec
            if encodes and codec:
                raise _refused(path, f"one that encodes text as {codec}, which takes hours")
            if count > _MOST_OPCODES:
                raise _refused(path, f"more than {_MOST_OPCODES:,} operations")
        if stream.tell() - start > limits.pickle_bytes:
            raise _refused(path, f"one of {stream.tell() - start:,} bytes, above {limits.pickle_bytes:,}")


def _refused(path: Path, got: str) -> ModelFileError:
    return ModelFileError(
        f"expected pickles in {quoted(path.name)} that describe weights, got {got}; do not trust this file, and save "
        "the weights alone with torch.save(model.state_dict(), ...) or safetensors.torch.save_file"
    )
