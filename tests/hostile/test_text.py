"""Class names, node names and file names that speak to a terminal, a browser or a build server."""

from __future__ import annotations

import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from auditor.cli import run
from auditor.demo_training import network, save_onnx
from auditor.procedural import dead_leaves

ESCAPES = "terminal escape injection, CWE-150"
BIDI = "CVE-2021-42574, Trojan Source"
WORKFLOW = "workflow commands in a log; GitHub deprecated set-env in 2020 and set-output in 2022 for it"
HTML = "cross-site scripting, CWE-79"

ATTACKS = {
    "window title": ("\x1b]0;pwned\x07", ESCAPES),
    "clears the screen": ("\x1b[2J\x1b[H", ESCAPES),
    "writes the clipboard": ("\x1b]52;c;cm0gLXJm\x07", ESCAPES),
    "hyperlink": ("\x1b]8;;http://127.0.0.1\x1b\\x\x1b]8;;\x1b\\", ESCAPES),
    "eight-bit escapes": ("\x9b2J\x9d0;x\x9c", ESCAPES),
    "backspaces and returns": ("clean\b\b\b\b\bdirty\rno_evidence", ESCAPES),
    "lines": ("a\nb\x0bc\x0cd\x85e\u2028f\u2029g", ESCAPES),
    "null and delete": ("a\0b\x7fc", ESCAPES),
    "text that runs backwards": ("\u202etxt.exe\u202c\u2066\u2069", BIDI),
    "zero width": ("cat\u200b\ufeff\u2060\u00ad", BIDI),
    "tags": ("cat\U000e0041\U000e007f", BIDI),
    "lone surrogates": ("\ud800x\udfff", ESCAPES),
    "script": ("<script>alert(1)</script>", HTML),
    "image": ("\"'><img src=x onerror=alert(1)>", HTML),
    "closing tags": ("</style></title></svg><svg onload=alert(1)>", HTML),
    "template": ("{{ 7*7 }}{% raw %}", "CWE-1336"),
    "markup": ("[bold red]x[/] [link=http://127.0.0.1]y[/link]", "rich's markup"),
    "GitHub output": ("::set-output name=verdict::clean", WORKFLOW),
    "GitHub error": ("\n::error file=x,line=1::y", WORKFLOW),
    "GitHub stop": ("::stop-commands::token", WORKFLOW),
    "encoded line": ("%0A::add-mask::x", WORKFLOW),
    "GitHub group": ("##[group]x", WORKFLOW),
    "Azure variable": ("##vso[task.setvariable variable=x]y", WORKFLOW),
    "TeamCity": ("##teamcity[buildStatus status='SUCCESS']", WORKFLOW),
    "padding before a command": ("x" * 34 + "::warning::y", WORKFLOW),
}

OPTIONS = [
    "--detector", "dominant_pattern", "--set", "dominant_pattern.epsilon=0.5", "--reference", "plain.onnx",
    "--images", "images.npz",
]  # fmt: skip
"""a whole-image trigger convicts against a reference and on images only"""


