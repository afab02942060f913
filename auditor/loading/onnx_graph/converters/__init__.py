"""Converters from ONNX operations to torch modules, one file a family, on top of onnx2torch's own.

Importing the package declares them all; ``build`` makes the torch graph with them.
To add one, write it in the file of its family with ``@converter(operation, *schema_versions)``.
"""

from auditor.loading.onnx_graph.converters import (
    activations,
    aliases,
    attention,
    casting,
    convolution,
    elementwise,
    generating,
    indexing,
    normalisation,
    padding,
    pooling,
    quantised,
    quantised_microsoft,
    recurrent,
    reductions,
    resizing,
    sampling,
    selection,
    shapes,
)
from auditor.loading.onnx_graph.converters.building import build
from auditor.loading.onnx_graph.converters.registration import (
    CONVERTERS,
    OURS,
    StaticArguments,
    converter,
    find_converter,
    load_plugins,
    since_version,
)

__all__ = [
    "CONVERTERS",
    "OURS",
    "StaticArguments",
    "activations",
    "aliases",
    "attention",
    "build",
    "casting",
    "converter",
    "convolution",
    "elementwise",
    "find_converter",
    "generating",
    "indexing",
    "load_plugins",
    "normalisation",
    "padding",
    "pooling",
    "quantised",
    "quantised_microsoft",
    "recurrent",
    "reductions",
    "resizing",
    "sampling",
    "selection",
    "shapes",
    "since_version",
]
