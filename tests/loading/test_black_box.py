"""A graph that nothing converts, asked through onnxruntime: answers, no gradients, and never "no evidence"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import UnsupportedOperatorsError
from auditor.findings import Measurement, Outcome, Statistic, Verdict
from auditor.loading import load_network
from auditor.opening import open_classifier
from auditor.request import ModelOptions, ScanRequest, ScanSettings
from auditor.scan import run
from auditor.verdict import judge

pytest.importorskip("onnxruntime")


def odd_model(path: Path, domain: str = "com.microsoft", batch: int | str = "N") -> np.ndarray:
    """A linear classifier of 1×8×8 images that ends in an operation nothing converts; returns its weights."""
    weights = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        helper.make_node("QuickGelu", ["scores"], ["y"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([0, 64]), "shape"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return weights


def test_it_answers_as_the_runtime_does(tmp_path: Path) -> None:
    weights = odd_model(tmp_path / "m.onnx")
    with pytest.raises(UnsupportedOperatorsError, match="QuickGelu"):
        load_network(tmp_path / "m.onnx")
    network = load_network(tmp_path / "m.onnx", as_black_box=True)
    assert not network.differentiable
    assert (network.input_shape, network.num_classes, network.fixed_batch) == ((1, 8, 8), 10, None)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    scores = x.flatten(1) @ torch.from_numpy(weights)
    expected = scores * torch.sigmoid(1.702 * scores)
    assert torch.allclose(network.module(x), expected, atol=1e-5)


def test_a_literal_batch_is_kept(tmp_path: Path) -> None:
    odd_model(tmp_path / "m.onnx", batch=1)
    classifier, network = open_classifier(tmp_path / "m.onnx", ModelOptions(), device="cpu", as_black_box=True)
    assert network.fixed_batch == 1
    assert classifier.predict(torch.rand(3, 1, 8, 8)).shape == (3,)


def test_operators_that_need_a_library_are_refused_by_name(tmp_path: Path) -> None:
    odd_model(tmp_path / "m.onnx", domain="evil.example")
    with pytest.raises(UnsupportedOperatorsError, match=r"evil\.example"):
        load_network(tmp_path / "m.onnx", as_black_box=True)


def test_what_needs_gradients_is_missing_and_said_so(tmp_path: Path) -> None:
    odd_model(tmp_path / "m.onnx")
    request = ScanRequest(
        model=tmp_path / "m.onnx", settings=ScanSettings(black_box=True, image_count=60), detectors=("iscp", "blend")
    )
    audit = run(request)
    assert audit.verdict is Verdict.INCONCLUSIVE
    assert "iscp, blend: left out: it needs gradients" in audit.reason or "blend, iscp: left out" in audit.reason
    assert audit.images.source == "procedural images"
    assert audit.image_passes > 0


def test_a_detector_that_only_asks_can_still_convict() -> None:
    missing = Outcome("iscp", Statistic("p", "share"), {}, (), 10, 0.0, 0, "left out: it needs gradients")
    values = [0.01, 0.012, 0.008, 0.011, 0.009, 0.013, 0.01, 0.007, 0.99, 0.01]
    asked = Outcome(
        "stranger", Statistic("p", "share"), {}, tuple(Measurement(v, k) for k, v in enumerate(values)), 10, 0.0, 0
    )
    for outcomes, verdict in (((missing, asked), Verdict.SUSPICIOUS), ((missing,), Verdict.INCONCLUSIVE)):
        assert judge(outcomes, num_classes=10, level=0.01, confirm_at=0.8).verdict is verdict
