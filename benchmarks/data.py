"""The image data of the zoo: MNIST, Fashion-MNIST and GTSRB from .npz files in a folder the caller names.

A file holds ``x_train``, ``x_test`` as uint8 (N, H, W) or (N, H, W, C) and ``y_train``, ``y_test`` as
integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

#: Data set name -> (file name, the classes kept or None for all). Kept classes are renumbered from 0.
SOURCES: dict[str, tuple[str, tuple[int, ...] | None]] = {
    "mnist": ("mnist.npz", None),
    "mnist_358": ("mnist.npz", (3, 5, 8)),
    "fashion_mnist": ("fashion_mnist.npz", None),
    "gtsrb": ("gtsrb.npz", None),
}


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
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(arrays.files)
        if missing:
            raise ValueError(
                f"expected arrays x_train, y_train, x_test, y_test in {path}, missing {sorted(missing)}"
            )
        for part in ("train", "test"):
            parts.extend(_select(arrays[f"x_{part}"], arrays[f"y_{part}"], classes))
    return Dataset(name, *parts)


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
