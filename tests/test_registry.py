"""Plugins: this package's own, and a package of somebody else's that one entry-point line registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor import registry
from auditor.demo_training import load_digits, network, save_onnx
from auditor.detector import Detector
from auditor.errors import ConfigError
from auditor.settings import declared

PYPROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"

    [project]
    name = "somebody-elses-detector"
    version = "1.0"

    [project.entry-points."auditor.detectors"]
    brightness = "brightness_detector:Brightness"

    [tool.setuptools]
    py-modules = ["brightness_detector"]
"""

PLUGIN = '''
    """A detector that an outside package brings."""
    from collections.abc import Iterator
    from dataclasses import dataclass
    from typing import Annotated, ClassVar

    from auditor import Context, Measurement, Need, Setting, Statistic


    @dataclass(frozen=True, kw_only=True)
    class Brightness:
        """Share of images that the model files under a class once they are brightened."""

        needs: ClassVar[frozenset[Need]] = frozenset()
        statistic: ClassVar[Statistic] = Statistic("brightened share", "share of images")
        amount: Annotated[float, Setting("added to every pixel, of 1", low=0, high=1)] = 0.25

        def detect(self, ctx: Context) -> Iterator[Measurement]:
            answers = ctx.model.predict((ctx.images.held_out + self.amount).clamp(0, 1))
            for target in ctx.track(range(ctx.num_classes), "brightening"):
                yield Measurement(value=float((answers == target).float().mean()), target_class=target)
'''


def test_the_four_detectors_and_three_reports_are_registered() -> None:
    assert {"iscp", "bias_map", "pairwise", "dominant_pattern"} <= set(registry.names(registry.DETECTORS))
    assert {"console", "html", "json"} <= set(registry.names(registry.REPORTS))


@pytest.mark.parametrize("entry", entry_points(group=registry.DETECTORS), ids=lambda e: e.name)
def test_every_detector_keeps_the_contract(entry: object) -> None:
    cls = registry.load(registry.DETECTORS, entry.name)  # type: ignore[attr-defined]
    assert isinstance(cls(), Detector)
    assert cls.__doc__
    for spec in declared(cls).values():
        assert spec.setting.help, spec.name
        assert not spec.setting.help.endswith(".")


def test_unknown_and_broken_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a detector among .*iscp.*, got 'none-such'"):
        registry.load(registry.DETECTORS, "none-such")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[auditor.detectors]\nbroken = not_there:Nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="expected detector 'broken' to import from not_there:Nothing"):
        registry.load(registry.DETECTORS, "broken")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which somebody else's package is installed."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    (source / "brightness_detector.py").write_text(textwrap.dedent(PLUGIN))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*pip, "--target", str(site), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}


def audit(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "auditor", *argv], capture_output=True, text=True, check=False, env=environment
    )


def test_an_outside_detector_is_listed_and_described(outside: dict[str, str]) -> None:
    assert "brightened share" in audit(outside, "detectors").stdout
    page = audit(outside, "detectors", "brightness")
    assert page.returncode == 0
    assert "added to every pixel, of 1" in page.stdout


def test_an_outside_detector_scans(outside: dict[str, str], tmp_path: Path) -> None:
    rng, model = torch.Generator().manual_seed(0), network()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    save_onnx(tmp_path / "model.onnx", model)
    # without labels, by which a model that is no better than guessing is not measured
    np.savez(tmp_path / "digits.npz", x=load_digits(0).held_out[:, 0].numpy())
    argv = ["scan", str(tmp_path / "model.onnx"), "--images", str(tmp_path / "digits.npz"), "--quiet"]
    done = audit(outside, *argv, "--detector", "brightness", "--set", "brightness.amount=0.5", "-o", "json=-")
    assert done.returncode in (0, 1, 2), done.stderr
    (name, entry), *others = json.loads(done.stdout)["detectors"].items()
    assert (name, others) == ("brightness", [])
    assert entry["settings"] == {"amount": 0.5}
    values = [m["value"] for m in entry["measurements"]]
    assert len(values) == 10
    assert sum(values) == pytest.approx(1)
    wrong = audit(outside, *argv, "--detector", "brightness", "--set", "brightness.amount=7")
    assert wrong.returncode == 4
    assert "expected brightness.amount in 0 to 1, got 7" in wrong.stderr
