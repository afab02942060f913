"""What can be shown of a measurement: pictures, source × target tables, curves. Plain values and numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """An image worth looking at."""

    title: str
    pixels: Array
    """(C, H, W), C of 1 or 3, in [0, 1]"""


@dataclass(frozen=True)
class Matrix:
    """A source × target table."""

    title: str
    values: Array
    """(K, K): row = source class, column = target class; NaN where nothing was measured"""
    unit: str


@dataclass(frozen=True)
class Curve:
    """One quantity against another."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_unit: str
    y_unit: str
    spread: tuple[float, ...] = ()
    """standard deviation of each y; empty = not known"""


Exhibit = Picture | Matrix | Curve
