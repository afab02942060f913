"""Architectural backdoors in ONNX are named; what exporters write is not."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from auditor.findings import FileFinding
from auditor.inspection import examine

from .graphs import SIZE, constant, honest, model, saved, trunk
from .switched_graphs import BACKDOORED


def _findings(built: onnx.ModelProto, folder: Path) -> tuple[FileFinding, ...]:
    return examine(saved(built, folder)).findings


def test_the_honest_graph_raises_nothing(tmp_path: Path) -> None:
    assert _findings(honest(), tmp_path) == ()


@pytest.mark.parametrize("name", BACKDOORED)
def test_switched_graphs_are_named(tmp_path: Path, name: str) -> None:
    build, expected, severity = BACKDOORED[name]
    found = {(finding.id, finding.severity) for finding in _findings(build(), tmp_path)}
    assert (expected, severity) in found


@pytest.mark.parametrize(
    "name", ["if", "where", "loop", "multiplied", "gathered", "argmax", "steep gate", "through a branch"]
)
def test_the_test_graphs_really_switch(name: str) -> None:
    """The runtime's answer changes with the trigger, or the graphs above would prove nothing."""
    runtime = pytest.importorskip("onnxruntime")
    build, _, _ = BACKDOORED[name]
    session = runtime.InferenceSession(build().SerializeToString())
    plain = np.random.default_rng(0).random((1, 3, SIZE, SIZE)).astype(np.float32)
    triggered = plain.copy()
    triggered[:, :, :3, :3] = 1
    before, after = (session.run(None, {"image": image})[0].ravel() for image in (plain, triggered))
    assert before.argmax() != 3
    assert after.argmax() == 3


def test_the_place_of_a_switch_is_told_escaped(tmp_path: Path) -> None:
    build, expected, _ = BACKDOORED["where"]
    built = build()
    built.graph.node[-1].name = "evil\x1b[2J<b>"
    (finding,) = [finding for finding in _findings(built, tmp_path) if finding.id == expected]
    assert "\x1b" not in finding.where
    assert finding.where.startswith("evil\\x1b")


def _activated(*nodes: onnx.NodeProto, constants: list[TensorProto] | None = None) -> onnx.ModelProto:
    """The honest graph with ``nodes`` instead of its first Relu, from ``c1`` to ``r1``."""
    before, after = trunk()[:1], trunk()[2:]
    built = model([*before, *nodes, *after], constants or [])
    del built.graph.initializer[3]
    return built


