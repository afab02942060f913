"""What a pickle can lie in: the archives and streams that ``torch.load`` and others open."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from .opcodes import number, pickled

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


def torch_zip(data_pkl: bytes, members: Mapping[str, bytes] | None = None, *, top: str = "archive") -> bytes:
    """An archive as ``torch.save`` writes it: stored members below one folder, 64-byte aligned data not needed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{top}/data.pkl", data_pkl)
        archive.writestr(f"{top}/byteorder", b"little")
        for member, content in (members or {}).items():
            archive.writestr(f"{top}/{member}", content)
        archive.writestr(f"{top}/version", b"3\n")
    return stream.getvalue()


def legacy(payload: bytes, *, where: str = "object") -> bytes:
    """The five pickles of a file from before the zip format, with ``payload`` in the place of one of them."""
    parts = {
        "magic": pickled(b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")),
        "version": pickled(number(LEGACY_VERSION)),
        "system": pickled(b"}"),
        "object": pickled(b"}"),
        "keys": pickled(b"]"),
    }
    parts[where] = payload
    return b"".join(parts.values())


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Any archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return stream.getvalue()


def written(content: bytes, file_name: str = "model.pt") -> Callable[[Path], Path]:
    """A builder that writes ``content``."""

    def build(folder: Path) -> Path:
        path = folder / file_name
        path.write_bytes(content)
        return path

    return build


def headers(archive: bytes, member: str) -> tuple[int, int]:
    """Offsets of a member's local header and of its entry in the central directory."""
    encoded = member.encode()
    local = archive.index(b"PK\x03\x04", 0)
    while archive[local + 30 : local + 30 + len(encoded)] != encoded:
        local = archive.index(b"PK\x03\x04", local + 4)
    central = archive.index(b"PK\x01\x02")
    while archive[central + 46 : central + 46 + len(encoded)] != encoded:
        central = archive.index(b"PK\x01\x02", central + 4)
    return local, central


def patched(archive: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with one field changed."""
    return archive[:offset] + struct.pack(form, value) + archive[offset + struct.calcsize(form) :]
