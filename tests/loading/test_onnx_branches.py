"""``If`` that sizes or constants decide is resolved; one that the image decides is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from auditor.errors import UnsupportedOperatorsError
from auditor.inspection import examine
from auditor.loading import load_network

from .graphs import EXPECTED, ONES, constant, linear_model, saved


def _branch(name: str, *nodes: NodeProto, constants: tuple[TensorProto, ...] = ()) -> onnx.GraphProto:
    output = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    return helper.make_graph(nodes, name, [], output, constants)


def _chosen_by(condition: str, *before: NodeProto, constants: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    """The scores doubled when ``condition`` holds, else negated; each branch has names that the other has too."""
    double = _branch(
        "yes",
        helper.make_node("Mul", ["plain", "factor"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["out_a"]),
        constants=(constant("factor", 2.0),),
    )
    negate = _branch(
        "no", helper.make_node("Neg", ["plain"], ["inner"]), helper.make_node("Relu", ["inner"], ["out_b"])
    )
    model = linear_model(
        *before,
        helper.make_node("If", [condition], ["scores"], then_branch=double, else_branch=negate),
        constants=constants,
    )
    model.graph.node[1].output[0] = "plain"
    return model


def _two_axes(negated: bool) -> onnx.ModelProto:
    """Whether the features have 4 columns, asked of their shape."""
    nodes = [
        helper.make_node("Shape", ["flat"], ["shape"], start=1),
        helper.make_node("Gather", ["shape", "first"], ["columns"]),
        helper.make_node("Equal", ["columns", "four"], ["same"]),
        helper.make_node("Not" if negated else "Identity", ["same"], ["condition"]),
    ]
    return _chosen_by("condition", *nodes, constants=(constant("first", 0, np.int64), constant("four", 4, np.int64)))


DOUBLED = [[2 * value for value in EXPECTED[0]]]
CASES = {
    "a constant": (lambda: _chosen_by("yes", constants=(constant("yes", True, np.bool_),)), DOUBLED),
    "a Constant node": (
        lambda: _chosen_by("no", helper.make_node("Constant", [], ["no"], value=constant("", False, np.bool_))),
        [[0.0, 0.0]],
    ),
    "a size": (lambda: _two_axes(False), DOUBLED),
    "a size, negated": (lambda: _two_axes(True), [[0.0, 0.0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_branches_that_sizes_decide_are_taken(tmp_path: Path, name: str) -> None:
    build, expected = CASES[name]
    loaded = load_network(saved(build(), tmp_path))
    assert loaded.module(torch.from_numpy(ONES)).tolist() == expected
    assert any("1 branches (If)" in note for note in loaded.notes)


def test_branches_in_branches_are_taken(tmp_path: Path) -> None:
    model = _chosen_by("yes", constants=(constant("yes", True, np.bool_),))
    outer = model.graph.node[-1]
    inner = NodeProto.FromString(outer.SerializeToString())
    inner.output[0] = "deep"
    wrapped = _branch("wrapped", inner, helper.make_node("Identity", ["deep"], ["out_c"]))
    outer.CopyFrom(helper.make_node("If", ["yes"], ["scores"], then_branch=wrapped, else_branch=wrapped))
    loaded = load_network(saved(model, tmp_path))
    assert loaded.module(torch.from_numpy(ONES)).tolist() == DOUBLED


def test_a_branch_that_the_image_decides_is_not_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["plain"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["condition"]),
    ]
    path = saved(_chosen_by("condition", *nodes, constants=(constant("limit", 5.0),)), tmp_path)
    with pytest.raises(UnsupportedOperatorsError, match="If"):
        load_network(path)
    assert "image-switches-branch" in {finding.id for finding in examine(path).dangers}


def test_a_batch_that_is_open_decides_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["flat"], ["shape"], end=1),
        helper.make_node("Squeeze", ["shape"], ["batch"]),
        helper.make_node("Greater", ["batch", "one"], ["condition"]),
    ]
    path = saved(_chosen_by("condition", *nodes, constants=(constant("one", 1, np.int64),)), tmp_path)
    with pytest.raises(UnsupportedOperatorsError, match="If"):
        load_network(path)


def test_sizes_that_the_file_only_claims_decide_nothing(tmp_path: Path) -> None:
    """Four columns are claimed to be five, which would hide the branch that is really taken."""
    model = _two_axes(False)
    model.graph.value_info.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 5]))
    loaded = load_network(saved(model, tmp_path))
    assert loaded.module(torch.from_numpy(ONES)).tolist() == DOUBLED


def test_local_functions_are_inlined_in_a_fresh_process(tmp_path: Path) -> None:
    """onnx imports its inliner only when asked to."""
    model = linear_model()
    model.graph.node[1].CopyFrom(helper.make_node("Product", ["flat", "weight"], ["scores"], domain="own"))
    model.opset_import.add(domain="own", version=1)
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    model.functions.append(
        helper.make_function("own", "Product", ["a", "b"], ["c"], body, [helper.make_opsetid("", 18)])
    )
    path = saved(model, tmp_path)
    program = f"from pathlib import Path; from auditor.loading import load_network; load_network(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", program], timeout=100, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
