"""The README: its help text is the real one, its first screen holds what a newcomer needs, its links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from auditor import options
from auditor.measuring import choose_detectors

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- audit scan --help -->\n```text\n)(.*?)(```\n<!-- end of audit scan --help -->)", re.DOTALL)


def help_text(command: str = "scan") -> str:
    """``audit scan --help`` at 90 columns, without colour."""
    environment = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    environment.pop("FORCE_COLOR", None)
    argv = [sys.executable, "-m", "auditor", command, "--help"]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


def test_the_help_text_is_the_real_one() -> None:
    """When this fails: ``python tests/test_readme.py`` writes the real text into the README."""
    block = BLOCK.search(README.read_text(encoding="utf-8"))
    assert block is not None
    assert block.group(2) == help_text()


def test_the_first_screen_has_picture_and_two_commands() -> None:
    screen = README.read_text(encoding="utf-8").split("\n## ")[0]
    assert len(screen.splitlines()) <= 20
    assert "pip install . && audit demo" in screen
    assert "pip install -e '.[dev]' && pytest" in screen
    assert screen.count("$ ") == 2
    assert "docs/images/report.png" in screen


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link


def test_commands_and_options_that_are_shown_exist() -> None:
    text = README.read_text(encoding="utf-8")
    helped = help_text() + help_text("explain")
    known = set(re.findall(r"(?<!\w)--[a-z][a-z-]+", helped)) | {"--backdoor", "--help", "--load", "--out"}
    assert set(re.findall(r"(?<!\w|-)--[a-z][a-z-]+", text)) <= known


def test_the_settings_file_is_accepted(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(\[scan\].*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (tmp_path / "audit.toml").write_text(block.group(1))
    request, gate = options.assemble(Path("m.onnx"), {}, config=tmp_path / "audit.toml")
    assert choose_detectors(request)
    assert (request.settings.seed, gate.fail_on) == (7, "backdoored")


def test_the_detector_is_the_one_that_is_tested() -> None:
    text = README.read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    tested = (ROOT / "tests" / "test_registry.py").read_text(encoding="utf-8")
    plugin = re.search(r"PLUGIN = '''\n(.*?)'''", tested, re.DOTALL)
    assert plugin is not None
    shown, real = (ast.parse(textwrap.dedent(code.group(1))) for code in (block, plugin))
    assert ast.dump(shown.body[-1]) == ast.dump(real.body[-1])


def test_the_version_is_said_once() -> None:
    import auditor

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == auditor.__version__
    assert f"## {auditor.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    shown = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda m: m.group(1) + help_text() + m.group(3), shown), encoding="utf-8")
