"""ONNX operations by what they do to the image's content; see `auditor.inspection.flow`."""

from __future__ import annotations

from onnx import TensorProto

STANDARD = ("", "ai.onnx")
"""ONNX's own domain, under either name"""

RUNTIME = "com.microsoft"
"""the domain of onnxruntime's own operations"""

CONTROL = frozenset({"If", "Loop", "Scan"})

SHAPE_ONLY = frozenset({"Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
"""their result depends on the shape of the operand alone"""

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)

COMPARING = frozenset(
    {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf", "ArgMax", "ArgMin", "Hardmax"}
    | {"NonZero", "Unique", "StringNormalizer"}
)
"""from numbers to a decision"""

ROUNDING = frozenset({"Sign", "Floor", "Ceil", "Round", "Mod"})

SATURATING = frozenset({"Sigmoid", "Tanh", "Clip", "HardSigmoid", "Softsign", "Erf", "Softmax"})
"""bounded, so a switch when what goes in is multiplied by a large number"""

INTEGERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    }
)

DECIDING = COMPARING | frozenset({"And", "Or", "Xor", "Not", "Where", "If", "Loop", "Scan"})
"""operations that make a decision, or take one that is judged by itself; any other with two operands joins them"""

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Mod"})

ELEMENTWISE = (
    ARITHMETIC
    | ROUNDING
    | (SATURATING - {"Softmax"})
    | frozenset(
        {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf", "And", "Or", "Xor", "Not"}
        | {"Where", "Cast", "CastLike", "Identity", "Dropout", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal"}
        | {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Softplus", "ThresholdedRelu", "Shrink", "Gelu", "Mish"}
        | {"HardSwish", "Swish", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Asin", "Acos", "Atan"}
        | {"QuantizeLinear", "DequantizeLinear", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"}
    )
)
"""each element of the result comes from the same element of the operands"""

WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "Gemm", "MatMul", "MatMulInteger"}
    | {"QLinearMatMul", "Einsum", "LSTM", "GRU", "RNN"}
)
"""where weights enter, when one of the operands is without content"""

CHOOSING: dict[str, tuple[int, ...]] = {
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "Scatter": (1,),
    "ScatterElements": (1,),
    "ScatterND": (1,),
    "Slice": (1, 2, 3, 4),
    "Compress": (1,),
    "Tile": (1,),
    "Expand": (1,),
    "Reshape": (1,),
    "Pad": (1,),
    "Split": (1,),
    "Trilu": (1,),
    "TopK": (1,),
    "Range": (0, 1, 2),
    "ConstantOfShape": (0,),
    "Resize": (2, 3),
    "OneHot": (1,),
    "ReverseSequence": (1,),
}
"""the operands that say which or how many, not what"""


def canonical(domain: str, kind: str) -> str:
    """The ONNX operation that this one is a form of; ``domain::type`` for anything else outside of ONNX's own domain.

    onnxruntime's quantised operations (``com.microsoft::QLinearAdd``) do to the image what their float forms do.
    """
    if domain in STANDARD:
        return kind
    if domain == RUNTIME and (kind.startswith("QLinear") or kind == "QGemm"):
        return kind.removeprefix("QLinear") if kind != "QGemm" else "Gemm"
    return f"{domain}::{kind}"
