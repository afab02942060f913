"""What is taken from onnx2torch, and which newer schema versions mean exactly the same.

Nothing of onnx2torch is used that is not listed here: each row was checked against the operator tests of onnx and
against its schema. A row is (operation, versions that onnx2torch converts, newer versions that it does not). A newer
version is listed only when its schema has the same inputs, outputs, attributes and defaults as the last version
before it and its change was in the accepted types or the wording; the tests compare the schemas. Cast, Pad, Resize,
Split and the Reduce family changed meaning and are never listed.
"""

from __future__ import annotations

from onnx2torch import node_converters as _load_all_converters  # noqa: F401 - fills the registry
from onnx2torch.node_converters.registry import get_converter

from auditor.loading.onnx_graph.converters.registration import converter

SAME_MEANING: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("Abs", (6, 13), ()),
    ("Acos", (7,), (22,)),
    ("Add", (7, 13, 14), ()),
    ("And", (7,), ()),
    ("Asin", (7,), (22,)),
    ("Atan", (7,), (22,)),
    ("Ceil", (6, 13), ()),
    ("Concat", (4, 11, 13), ()),
    ("Cos", (7,), (22,)),
    ("Div", (7, 13, 14), ()),
    ("Elu", (6,), (22,)),
    ("Equal", (7, 11, 13), (19,)),
    ("Erf", (9, 13), ()),
    ("Exp", (6, 13), ()),
    ("Floor", (6, 13), ()),
    ("Gemm", (9, 11, 13), ()),
    ("Greater", (7, 9, 13), ()),
    ("GreaterOrEqual", (12,), (16,)),
    ("HardSigmoid", (6,), (22,)),
    ("HardSwish", (14,), (22,)),
    ("LeakyRelu", (6, 16), ()),
    ("Less", (7, 9, 13), ()),
    ("LessOrEqual", (12,), (16,)),
    ("Log", (6, 13), ()),
    ("LogSoftmax", (1, 11, 13), ()),
    ("MatMul", (1, 9, 13), ()),
    ("Max", (8, 12, 13), ()),
    ("Mean", (8, 13), ()),
    ("Min", (8, 12, 13), ()),
    ("Mul", (7, 13, 14), ()),
    ("Neg", (6, 13), ()),
    ("Not", (1,), ()),
    ("Or", (7,), ()),
    ("Pow", (7, 12, 13, 15), ()),
    ("Reciprocal", (6, 13), ()),
    ("Relu", (6, 13, 14), ()),
    ("Round", (11,), (22,)),
    ("Sigmoid", (6, 13), ()),
    ("Sign", (9, 13), ()),
    ("Sin", (7,), (22,)),
    ("Softmax", (1, 11, 13), ()),
    ("Softplus", (1,), (22,)),
    ("Softsign", (1,), (22,)),
    ("Sqrt", (6, 13), ()),
    ("Sub", (7, 13, 14), ()),
    ("Sum", (8, 13), ()),
    ("Tan", (7,), (22,)),
    ("Tanh", (6, 13), ()),
    ("Transpose", (1, 13), (21, 23, 24, 25)),
    ("Where", (9, 16), ()),
    ("Xor", (7,), ()),
)

for _operation, _known, _newer in SAME_MEANING:
    for _version in _known:
        converter(_operation, _version)(get_converter(operation_type=_operation, version=_version))
    converter(_operation, *_newer)(get_converter(operation_type=_operation, version=_known[-1]))
