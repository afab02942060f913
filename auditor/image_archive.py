"""Read images from an .npz archive as data: no pickles, sizes checked before anything is unpacked."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditor.errors import ImagesError

MAX_BYTES = 8 << 30
"""unpacked size of one array"""

IMAGE_KEYS = ("x", "x_test", "images")
LABEL_KEYS = ("y", "y_test", "labels")

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601, as Pillow's conversion to grey"""


@dataclass(frozen=True)
class ImageArchive:
    """An archive that fits the model."""

    x: npt.NDArray[np.generic]
    """as stored"""
    channels_last: bool
    channels: int
    """what the model takes"""
    labels: npt.NDArray[np.int64] | None
    sha256: str

    def pixels(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The images numbered by ``order`` as (N, C, H, W) float32 in [0, 1]."""
        part = self.x[order]
        scale = 255.0 if self.x.dtype.kind in "ui" else 1.0
        images = np.asarray(part, dtype=np.float32) / np.float32(scale)
        if images.ndim == 3:
            images = images[:, None]
        elif self.channels_last:
            images = images.transpose(0, 3, 1, 2)
        if images.shape[1] == 1 and self.channels == 3:
            images = images.repeat(3, axis=1)
        elif images.shape[1] == 3 and self.channels == 1:
            images = np.einsum("nchw,c->nhw", images, GREY_WEIGHTS)[:, None]
        return np.ascontiguousarray(images.clip(0, 1))


def read_archive(path: Path, input_shape: tuple[int, int, int]) -> ImageArchive:
    """Open and check an archive against a model of (C, H, W); raises `ImagesError` when it does not fit."""
    arrays = _arrays(path)
    x = next((arrays[key] for key in IMAGE_KEYS if key in arrays), None)
    if x is None:
        raise ImagesError(
            f"expected an array x (and optionally y) in '{path.name}', got no array of that name; "
            "save it with numpy.savez(path, x=images, y=labels)"
        )
    if len(x) == 0:
        raise ImagesError(f"expected images in '{path.name}', got an empty array x; check --images")
    channels_last = _layout(x.shape, input_shape, path.name)
    _check_values(x, path.name)
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    checked = None if labels is None else _labels(labels, len(x), path.name)
    return ImageArchive(x, channels_last, input_shape[0], checked, sha256)


def _arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    wanted = {*IMAGE_KEYS, *LABEL_KEYS}
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        for key in sizes.keys() & wanted:
            if sizes[key] > MAX_BYTES:
                raise ImagesError(
                    f"expected arrays of at most {MAX_BYTES:,} bytes in '{path.name}', got {key} with "
                    f"{sizes[key]:,}; save fewer images"
                )
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in wanted}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, MemoryError, SyntaxError) as error:
        raise ImagesError(
            f"expected a readable .npz of plain numbers in '{path.name}', got a damaged or pickled one; "
            "save it with numpy.savez(path, x=images, y=labels)"
        ) from error


def _layout(shape: tuple[int, ...], wanted: tuple[int, int, int], name: str) -> bool:
    """Whether the channels come last; raises unless the arrays fit the model."""
    channels, height, width = wanted
    allowed = {1, 3, channels}
    remedy = "resize the arrays, state what the model takes with --input-size, or give a folder of pictures"
    sizes: list[tuple[bool, tuple[int, int], int]] = []
    if len(shape) == 3:
        sizes.append((False, (shape[1], shape[2]), 1))
    if len(shape) == 4 and shape[1] in allowed:
        sizes.append((False, (shape[2], shape[3]), shape[1]))
    if len(shape) == 4 and shape[3] in allowed:
        sizes.append((True, (shape[1], shape[2]), shape[3]))
    if not sizes:
        raise ImagesError(
            f"expected x of (N, H, W), (N, H, W, C) or (N, C, H, W) in '{name}', got shape {shape}; "
            "transpose it"
        )
    for channels_last, size, own in sizes:
        if size == (height, width) and (own == channels or {own, channels} <= {1, 3}):
            return channels_last
    _, (h, w), own = sizes[-1]
    raise ImagesError(
        f"expected images of {channels}×{height}×{width} in '{name}', got {own}×{h}×{w}; {remedy}"
    )


def _check_values(x: npt.NDArray[np.generic], name: str) -> None:
    """Integers in 0..255, floats in [0, 1], booleans."""
    if x.dtype.kind not in "uifb":
        raise ImagesError(f"expected numbers in x of '{name}', got {x.dtype}; save it as uint8 or float32")
    if x.dtype == np.uint8 or x.dtype.kind == "b":
        return
    low, high = float(x.min()), float(x.max())
    limit = 255.0 if x.dtype.kind in "ui" else 1.0 + 1e-3
    # `not (0 <= low)` rather than `low < 0`, so that NaN fails too
    if not (low >= -1e-3 and high <= limit):
        raise ImagesError(
            f"expected x of '{name}' as uint8 or floats in [0, 1], got {x.dtype} from {low:g} to {high:g}; "
            "undo its normalisation, since the auditor applies the model's own"
        )


def _labels(y: npt.NDArray[np.generic], count: int, name: str) -> npt.NDArray[np.int64]:
    y = y.squeeze(1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (count,) or y.dtype.kind not in "ui":
        raise ImagesError(
            f"expected y of '{name}' as {count} whole numbers, one an image, got {y.dtype} of shape "
            f"{y.shape}; leave y out when there are no labels"
        )
    labels = y.astype(np.int64)
    if labels.min() < 0:
        raise ImagesError(
            f"expected labels of 0 and above in '{name}', got {labels.min()}; count classes from 0"
        )
    return labels