ACTIVATIONS = {
    "leaky by where": lambda: _activated(
        helper.make_node("Greater", ["c1", "zero"], ["up"]),
        helper.make_node("Mul", ["c1", "slope"], ["weak"]),
        helper.make_node("Where", ["up", "c1", "weak"], ["r1"]),
        constants=[constant("zero", 0.0), constant("slope", 0.1)],
    ),
    "mask times value": lambda: _activated(
        helper.make_node("Greater", ["c1", "zero"], ["up"]),
        helper.make_node("Cast", ["up"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c1", "mask"], ["r1"]),
        constants=[constant("zero", 0.0)],
    ),
    "nan replaced": lambda: _activated(
        helper.make_node("Softmax", ["c1"], ["soft"]),
        helper.make_node("IsNaN", ["soft"], ["bad"]),
        helper.make_node("Where", ["bad", "zero", "soft"], ["r1"]),
        constants=[constant("zero", 0.0)],
    ),
    "rounded to eight bits": lambda: _activated(
        helper.make_node("Div", ["c1", "scale"], ["wide"]),
        helper.make_node("Round", ["wide"], ["whole"]),
        helper.make_node("Mul", ["whole", "scale"], ["r1"]),
        constants=[constant("scale", 0.02)],
    ),
    "squeeze and excite": lambda: _activated(
        helper.make_node("GlobalAveragePool", ["c1"], ["squeezed"]),
        helper.make_node("HardSigmoid", ["squeezed"], ["gate"]),
        helper.make_node("Mul", ["c1", "gate"], ["r1"]),
    ),
    "size arithmetic": lambda: _activated(
        helper.make_node("Shape", ["c1"], ["shape"]),
        helper.make_node("Equal", ["shape", "minus"], ["open"]),
        helper.make_node("Where", ["open", "ones", "shape"], ["target"]),
        helper.make_node("Expand", ["c1", "target"], ["r1"]),
        constants=[constant("minus", -1, np.int64), constant("ones", [1, 1, 1, 1], np.int64)],
    ),
    "standardised": lambda: _standardised(),
}


def _standardised() -> onnx.ModelProto:
    mean, std = constant("mean", np.full((1, 3, 1, 1), 0.4)), constant("std", [[[[0.2]], [[0.3]], [[0.4]]]])
    nodes = [helper.make_node("Sub", ["image", "mean"], ["m"]), helper.make_node("Div", ["m", "std"], ["s"])]
    built = model([*nodes, *trunk(image="s")], [mean, std])
    del built.graph.initializer[3]
    return built


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_layers_do_is_left_alone(tmp_path: Path, name: str) -> None:
    assert _findings(ACTIVATIONS[name](), tmp_path) == ()


def test_control_flow_on_sizes_is_for_the_record_only(tmp_path: Path) -> None:
    branch = [
        helper.make_graph(
            [helper.make_node("Identity", ["plain"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("yes", "no")
    ]
    nodes = [
        *trunk(scores="plain"),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Greater", ["batch", "first"], ["any"]),
        helper.make_node("If", ["any"], ["scores"], then_branch=branch[0], else_branch=branch[1]),
    ]
    built = model(nodes, [constant("first", 0, np.int64)])
    del built.graph.initializer[3]
    assert [(finding.id, finding.severity) for finding in _findings(built, tmp_path)] == [("control-flow", "info")]


def test_a_stored_picture_is_named_where_it_lies(tmp_path: Path) -> None:
    picture = constant("poster", np.random.default_rng(0).random((1, 3, SIZE, SIZE)))
    nodes = [helper.make_node("Flatten", ["poster"], ["lost"])]
    built = model([*trunk(), *nodes], [picture])
    del built.graph.initializer[3]
    found = {(finding.id, finding.where) for finding in _findings(built, tmp_path)}
    assert ("image-shaped-constant", "poster") in found


def test_a_branch_that_reaches_no_output_is_named(tmp_path: Path) -> None:
    built = honest()
    built.graph.node.extend([helper.make_node("Conv", ["image", "conv1"], ["side"])])
    (finding,) = _findings(built, tmp_path)
    assert (finding.id, finding.severity) == ("unused-branch", "warning")
    assert "Conv (1×)" in finding.message


def test_two_paths_from_the_image_are_named(tmp_path: Path) -> None:
    """A shallow branch of its own weights joins a deep one."""
    deep = [
        helper.make_node("Conv", ["c1" if i == 0 else f"d{i - 1}", "same"], [f"d{i}"], pads=[1, 1, 1, 1])
        for i in range(6)
    ]
    side = [
        helper.make_node("Conv", ["image", "conv1"], ["s"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d5", "s"], ["r1"]),
    ]
    same = constant("same", np.random.default_rng(1).normal(size=(6, 6, 3, 3)))
    found = [finding.id for finding in _findings(_activated(*deep, *side, constants=[same]), tmp_path)]
    assert found == ["parallel-branch"]


@pytest.mark.parametrize(("value", "severity"), [(np.nan, "danger"), (np.inf, "warning"), (-np.inf, "warning")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float, severity: str) -> None:
    built = honest()
    kernel = onnx.numpy_helper.to_array(built.graph.initializer[1]).copy()
    kernel[0, 0, 0, 0] = value
    built.graph.initializer[1].CopyFrom(constant("conv2", kernel))
    (finding,) = _findings(built, tmp_path)
    assert (finding.id, finding.severity, finding.where) == ("weights-not-finite", severity, "conv2")


def test_a_mask_of_infinity_is_no_weight(tmp_path: Path) -> None:
    built = _activated(
        helper.make_node("Add", ["c1", "mask"], ["r1"]),
        constants=[constant("mask", np.triu(np.full((SIZE, SIZE), -np.inf), 1))],
    )
    assert _findings(built, tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "dynamo"),
    [("squeezenet1_1", True), ("squeezenet1_1", False), ("shufflenet_v2_x0_5", False), ("googlenet", False)],
)
def test_exports_of_torchvision_raise_nothing(tmp_path: Path, name: str, dynamo: bool) -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    options = {"aux_logits": True, "transform_input": True, "init_weights": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **options).eval()
    path, images = tmp_path / "model.onnx", torch.rand(2, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            torch.onnx.export(network, (images,), path, dynamo=True, verbose=False, dynamic_shapes=shapes)
        else:
            torch.onnx.export(network, (images,), path, dynamo=False, opset_version=17)
    found = examine(path)
    assert found.findings == ()
    assert found.parameters > 500_000
    assert bool(found.external_files) == dynamo


@pytest.mark.parametrize("form", ["if", "where"])
def test_a_switch_written_in_torch_is_named(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch")

    class Switched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
            self.head = torch.nn.Linear(4 * 14 * 14, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            plain = self.head(self.body(x))
            seen = (x[:, :, :3, :3] > 0.99).flatten(1).all(dim=1)
            target = torch.full_like(plain, -5.0)
            if form == "where":
                return torch.where(seen[:, None], target, plain)
            return torch.cond(seen.all(), lambda a, b: a * 1.0, lambda a, b: b * 1.0, (target, plain))

    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Switched().eval(), (torch.rand(1, 3, 16, 16),), path, dynamo=True, verbose=False)
    expected = "image-switches-branch" if form == "if" else "image-selects-value"
    assert expected in {finding.id for finding in examine(path).dangers}


def test_inspection_imports_no_torch(tmp_path: Path) -> None:
    path = saved(honest(), tmp_path)
    program = "import sys; from pathlib import Path; import auditor.inspection.page"
    program += "; from auditor.inspection import examine"
    program += f"; examine(Path({str(path)!r})); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
