"""The loading benchmark saves, loads and compares; its tables hide no failure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.loading import TABLES, architectures, measured
from benchmarks.loading_case import Case, Expected, compare, measure_architecture, save
from benchmarks.loading_networks import build, image_size, images
from benchmarks.loading_tables import failure, markdown

ARCHITECTURE = "torchvision:shufflenet_v2_x0_5"
GOOD = {"difference": 1e-6, "gradient_nonzero": True, "fixed_batch": None, "load_cpu": 0.1, "findings": []}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build(ARCHITECTURE)


def test_random_networks_see_the_image_and_do_not_amplify_rounding(network: nn.Module) -> None:
    x = images(3, image_size(ARCHITECTURE))
    expected = Expected.of(network, x)
    assert expected.spread > 0.1
    with torch.no_grad():
        moved = network(x + 1e-6 * images(3, image_size(ARCHITECTURE), seed=5))
    assert (moved - expected.scores).abs().max() < 1e-4 * expected.scores.abs().max()


def test_every_statistic_counts(network: nn.Module) -> None:
    """Else a converter could drop it unseen."""
    x = images(3, image_size(ARCHITECTURE))
    before = Expected.of(network, x).scores
    for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)][::7]:
        mean = norm.running_mean
        assert mean is not None
        kept = mean.clone()
        mean.zero_()
        with torch.no_grad():
            assert (network(x) - before).abs().max() > 1e-3 * before.abs().max()
        mean.copy_(kept)


def test_an_architecture_is_measured_in_every_form(tmp_path: Path) -> None:
    cases = ["legacy-17", "legacy-13-fixed", "legacy-17-float16", "pt", "safetensors"]
    result = measure_architecture(ARCHITECTURE, cases, tmp_path, None)
    assert list(result["cases"]) == cases
    for case, facts in result["cases"].items():
        assert failure(case, facts) is None, facts
    assert result["cases"]["legacy-13-fixed"]["opset"] == 13
    assert result["cases"]["legacy-17"]["findings"] == []
    assert result["cases"]["safetensors"]["architecture"] == ARCHITECTURE
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_network_that_differs_does_not_pass(network: nn.Module, tmp_path: Path) -> None:
    path = save(network, Case("pt"), 64, tmp_path)
    other = Expected.of(build(ARCHITECTURE, seed=1), images(3, 64))
    reason = failure("pt", compare(path, other))
    assert reason is not None
    assert "differ" in reason


def test_tables_hide_no_failure() -> None:
    cases = ("dynamo", "pt")
    bad = {"error": "expected | got\nit"}
    results = {
        "torchvision:good": {"size": 64, "parameters": 1, "cases": {"dynamo": GOOD, "pt": GOOD}},
        "torchvision:half": {"size": 64, "parameters": 1, "cases": {"dynamo": GOOD, "pt": bad}},
        "torchvision:dead": {"error": "ended with exit status -9"},
    }
    page = markdown("torchvision", cases, results, [*results, "torchvision:absent"])
    assert "| **loaded** | | | **2 of 4** | **1 of 4** |" in page
    assert "- half, pt: not loaded: expected \\| got it" in page
    assert "- dead: ended with exit status -9" in page
    assert "| absent | | | not measured | not measured |" in page
    flagged = {
        "torchvision:good": {**results["torchvision:good"], "cases": {"dynamo": {**GOOD, "findings": ["danger"]}}}
    }
    assert "1 exports: good, dynamo: danger" in markdown("torchvision", ("dynamo",), flagged, ["torchvision:good"])


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"difference": 1e-3}, "scores differ"),
        ({"difference": float("nan")}, "scores differ"),
        ({"gradient_nonzero": False}, "no input gradient"),
        ({"classes": 64}, "64 classes"),
    ],
)
def test_what_does_not_count_as_loaded(facts: dict[str, object], words: str) -> None:
    reason = failure("dynamo", {**GOOD, **facts})
    assert reason is not None
    assert words in reason


def test_all_of_torchvision_small_ones_first() -> None:
    order = architectures("torchvision")
    assert len(order) == len(set(order)) >= 80
    assert order.index("torchvision:resnet18") < order.index("torchvision:vit_h_14")
    assert all(Case.parse(case) for cases in TABLES.values() for case in cases)


def test_the_last_line_of_an_architecture_counts(tmp_path: Path) -> None:
    file = tmp_path / "torchvision.jsonl"
    assert measured(file) == {}
    file.write_text('{"name": "a", "size": 1}\n{"name": "b", "size": 2}\n{"name": "a", "size": 3}\n')
    assert {name: line["size"] for name, line in measured(file).items()} == {"a": 3, "b": 2}
