"""Converters from ONNX operations to torch modules, one file a family, on top of onnx2torch's own.

Importing the package declares them all; ``registered()`` puts them into onnx2torch's registry for a while.
To add one, write it in the file of its family with ``@converter(operation, *schema_versions)``.
"""

from auditor.loading.onnx_converters import (
    activations,
    aliases,
    casting,
    convolution,
    indexing,
    normalisation,
    padding,
    pooling,
    reductions,
    resizing,
    shapes,
)
from auditor.loading.onnx_converters.registration import OURS, StaticArguments, converter, registered

__all__ = [
    "OURS",
    "StaticArguments",
    "activations",
    "aliases",
    "casting",
    "converter",
    "convolution",
    "indexing",
    "normalisation",
    "padding",
    "pooling",
    "reductions",
    "registered",
    "resizing",
    "shapes",
]
