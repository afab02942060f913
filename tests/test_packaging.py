"""What is written is installed: every package of the auditor is listed."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = (path.parent.relative_to(ROOT) for path in (ROOT / "auditor").rglob("__init__.py"))
    assert {".".join(folder.parts) for folder in folders} <= set(settings["packages"])
    for name in settings["package-data"]["auditor"]:
        assert (ROOT / "auditor" / name).exists()
