"""List a folder of pictures: which files, and which class each belongs to. Links leading out are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditor.errors import ImagesError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"})

MAX_PIXELS = 64_000_000
"""a larger picture is refused before it is decoded: a small file can hold a very large one"""

MAX_FILES = 2_000_000
"""files looked at in one folder tree"""


@dataclass(frozen=True)
class FolderListing:
    """Picture files of a folder, in sorted order."""

    files: tuple[Path, ...]
    labels: npt.NDArray[np.int64] | None
    """(N,) class numbers; None where the folder does not say"""
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def list_folder(root: Path, num_classes: int | None, class_names: tuple[str, ...]) -> FolderListing:
    """The pictures below ``root``; raises `ImagesError` when there are none or the labels cannot be right."""
    groups, outside = _grouped(root)
    if not groups:
        raise ImagesError(
            f"expected PNG, JPEG, BMP, WebP or PPM pictures in folder '{root.name}', got none; check --images"
        )
    notes = [f"{outside} link(s) or special file(s) in the folder not followed"] if outside else []
    numbers, names, note = _class_numbers(groups, num_classes, class_names)
    files = tuple(file for group in groups for file in groups[group])
    if numbers is None:
        return FolderListing(files, None, None, (*notes, note) if note else tuple(notes))
    labels = np.concatenate([np.full(len(groups[g]), numbers[g], dtype=np.int64) for g in groups])
    return FolderListing(files, labels, names, tuple(notes))


def _grouped(root: Path) -> tuple[dict[str, list[Path]], int]:
    """Files by the first folder below ``root`` ('' = none), both sorted; and how many links were left out."""
    inside = root.resolve()
    groups: dict[str, list[Path]] = {}
    outside = 0
    for seen, file in enumerate(_walk(root)):
        if seen >= MAX_FILES:
            raise ImagesError(
                f"expected at most {MAX_FILES:,} files in '{root.name}', got more; name a smaller folder"
            )
        if file.suffix.lower() not in SUFFIXES:
            continue
        if not _is_own_file(file, inside):
            outside += 1
            continue
        parts = file.relative_to(root).parts
        groups.setdefault(parts[0] if len(parts) > 1 else "", []).append(file)
    return {name: sorted(groups[name]) for name in sorted(groups)}, outside


def _walk(root: Path) -> Iterator[Path]:
    for folder, _, files in os.walk(root, followlinks=False):
        for name in files:
            yield Path(folder, name)


def _is_own_file(file: Path, inside: Path) -> bool:
    """Whether it is a regular file that lies, links resolved, inside the folder."""
    try:
        return stat.S_ISREG(file.stat().st_mode) and (
            not file.is_symlink() or file.resolve().is_relative_to(inside)
        )
    except (OSError, RuntimeError):
        return False


def _class_numbers(
    groups: dict[str, list[Path]], num_classes: int | None, class_names: tuple[str, ...]
) -> tuple[dict[str, int] | None, tuple[str, ...] | None, str]:
    """(folder → class, class names, "") or (None, None, why the pictures carry no labels)."""
    folders = [name for name in groups if name]
    if "" in groups or not folders:
        mixed = "pictures lie beside class folders, so the folders were not used as labels"
        return None, None, mixed if folders else ""
    if all(name.isdecimal() and len(name) < 10 for name in folders):
        return {name: int(name) for name in folders}, None, ""
    if class_names and set(folders) <= set(class_names):
        return {name: class_names.index(name) for name in folders}, class_names, ""
    if len(folders) == 1:
        return None, None, ""
    if num_classes is not None and len(folders) > num_classes:
        raise ImagesError(
            f"expected at most {num_classes} class folders, one a class of the model, got {len(folders)}; "
            "name the folders by class number, or put all pictures in one folder"
        )
    if num_classes is not None and len(folders) < num_classes:
        note = (
            f"{len(folders)} class folders for {num_classes} classes: which is which is not known, so they "
            "were not used as labels; name them by class number, or as in --classes"
        )
        return None, None, note
    return {name: number for number, name in enumerate(folders)}, tuple(folders), ""
