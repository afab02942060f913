"""The zip archives that torch writes: checked against the limits, and read without torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from auditor.errors import ModelFileError
from auditor.loading.limits import Limits
from auditor.loading.quoting import quoted


def check_archive(path: Path, limits: Limits) -> list[zipfile.ZipInfo]:
    """The members of an archive that unpacks to no more than the limits allow, each name once.

    Raises ModelFileError for a damaged archive, for one that unpacks to far more than it holds, and for encrypted or
    repeated members, which two readers may read differently.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    unpacked = sum(entry.file_size for entry in entries)
    ratio = unpacked / max(1, path.stat().st_size)
    if len(entries) > limits.archive_members or ratio > limits.unpacked_ratio or unpacked > limits.file_bytes:
        raise ModelFileError(
            f"expected an archive of at most {limits.archive_members:,} members and {limits.file_bytes:,} "
            f"bytes, got {len(entries):,} members that unpack to {unpacked:,} bytes; save the model again"
        )
    names = [entry.filename.casefold() for entry in entries]  # torch's reader takes names that differ in case for one
    if len(set(names)) < len(names) or any(entry.flag_bits & 1 for entry in entries):
        raise ModelFileError(
            f"expected an archive as torch writes it, got {quoted(path.name)} with repeated or encrypted members; "
            "do not trust this file, and save the model again"
        )
    return entries


def read_members(path: Path, limits: Limits) -> dict[str, bytes]:
    """Contents of every member, by its name below the archive's one top folder.

    Raises ModelFileError as `check_archive` does, and when the members do not lie below one folder.
    """
    entries = [entry for entry in check_archive(path, limits) if not entry.is_dir()]
    folders = {entry.filename.partition("/")[0] for entry in entries}
    if len(folders) != 1 or any("/" not in entry.filename for entry in entries):
        raise ModelFileError(
            f"expected the members of {quoted(path.name)} in one folder, as torch writes them, got "
            f"{len(folders):,}; save the model again"
        )
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in entries:
                with archive.open(entry) as stream:
                    content = stream.read(entry.file_size + 1)
                if len(content) != entry.file_size:
                    raise zipfile.BadZipFile("a member is not as long as the archive says")
                contents[entry.filename.partition("/")[2]] = content
    except Exception as error:  # zlib, bz2 and lzma raise their own types on damaged data
        raise _damaged(path, error) from error
    return contents


def _damaged(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"expected a complete archive of torch, got {quoted(path.name)}, which does not read as one "
        f"({quoted(f'{type(error).__name__}: {error}', 120)}); save or download it again"
    )
