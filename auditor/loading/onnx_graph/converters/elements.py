"""Element types: which torch type carries the values of an ONNX one, and how much one tensor may hold.

Every float type is carried as float32, the precision the audit computes in. Types that torch has no
arithmetic for are carried by a wider one, and only by what cannot overflow: the constants of quantised
operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from auditor.errors import ModelFileError
from auditor.loading.limits import DEFAULT_LIMITS

TORCH_TYPE: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.DOUBLE: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}
"""Types that any operation may compute in."""

CARRIED_TYPE: dict[int, torch.dtype] = {
    TensorProto.UINT16: torch.int32,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.INT2: torch.int8,
    TensorProto.UINT2: torch.uint8,
}
"""Types of constants that quantised operations alone may read."""

INTEGER_RANGE: dict[int, tuple[int, int]] = {
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT32: (-(2**31), 2**31 - 1),
}
"""Smallest and largest value of the types that quantisation rounds to."""


def type_name(element_type: int) -> str:
    """The name of an ONNX element type, for messages."""
    try:
        return str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:
        return f"number {int(element_type)}"


def to_torch(tensor: onnx.TensorProto) -> torch.Tensor:
    """The values of a constant. Raises NotImplementedError for element types that nothing here carries."""
    wanted = TORCH_TYPE.get(tensor.data_type) or CARRIED_TYPE.get(tensor.data_type)
    if wanted is None:
        raise NotImplementedError(f"constants of element type {type_name(tensor.data_type)}")
    array = numpy_helper.to_array(tensor)
    if tensor.data_type in CARRIED_TYPE:
        array = array.astype(str(wanted).removeprefix("torch."))
    elif wanted is torch.float32:
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))


def check_elements(shape: Iterable[int]) -> None:
    """Raise ModelFileError before a tensor is made that holds more than a classifier could need."""
    sizes = [int(size) for size in shape]
    limit = DEFAULT_LIMITS.tensor_elements
    if math.prod(sizes) > limit:
        raise ModelFileError(
            f"expected tensors of at most {limit:,} elements, got one of shape {tuple(sizes)} computed in the graph; "
            "export the classifier for smaller images"
        )
