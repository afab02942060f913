"""Newer schema versions that mean exactly what an existing converter of onnx2torch does.

A row is (operation, version that onnx2torch converts, newer versions). A version is listed only when its
schema has the same inputs, outputs, attributes and defaults and its change was in the accepted types or the
wording; the tests compare the schemas. Cast, Pad, Resize, Split and the Reduce family changed meaning and
are never listed.
"""

from __future__ import annotations

from onnx2torch import node_converters as _load_all_converters  # noqa: F401 - fills the registry
from onnx2torch.node_converters.registry import get_converter

from auditor.loading.onnx_converters.registration import converter

SAME_MEANING: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("Acos", 7, (22,)),
    ("Asin", 7, (22,)),
    ("Atan", 7, (22,)),
    ("Cos", 7, (22,)),
    ("Sin", 7, (22,)),
    ("Tan", 7, (22,)),
    ("ConstantOfShape", 9, (20, 21, 23, 24, 25)),
    ("Elu", 6, (22,)),
    ("Equal", 13, (19,)),
    ("EyeLike", 9, (22,)),
    ("Flatten", 13, (21, 23, 24, 25)),
    ("GlobalAveragePool", 1, (22,)),
    ("GreaterOrEqual", 12, (16,)),
    ("HardSigmoid", 6, (22,)),
    ("HardSwish", 14, (22,)),
    ("InstanceNormalization", 6, (22,)),
    ("IsNaN", 13, (20,)),
    ("LessOrEqual", 12, (16,)),
    ("Round", 11, (22,)),
    ("Selu", 6, (22,)),
    ("Softplus", 1, (22,)),
    ("Softsign", 1, (22,)),
    ("TopK", 11, (24,)),
    ("Transpose", 13, (21, 23, 24, 25)),
)

for _operation, _known, _newer in SAME_MEANING:
    converter(_operation, *_newer)(get_converter(operation_type=_operation, version=_known))
