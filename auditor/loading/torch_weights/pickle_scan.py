"""Which names a pickle would import, read from its opcodes without executing any."""

from __future__ import annotations

import contextlib
import pickletools
import zipfile
from pathlib import Path
from typing import IO

from auditor.loading.file_format import is_zip
from auditor.loading.quoting import quoted

_MOST_BYTES = 64 << 20
_MOST_PICKLES = 16
_HARMLESS_MODULES = ("torch._utils", "torch._tensor", "collections")


def imported_names(path: Path) -> list[str]:
    """Escaped ``module.name`` of everything the file's pickles import beyond tensors, in order, each once."""
    found: dict[str, None] = {}
    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl") and entry.file_size <= _MOST_BYTES:
                    # contradicting headers, encryption, other compressions: torch may read it all the same
                    with contextlib.suppress(Exception), archive.open(entry) as stream:
                        found.update(dict.fromkeys(_scan(stream)))
    else:
        with path.open("rb") as stream:
            found.update(dict.fromkeys(_scan(stream)))
    return [quoted(name)[1:-1] for name in found if not _harmless(name)]


def _harmless(name: str) -> bool:
    module, _, leaf = name.rpartition(".")
    storage = module in ("torch", "torch.storage") and leaf.endswith("Storage")
    return (
        storage
        or name == "collections.OrderedDict"
        or (module in _HARMLESS_MODULES and leaf.startswith("_rebuild"))
    )


def _scan(stream: IO[bytes]) -> list[str]:
    """Names from up to a few pickles in a row, as legacy files have them; stops at the first that is none."""
    found: list[str] = []
    for _ in range(_MOST_PICKLES):
        texts: list[str] = []
        memo: dict[int, str] = {}
        try:
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    found.append(str(argument).replace(" ", ".", 1))
                elif opcode.name == "STACK_GLOBAL":
                    found.append(".".join(texts[-2:]) if len(texts) >= 2 else "a computed name")
                elif opcode.name in ("GET", "BINGET", "LONG_BINGET") and argument in memo:
                    texts.append(memo[argument])
                elif opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT") and texts:
                    memo[len(memo) if argument is None else argument] = texts[-1]
                elif isinstance(argument, str):
                    texts.append(argument)
        except Exception:  # the bytes after the last pickle are weights: pickletools raises many types on them
            return found
    return found
