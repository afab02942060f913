"""Where search images come from: a folder of pictures or an .npz archive, both read as data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auditor.errors import ImagesError
from auditor.image_archive import read_archive
from auditor.image_folder import MAX_PIXELS, FolderListing, list_folder

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
"""decoders that are tried; Pillow's many others are not reachable"""

ODD_ASPECT = 2.0
"""a photograph whose width : height differs from the model's by more than this factor is counted in a note"""


@dataclass(frozen=True)
class LoadedImages:
    """Images for the search, ready for a `Classifier`."""

    pixels: Tensor
    """(N, C, H, W) float32 in [0, 1]; any leading part is balanced over the classes"""
    labels: Tensor | None
    """(N,) int64, or None where nothing says"""
    class_names: tuple[str, ...] | None
    """names of the class sub-folders, in class order; hostile text"""
    source: str
    """e.g. ``folder photos/`` or ``archive digits.npz``"""
    sha256: str
    """of the archive, or of the names and contents of the pictures used, in order"""
    notes: tuple[str, ...] = ()
    """what the reader should know: pictures skipped, shapes distorted, labels left out"""


def load_images(
    path: Path,
    input_shape: tuple[int, int, int],
    count: int,
    rng: torch.Generator,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
) -> LoadedImages:
    """Up to ``count`` images for a model of ``input_shape`` (C, H, W), drawn with ``rng``, classes balanced.

    A folder of pictures (PNG, JPEG, BMP, WebP, PPM): class sub-folders become labels. A folder named by a
    number is that class; folders all named as in ``class_names`` are those classes; else they count in sorted
    order, which needs as many folders as ``num_classes``. Pictures of another size are resized (bilinear,
    antialiased), since photographs have no size of their own. Damaged ones are skipped and counted.

    An .npz archive: ``x`` (N, H, W), (N, H, W, C) or (N, C, H, W), of integers in 0..255 or floats in [0, 1],
    and optionally ``y`` (N,) class numbers (``x_test`` and ``y_test`` are taken too). Its arrays were made for
    a network, so another height or width than the model's is an error, never a silent resize. Grey becomes
    colour and colour grey as needed.

    Raises `ImagesError` for a missing path, no usable image, a wrong size, or labels of ``num_classes`` and
    above.
    """
    if not path.exists():
        raise ImagesError(f"expected images at '{path.name}', got no such file or folder; check --images")
    if path.is_dir():
        return _from_folder(path, input_shape, count, rng, num_classes, class_names)
    if path.suffix.lower() != ".npz":
        raise ImagesError(
            f"expected a folder of images or an .npz archive, got the file '{path.name}'; "
            "name its folder, or save arrays x and y with numpy.savez"
        )
    archive = read_archive(path, input_shape)
    order = balanced_order(archive.labels, len(archive.x), rng)[:count]
    labels = None if archive.labels is None else torch.from_numpy(archive.labels[order])
    if archive.labels is not None and num_classes is not None:
        _check_labels(int(archive.labels.max()), num_classes, path.name)
    return LoadedImages(
        pixels=torch.from_numpy(archive.pixels(order)),
        labels=labels,
        class_names=None,
        source=f"archive {path.name}",
        sha256=archive.sha256,
    )


def balanced_order(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]] | None, count: int, rng: torch.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A random order of ``count`` items, (N,): every leading part holds each class about equally often."""
    shuffled = torch.randperm(count, generator=rng).numpy()
    if labels is None:
        return shuffled
    seen: dict[int, int] = {}
    rank = np.empty(count, dtype=np.int64)
    for place, item in enumerate(shuffled):
        label = int(labels[item])
        rank[place] = seen[label] = seen.get(label, -1) + 1
    ordered: np.ndarray[tuple[int], np.dtype[np.int64]] = shuffled[np.argsort(rank, kind="stable")]
    return ordered


def _from_folder(
    path: Path,
    shape: tuple[int, int, int],
    count: int,
    rng: torch.Generator,
    num_classes: int | None,
    class_names: Sequence[str],
) -> LoadedImages:
    if shape[0] not in (1, 3):
        raise ImagesError(
            f"expected a model of 1 or 3 channels to use pictures with, got one of {shape[0]}; "
            "give --images an .npz with x of (N, C, H, W)"
        )
    listing = list_folder(path, num_classes, tuple(class_names))
    if listing.labels is not None and num_classes is not None:
        _check_labels(int(listing.labels.max()), num_classes, path.name)
    pixels, chosen, sha256, notes = _decode(path, listing, shape, count, rng)
    labels = None if listing.labels is None else torch.from_numpy(listing.labels[chosen])
    return LoadedImages(
        pixels=pixels,
        labels=labels,
        class_names=listing.class_names,
        source=f"folder {path.resolve().name}/",
        sha256=sha256,
        notes=listing.notes + notes,
    )


def _decode(
    root: Path, listing: FolderListing, shape: tuple[int, int, int], count: int, rng: torch.Generator
) -> tuple[Tensor, list[int], str, tuple[str, ...]]:
    """Decodes in balanced random order until ``count`` pictures are there; skips what does not decode."""
    digest = hashlib.sha256()
    pixels, chosen = [], []
    damaged = odd = 0
    for item in balanced_order(listing.labels, len(listing.files), rng):
        file = listing.files[item]
        try:
            decoded, ratio = read_picture(file, shape)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError, EOFError):
            damaged += 1
            continue
        digest.update(file.relative_to(root).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        digest.update(file.read_bytes())
        pixels.append(decoded)
        chosen.append(int(item))
        odd += max(ratio, 1 / ratio) > ODD_ASPECT
        if len(pixels) == count:
            break
    if not pixels:
        raise ImagesError(
            f"expected pictures in '{root.name}', got {damaged} file(s) that do not decode as PNG, JPEG, BMP, "
            "WebP or PPM; check --images"
        )
    notes = []
    if damaged:
        notes.append(f"{damaged} damaged or oversized picture(s) skipped")
    if odd:
        notes.append(
            f"{odd} of {len(pixels)} pictures have another shape than the model's input and were distorted"
        )
    return torch.from_numpy(np.stack(pixels)), chosen, digest.hexdigest(), tuple(notes)


def read_picture(
    file: Path, shape: tuple[int, int, int]
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], float]:
    """One picture as (C, H, W) float32 in [0, 1], and its aspect ratio over the model's.

    Raises OSError or ValueError when it is damaged or has more than `MAX_PIXELS` pixels.
    """
    channels, height, width = shape
    with Image.open(file, formats=PILLOW_FORMATS) as image:
        w, h = image.size
        if w * h > MAX_PIXELS or not w * h:
            raise ValueError("too many pixels")
        picture = _eight_bits(image).convert("L" if channels == 1 else "RGB")
        if (w, h) != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(picture, dtype=np.float32).reshape(height, width, channels) / 255
    return np.ascontiguousarray(array.transpose(2, 0, 1)), (w / h) / (width / height)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey pictures scaled to 8 bits; Pillow's own conversion would clip them."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.uint32) // 257).clip(0, 255).astype(np.uint8))


def _check_labels(largest: int, num_classes: int, name: str) -> None:
    if largest >= num_classes:
        raise ImagesError(
            f"expected labels from 0 to {num_classes - 1} in '{name}', got {largest}; "
            "give images of the classes that the model knows"
        )
