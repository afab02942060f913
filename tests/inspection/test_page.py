"""What an examination says can be printed and sent without harm."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from onnx import helper
from rich.console import Console

from auditor.errors import ModelFileError
from auditor.findings import Trial
from auditor.inspection import Examination, examine
from auditor.inspection.page import page
from auditor.record_json import decode_record, encode_record

from .graphs import honest, model, saved, trunk
from .switched_graphs import where_switched

EVIL = "\x1b[2J\u202e[bold red]::error::<script>\n"


def _printed(found: Examination, trial: Trial | None = None, error: Exception | None = None) -> str:
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    console.print(page(found, trial, error))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_facts_operations_and_findings_are_printed(tmp_path: Path) -> None:
    found = examine(saved(where_switched(), tmp_path))
    text = _printed(found)
    for part in (
        found.sha256,
        "Conv",
        "danger image-selects-value",
        "[scores]",
        "float32 (n, 3, 16, 16)",
        "warnings.md",
    ):
        assert part in text
    assert "Nothing odd" in _printed(examine(saved(honest(), tmp_path)))


def test_text_from_the_file_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    built = model(trunk(), [])
    built.graph.node.append(helper.make_node(EVIL, ["image"], [EVIL], domain=EVIL, name=EVIL))
    built.producer_name = built.graph.initializer[3].name = EVIL
    built.opset_import.add(domain=EVIL, version=1)
    found = examine(saved(built, tmp_path))
    text = _printed(found, Trial({"labels": EVIL}, (EVIL,), (EVIL,)), ValueError(EVIL))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not any(line.startswith("::error::") for line in text.splitlines())
    assert "[bold red]" in text


@pytest.mark.parametrize("build", [honest, where_switched])
def test_an_examination_travels_as_json(tmp_path: Path, build: object) -> None:
    assert callable(build)
    found = examine(saved(build(), tmp_path))
    sent = json.loads(json.dumps(encode_record(found)))
    assert decode_record(Examination, sent, "examination") == found


@pytest.mark.parametrize(
    ("content", "identity"),
    [
        (b"this is no model\n" * 20, "unreadable"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "format-not-audited"),
        (b"PK\x03\x04 but nothing after it" * 30, "format-not-audited"),
        (bytes(5000), "unreadable"),
    ],
)
def test_files_of_other_kinds_are_said(tmp_path: Path, content: bytes, identity: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    (finding,) = examine(path).findings
    assert finding.id == identity
    assert finding.message.startswith("expected ")


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        examine(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="not a regular file"):
        examine(tmp_path)
