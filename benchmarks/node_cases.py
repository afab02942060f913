"""The operator tests that ship with onnx: which of them a classifier could meet, and what becomes of each.

A case is a small graph, its inputs and its outputs. Its inputs are fed as graph inputs, as an image would be;
when a converter needs one of them as a constant, the case is tried again with every input that is not the
first float one stored in the file as an initializer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from auditor.errors import ModelFileError, UnsupportedOperatorsError
from auditor.loading.onnx_graph.convert import convert
from auditor.loading.onnx_graph.converters.elements import CARRIED_TYPE, TORCH_TYPE
from auditor.loading.onnx_graph.prepare import prepare

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
    **dict.fromkeys(("ReverseSequence",), "sequences of several lengths"),
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
        if not types <= set(TORCH_TYPE) | set(CARRIED_TYPE):
            return "inputs of a type that no layer has"
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


class Refused(Exception):
    """A converter said that it does not convert a case."""


Convert = Callable[[onnx.ModelProto], torch.nn.Module]


def by_auditor(model: onnx.ModelProto) -> torch.nn.Module:
    """Convert as the auditor does. Raises Refused for a clean refusal; any other exception is a crash."""
    types = [value.type.tensor_type.elem_type for value in model.graph.input]
    if any(kind not in TORCH_TYPE for kind in types):
        raise Refused("an input of a type that no image and no layer has")
    try:
        prepared, _ = prepare(model)
        return convert(prepared)
    except UnsupportedOperatorsError as error:
        raise Refused(str(error)) from error
    except ModelFileError as error:
        if error.__cause__ is None or isinstance(error.__cause__, NotImplementedError):
            raise Refused(str(error)) from error
        raise


def by_onnx2torch(model: onnx.ModelProto) -> torch.nn.Module:
    """Convert with onnx2torch alone, for comparison; whatever it raises counts as a refusal."""
    from onnx2torch import convert as stock

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        return stock(copy).eval()
    except Exception as error:
        raise Refused(str(error)) from error


def fate_of(case: NodeCase, converted: Convert = by_auditor) -> tuple[Fate, str]:
    """What becomes of a case, and how it was refused or disagreed."""
    fate, why = _tried(case.model, case.data, converted)
    stored = _with_constants(case) if fate == "refused" else None
    if stored is None:
        return fate, why
    again, reason = _tried(*stored, converted)
    return ("agree with constants" if again == "agree" else again), reason


def _tried(model: onnx.ModelProto, data: list[tuple[list[Any], list[Any]]], converted: Convert) -> tuple[Fate, str]:
    try:
        module = converted(model)
        for inputs, outputs in data:
            difference = disagreement(module, model, inputs, outputs, in_float32=converted is by_auditor)
            if difference:
                return "disagree", difference
    except (Refused, NotImplementedError, ModelFileError) as error:
        crash = isinstance(error, ModelFileError) and error.__cause__ is not None
        return ("disagree" if crash else "refused"), str(error)
    except Exception as error:  # whatever torch raises: a crash counts as a disagreement
        return "disagree", f"raised while running: {error!r}"
    return "agree", ""


def disagreement(
    module: torch.nn.Module, model: onnx.ModelProto, inputs: list[Any], outputs: list[Any], in_float32: bool = True
) -> str | None:
    """How the module's results differ from the stored ones, or ``None``."""
    with torch.no_grad():
        results = module(*(_tensor(value, in_float32) for value in inputs))
    results = [results] if isinstance(results, torch.Tensor) else list(results)
    if len(results) != len(outputs):
        return f"expected {len(outputs)} outputs, got {len(results)}"
    for ours, theirs, value in zip(results, outputs, model.graph.output, strict=True):
        wanted = np.asarray(theirs)
        if tuple(ours.shape) != wanted.shape:
            return f"expected shape {wanted.shape}, got {tuple(ours.shape)}"
        relative, absolute = TOLERANCE.get(value.type.tensor_type.elem_type, (0.0, 0.0))
        given, wanted = ours.double().numpy(), wanted.astype(np.float64)
        if not np.allclose(given, wanted, rtol=relative, atol=absolute, equal_nan=True):
            return f"largest difference {np.nanmax(np.abs(given - wanted)):.3g}"
    return None


def _tensor(value: Any, in_float32: bool) -> torch.Tensor:
    array = np.asarray(value)
    if in_float32 and array.dtype.kind not in "iub":
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