class Tags(HTMLParser):
    """The tags and attributes of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def check_log(text: str) -> None:
    """What a terminal shows as it is and a build server does not obey."""
    for character in text.replace("\n", ""):
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"), ascii(character)
    for line in text.split("\n"):
        assert not line.lstrip().startswith("::"), line
    assert "##" not in text


def check_page(text: str, honest: Tags) -> None:
    """The same kinds of tags and attributes as a page without an attack."""
    seen = Tags()
    seen.feed(text)
    assert seen.tags <= honest.tags
    assert seen.attributes <= honest.attributes
    assert "script" not in seen.tags
    assert not [name for name in seen.attributes if name.startswith("on")]


def model(folder: Path, name: str = "model.onnx") -> Path:
    """The demonstration's network, untrained, which one pattern dominates; hostile text wherever text goes."""
    rng, untrained = torch.Generator().manual_seed(0), network()
    for parameter in untrained.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    save_onnx(folder / name, untrained)
    made = onnx.load(folder / name)
    for parameter in untrained.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    save_onnx(folder / "plain.onnx", untrained)
    np.savez(folder / "images.npz", x=dead_leaves(200, (1, 28, 28), rng).numpy())
    attacks = [text for text, _ in ATTACKS.values() if text.isascii() or "\ud800" not in text]
    made.producer_name = made.doc_string = made.graph.name = "".join(attacks)
    for index, node in enumerate(made.graph.node):
        node.name = node.doc_string = attacks[index]
    renamed = {tensor.name: f"{tensor.name}{attacks[-index]}" for index, tensor in enumerate(made.graph.initializer)}
    for tensor in made.graph.initializer:
        tensor.name = renamed[tensor.name]
    for node in made.graph.node:
        for index, value in enumerate(node.input):
            node.input[index] = renamed.get(value, value)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = attacks[0]
    names = json.dumps([f"{index}{text}" for index, text in enumerate(attacks[:10])])
    made.metadata_props.add(key="names", value=names)
    made.metadata_props.add(key=attacks[0], value=attacks[1])
    onnx.save(made, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reports of one scan, whose verdict names a class."""
    folder = tmp_path_factory.mktemp("text")
    outputs = ["-o", f"json={folder / 'audit.json'}", "-o", f"html={folder / 'audit.html'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model(folder)
        code = run(["scan", "model.onnx", *OPTIONS, *outputs, "--quiet"])
    assert code == 1
    return folder


def with_labels(folder: Path, text: str) -> Path:
    """The scan's audit with every class called ``text``."""
    audit = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    audit["labels"] = [f"{text} {index}" for index in range(len(audit["labels"]))]
    path = folder / "attacked.json"
    path.write_text(json.dumps(audit), encoding="utf-8")
    return path


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_class_name_is_only_shown(
    attack: str, scanned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scanned)
    honest = Tags()
    assert run(["report", str(with_labels(scanned, "cat")), "-o", "html=honest.html"]) == 0
    honest.feed(Path("honest.html").read_text(encoding="utf-8"))
    capsys.readouterr()
    attacked = with_labels(scanned, ATTACKS[attack][0])
    for width in (40, 60, 80, 200):  # where a line breaks depends on it
        monkeypatch.setenv("COLUMNS", str(width))
        assert run(["report", str(attacked)]) == 0
        shown = capsys.readouterr()
        check_log(shown.out)
        assert shown.err == ""
        assert "class 1 (" in shown.out.replace("\n", " ").replace("  ", " ") or width == 40
    assert run(["report", str(attacked), "-o", "html=attacked.html", "-o", "json=again.json"]) == 0
    check_log(capsys.readouterr().err)
    check_page(Path("attacked.html").read_text(encoding="utf-8"), honest)
    written = Path("again.json").read_text(encoding="utf-8")
    assert written.isascii()
    check_log(written)
    assert json.loads(written)["labels"] == json.loads(attacked.read_text(encoding="utf-8"))["labels"]


def test_the_scan_of_a_hostile_file_is_only_text(scanned: Path) -> None:
    text = (scanned / "audit.json").read_text(encoding="utf-8")
    check_log(text)
    assert json.loads(text)["labels"][0].startswith("0\x1b]0;")  # as it stood in the file: nothing is lost
    page = (scanned / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("command", ["scan", "inspect"])
def test_names_of_files_and_operations_are_only_shown(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "evil\x1b[2J\n::error::x##vso[a]\u202e.onnx"
    made = onnx.load(model(tmp_path))
    for node, (text, _) in zip(made.graph.node, ATTACKS.values(), strict=False):
        node.op_type = f"Evil{text}"
    onnx.save(made, name)
    assert run([command, name]) in (0, 2)
    shown = capfd.readouterr()
    check_log(shown.err)
    check_log(shown.out)
    assert "Evil" in shown.out + shown.err


def test_a_file_of_class_names_is_only_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [text for text, _ in ATTACKS.values() if len(text.splitlines()) == 1 and "\ud800" not in text]
    Path("names.txt").write_text("\n".join(texts[:10]), encoding="utf-8")
    assert run(["scan", str(model(tmp_path)), "--classes", "names.txt", *OPTIONS]) == 1
    shown = capfd.readouterr()
    check_log(shown.out)
    check_log(shown.err)
