"""The operator tests that ship with onnx: which of them a classifier could meet, and what becomes of each.

A case is a small graph, its inputs and its outputs. Its inputs are fed as graph inputs, as an image would be;
when a converter needs one of them as a constant, the case is tried again with every input that is not the
first float one stored in the file as an initializer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from auditor.errors import ModelFileError, UnsupportedOperatorsError
from auditor.loading.onnx_convert import convert
from auditor.loading.onnx_converters.elements import TORCH_TYPE
from auditor.loading.onnx_prepare import prepare

Fate = Literal["agree", "agree with constants", "refused", "disagree"]

OUTSIDE: dict[str, str] = {
    **dict.fromkeys(("ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview"), "another domain than ai.onnx"),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "control flow"),
    **dict.fromkeys(
        ("SequenceInsert", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceLength",
         "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
        "sequences and optionals",
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), "text",
    ),
    **dict.fromkeys(
        ("BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT"), "sound",
    ),
    **dict.fromkeys(("GRU", "LSTM", "RNN", "ReverseSequence"), "recurrent networks"),
    **dict.fromkeys(
        ("CausalConvWithState", "LinearAttention", "TensorScatter"), "language models that keep a state",
    ),
    **dict.fromkeys(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
                     "RandomUniformLike"), "random numbers"),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), "losses of training"),
    **dict.fromkeys(("MaxRoiPool", "NonMaxSuppression", "RoiAlign"), "object detection"),
    **dict.fromkeys(("ImageDecoder",), "files inside the graph"),
    **dict.fromkeys(("BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"), "bits of integers"),
    **dict.fromkeys(("Det", "Unique", "Compress"), "shapes or matrices that no layer of a classifier makes"),
}  # fmt: skip
"""Operations and domains that no image classifier is made of, with the reason. All others count."""

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
QUANTISED = frozenset(
    {"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
     "DynamicQuantizeLinear"}
)  # fmt: skip

TOLERANCE: dict[int, tuple[float, float]] = {
    TensorProto.FLOAT: (1e-3, 1e-5),
    TensorProto.DOUBLE: (1e-3, 1e-5),  # computed in float32
    TensorProto.FLOAT16: (5e-3, 2e-3),
    TensorProto.BFLOAT16: (2e-2, 1e-2),
}
"""Relative and absolute tolerance by the element type of the stored output; 1e-3 is that of onnx's own runner.
Anything else, integers of quantised operations included, must be equal."""


@dataclass(frozen=True)
class NodeCase:
    """One test of the onnx package. ``operation`` is what its name tests, for the table."""

    name: str
    operation: str
    model: onnx.ModelProto
    data: list[tuple[list[Any], list[Any]]]

    @property
    def outside(self) -> str | None:
        """Why no classifier meets this graph, or ``None`` when one could."""
        nodes = list(self.model.graph.node) + [node for function in self.model.functions for node in function.node]
        for node in nodes:
            for key in (node.domain, node.op_type):
                if key in OUTSIDE:
                    return OUTSIDE[key]
        quantised = any(node.op_type in QUANTISED for node in nodes)
        types = {value.type.tensor_type.elem_type for value in self.model.graph.input}
        if not (types & FLOATS) and not quantised:
            return "no float input"
        if not types <= set(TORCH_TYPE):
            return "inputs of a type that no image and no layer has"
        return None


def node_cases() -> list[NodeCase]:
    """All cases of the installed onnx, by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    cases = [
        NodeCase(
            case.name,
            _operation(case.name, case.model),
            case.model,
            [(_arrays(inputs), _arrays(outputs)) for inputs, outputs in case.data_sets],
        )
        for case in found
        if case.model is not None
    ]
    return sorted(cases, key=lambda case: case.name)


def _arrays(values: Sequence[Any]) -> list[Any]:
    """Some cases store their values as tensors of a file instead of arrays."""
    return [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in values]


def _operation(name: str, model: onnx.ModelProto) -> str:
    kinds = {node.op_type for node in model.graph.node}
    if "_expanded" not in name and len(kinds) == 1:
        return kinds.pop()
    return "graphs of several operations"


def fate_of(case: NodeCase) -> tuple[Fate, str]:
    """What this project does with a case, and how it refused or disagreed."""
    fate, why = _tried(case.model, case.data)
    if fate == "refused":
        stored = _with_constants(case)
        if stored is not None:
            again, reason = _tried(*stored)
            if again == "agree":
                return "agree with constants", why
            if again == "disagree":
                return again, reason
    return fate, why


def _tried(model: onnx.ModelProto, data: list[tuple[list[Any], list[Any]]]) -> tuple[Fate, str]:
    types = [value.type.tensor_type.elem_type for value in model.graph.input]
    if any(kind not in TORCH_TYPE for kind in types):
        return "refused", "an input of a type that is not audited"
    try:
        prepared, _ = prepare(model)
        module = convert(prepared)
    except UnsupportedOperatorsError as error:
        return "refused", str(error)
    except ModelFileError as error:
        if error.__cause__ is None or isinstance(error.__cause__, NotImplementedError):
            return "refused", str(error)
        return "disagree", f"raised while converting: {error.__cause__!r}"
    try:
        for inputs, outputs in data:
            difference = disagreement(module, model, inputs, outputs)
            if difference:
                return "disagree", difference
    except (NotImplementedError, ModelFileError) as error:
        return "refused", str(error)
    except Exception as error:  # whatever torch raises: a crash counts against us
        return "disagree", f"raised while running: {error!r}"
    return "agree", ""


def disagreement(module: torch.nn.Module, model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> str | None:
    """How the module's results differ from the stored ones, or ``None``."""
    with torch.no_grad():
        results = module(*(_tensor(value) for value in inputs))
    results = [results] if isinstance(results, torch.Tensor) else list(results)
    if len(results) != len(outputs):
        return f"expected {len(outputs)} outputs, got {len(results)}"
    for ours, theirs, value in zip(results, outputs, model.graph.output, strict=True):
        wanted = np.asarray(theirs)
        if tuple(ours.shape) != wanted.shape:
            return f"expected shape {wanted.shape}, got {tuple(ours.shape)}"
        relative, absolute = TOLERANCE.get(value.type.tensor_type.elem_type, (0.0, 0.0))
        given, wanted = ours.numpy().astype(np.float64), wanted.astype(np.float64)
        if not np.allclose(given, wanted, rtol=relative, atol=absolute, equal_nan=True):
            return f"largest difference {np.nanmax(np.abs(given - wanted)):.3g}"
    return None


def _tensor(value: Any) -> torch.Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))


def _with_constants(case: NodeCase) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]]] | None:
    """The case with every input but the first float one stored in the file; ``None`` when that changes nothing."""
    if len(case.data) != 1:
        return None
    inputs, outputs = case.data[0]
    kinds = [value.type.tensor_type.elem_type for value in case.model.graph.input]
    image = next((position for position, kind in enumerate(kinds) if kind in FLOATS), 0)
    if len(inputs) < 2 or len(inputs) != len(kinds):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values = list(case.model.graph.input)
    for position, (value, given) in enumerate(zip(values, inputs, strict=True)):
        if position != image:
            if not isinstance(given, np.ndarray | np.generic):
                return None
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(given), name=value.name))
    del model.graph.input[:]
    model.graph.input.append(values[image])
    return model, [([inputs[image]], outputs)]


def fates(cases: list[NodeCase]) -> Iterator[tuple[NodeCase, Fate, str]]:
    """Every case with its fate."""
    for case in cases:
        yield case, *fate_of(case)
