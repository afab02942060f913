"""The image data of the zoo: MNIST, Fashion-MNIST, GTSRB and CIFAR-10 from .npz files in a folder the caller names.

A file holds ``x_train``, ``x_test`` as uint8 (N, H, W) or (N, H, W, C) and ``y_train``, ``y_test`` as integers; or,
for CIFAR-10, JPEG files one after the other: ``jpeg_train`` uint8 and ``offsets_train``, image i being bytes
offsets[i]:offsets[i+1].
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Data set name -> (file name, the classes kept or None for all). Kept classes are renumbered from 0.
SOURCES: dict[str, tuple[str, tuple[int, ...] | None]] = {
    "mnist": ("mnist.npz", None),
    "mnist_358": ("mnist.npz", (3, 5, 8)),
    "fashion_mnist": ("fashion_mnist.npz", None),
    "mnist_pairs": ("mnist.npz", None),
    "fashion_two": ("fashion_mnist.npz", (1, 7)),
    "fashion_three": ("fashion_mnist.npz", (0, 4, 9)),
    "gtsrb": ("gtsrb.npz", None),
    "cifar10": ("cifar10_jpeg.npz", None),
    "mnist_17": ("mnist.npz", (1, 7)),
    "gtsrb_four": ("gtsrb.npz", (1, 12, 13, 38)),
    "cifar10_two": ("cifar10_jpeg.npz", (0, 7)),
    "mnist_134568": ("mnist.npz", (1, 3, 4, 5, 6, 8)),
    "fashion_five": ("fashion_mnist.npz", (1, 3, 4, 6, 8)),
    "fashion_seven": ("fashion_mnist.npz", (0, 1, 3, 4, 6, 8, 9)),
    "gtsrb_nine": ("gtsrb.npz", (1, 3, 7, 10, 12, 14, 18, 35, 36)),
    "cifar10_five": ("cifar10_jpeg.npz", (0, 2, 5, 6, 9)),
    "mnist_five": ("mnist.npz", (0, 2, 4, 7, 9)),
    "fashion_six": ("fashion_mnist.npz", (0, 2, 5, 7, 8, 9)),
    "gtsrb_eight": ("gtsrb.npz", (2, 4, 9, 11, 13, 17, 25, 38)),
    "cifar10_four": ("cifar10_jpeg.npz", (1, 3, 4, 8)),
    "mnist_rgb": ("mnist.npz", None),
    "gtsrb_48": ("gtsrb.npz", None),
    "cifar10_64": ("cifar10_jpeg.npz", None),
}
#: Data set name -> (channels, side in pixels) that its images are brought to, as networks made for others want them.
FORMATS: dict[str, tuple[int, int]] = {"mnist_rgb": (3, 32), "gtsrb_48": (3, 48), "cifar10_64": (3, 64)}


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8 with labels (N,) int64, in two parts that share no image."""

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def num_classes(self) -> int:
        return int(self.y_train.max()) + 1

    @property
    def input_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width


def load(folder: Path, name: str) -> Dataset:
    """Read one data set. Raises FileNotFoundError or ValueError when the folder does not hold it."""
    file_name, classes = SOURCES[name]
    path = folder / file_name
    if not path.is_file():
        raise FileNotFoundError(f"expected {file_name} in {folder}, found none: name its folder with --data")
    parts: list[Tensor] = []
    with np.load(path, allow_pickle=False) as arrays:
        for part in ("train", "test"):
            images, labels = _select(_pixels(arrays, part, path), arrays[f"y_{part}"], classes)
            parts.extend((_formatted(images, *FORMATS[name]) if name in FORMATS else images, labels))
    dataset = Dataset(name, *parts)
    return _paired(dataset) if name == "mnist_pairs" else dataset


def _pixels(arrays: Any, part: str, path: Path) -> np.ndarray:
    """Images (N, H, W[, C]) uint8 of one part, decoded where they are JPEG files."""
    if f"x_{part}" in arrays.files and f"y_{part}" in arrays.files:
        return arrays[f"x_{part}"]
    if f"jpeg_{part}" not in arrays.files:
        raise ValueError(f"expected arrays x_train, y_train, x_test, y_test in {path}, missing x_{part} or y_{part}")
    from PIL import Image

    raw, offsets = arrays[f"jpeg_{part}"].tobytes(), arrays[f"offsets_{part}"]
    files = (raw[start:end] for start, end in pairwise(offsets))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def _paired(digits: Dataset, train: int = 40_000, test: int = 4_000) -> Dataset:
    """A hundred classes of two digits side by side, each squeezed to half an image; class = 10 · left + right."""
    rng = torch.Generator().manual_seed(0)

    def pairs(images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        left, right = torch.randint(len(images), (2, count), generator=rng)
        squeezed = torch.nn.functional.avg_pool2d(images.float(), (1, 2)).round().to(torch.uint8)
        return torch.cat([squeezed[left], squeezed[right]], dim=3), 10 * labels[left] + labels[right]

    return Dataset(
        digits.name, *pairs(digits.x_train, digits.y_train, train), *pairs(digits.x_test, digits.y_test, test)
    )


def _formatted(images: Tensor, channels: int, side: int) -> Tensor:
    """Images (N, C, H, W) uint8 as (N, channels, side, side), bilinear; a part at a time, as floats are large."""

    def resized(some: Tensor) -> Tensor:
        drawn = torch.nn.functional.interpolate(some.float(), (side, side), mode="bilinear", antialias=True)
        return drawn.round().to(torch.uint8)

    return torch.cat([resized(some) for some in images.split(2000)]).expand(-1, channels, -1, -1).contiguous()


def _select(images: np.ndarray, labels: np.ndarray, classes: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    if images.ndim == 3:
        images = images[..., None]
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    y = torch.from_numpy(labels.astype(np.int64))
    if classes is None:
        return x, y
    kept = torch.isin(y, torch.tensor(classes))
    renumbered = torch.full((int(y.max()) + 1,), -1)
    renumbered[torch.tensor(classes)] = torch.arange(len(classes))
    return x[kept], renumbered[y[kept]]


def save_scan_images(dataset: Dataset, path: Path, count: int = 1000) -> None:
    """Write about ``count`` balanced test images: ``x`` uint8 (N, H, W[, C]) and ``y`` int64.

    A class with fewer test images than its share gives all it has.
    """
    share = round(count / dataset.num_classes)
    rows = [(dataset.y_test == label).nonzero()[:share, 0] for label in range(dataset.num_classes)]
    chosen = torch.cat(rows)
    images = dataset.x_test[chosen].permute(0, 2, 3, 1).numpy()
    if images.shape[-1] == 1:
        images = images[..., 0]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial.npz")
    np.savez_compressed(partial, x=images, y=dataset.y_test[chosen].numpy())
    partial.replace(path)
