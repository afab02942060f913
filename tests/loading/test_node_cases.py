"""A part of the operator tests that ship with onnx: what converts agrees with the stored outputs."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from benchmarks.node_cases import OUTSIDE, NodeCase, fate_of, node_cases
from benchmarks.operators import run

EVERY = 3
"""Of the cases that no test names, one in three is run; ``python -m benchmarks.operators`` runs them all."""

OPERATIONS = (
    "Attention", "AveragePool", "BatchNormalization", "CenterCropPad", "Clip", "Conv", "ConvTranspose", "CumSum",
    "DepthToSpace", "DequantizeLinear", "DynamicQuantizeLinear", "Einsum", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GridSample", "GroupNormalization",
    "HardSwish", "InstanceNormalization", "LRN", "LayerNormalization", "LpPool", "MatMulInteger", "MaxPool",
    "MeanVarianceNormalization", "Mish", "Mod", "OneHot", "Pad", "PRelu", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Reshape", "Resize", "RMSNormalization",
    "RotaryEmbedding", "ScatterElements", "ScatterND", "Selu", "Slice", "SpaceToDepth", "Split", "Squeeze", "Swish",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where",
)  # fmt: skip


@pytest.fixture(scope="module")
def cases() -> list[NodeCase]:
    return node_cases()


@pytest.fixture(scope="module")
def counted(cases: list[NodeCase]) -> dict[str, list[NodeCase]]:
    found = defaultdict(list)
    for case in cases:
        if case.outside is None:
            found[case.operation].append(case)
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_agrees_with_the_standard(counted: dict[str, list[NodeCase]], operation: str) -> None:
    """Nothing disagrees, nine in ten convert, training modes and the smallest types aside."""
    fates = Counter(fate_of(case)[0] for case in counted[operation])
    assert not fates["disagree"]
    share = 0.5 if operation == "BatchNormalization" else 0.9
    assert fates["agree"] + fates["agree with constants"] >= share * fates.total() > 0


def test_no_case_converts_and_disagrees(cases: list[NodeCase]) -> None:
    """Those that no classifier meets included: strings, loops, training, random numbers."""
    rest = [case for case in cases if case.operation not in OPERATIONS][::EVERY]
    assert len(rest) > 300
    fates = [(case, *fate_of(case)) for case in rest]
    assert [(case.name, why) for case, fate, why in fates if fate == "disagree"] == []
    agreeing = [case for case, fate, _ in fates if fate.startswith("agree")]
    assert len(agreeing) > 150


def test_most_cases_count(counted: dict[str, list[NodeCase]]) -> None:
    assert sum(map(len, counted.values())) > 1000


def test_every_reason_not_to_count_a_case_is_met(cases: list[NodeCase]) -> None:
    assert {case.outside for case in cases} - {None} > set(OUTSIDE.values()) - {"random numbers"}


def test_report_counts_what_it_lists(counted: dict[str, list[NodeCase]], cases: list[NodeCase]) -> None:
    training = [case for case in cases if case.name.startswith(("test_training_dropout", "test_softplus"))]
    report = run(training)
    assert "| Dropout | 6 | 2 | 4 | 0 |" in report
    assert "| Softplus | 2 | 2 | 0 | 0 | 0 | 2 | 0 |" in report
    assert "Dropout, 4×: Dropout in training mode" in report
