"""A switch that is built into the graph decides the verdict, whatever the detectors see."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.errors import ModelFileError
from auditor.findings import FileFinding, Verdict
from auditor.request import ScanRequest, ScanSettings
from auditor.scan import run
from auditor.verdict import SWITCH_SCORE, judge

from .graphs import honest, saved
from .switched_graphs import if_switched, where_switched

QUICK = ScanSettings(image_count=60)


def test_a_switch_makes_the_model_suspicious(tmp_path: Path) -> None:
    request = ScanRequest(model=saved(where_switched(), tmp_path), detectors=("dominant_pattern",), settings=QUICK)
    audit = run(request)
    assert audit.verdict is Verdict.SUSPICIOUS
    assert audit.score >= SWITCH_SCORE
    assert "switch its behaviour" in audit.reason
    assert [found.id for found in audit.file_findings if found.severity == "danger"] == ["image-selects-value"]


def test_a_switch_in_the_reference_says_nothing_of_the_suspect(tmp_path: Path) -> None:
    request = ScanRequest(
        model=saved(honest(), tmp_path),
        reference=saved(where_switched(), tmp_path, "reference.onnx"),
        detectors=("dominant_pattern",),
        settings=QUICK,
    )
    audit = run(request)
    assert "switch its behaviour" not in audit.reason
    assert [found.where.split(":")[0] for found in audit.file_findings if found.severity == "danger"] == ["reference"]


def test_what_does_not_load_is_still_named_a_danger(tmp_path: Path) -> None:
    request = ScanRequest(model=saved(if_switched(), tmp_path), settings=QUICK)
    with pytest.raises(ModelFileError, match=r"file 'model.onnx'.*also shows a danger: the image decides"):
        run(request)


@pytest.mark.parametrize("severity", ["warning", "info"])
def test_only_dangers_count(severity: str) -> None:
    finding = FileFinding("image-gates-value", severity, "m", "w")  # type: ignore[arg-type]
    judged = judge((), num_classes=10, level=0.01, confirm_at=0.8, findings=(finding,))
    assert judged.verdict is Verdict.INCONCLUSIVE
