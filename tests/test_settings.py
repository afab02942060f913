"""Settings: declared once, converted and bounded wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from auditor.errors import ConfigError
from auditor.settings import Setting, build, declared, parse_assignments, read_toml, values_of


@dataclass(frozen=True, kw_only=True)
class Example:
    """One setting of every kind."""

    steps: Annotated[int, Setting("steps", low=1, high=100, paper="60")] = 10
    rate: Annotated[float, Setting("rate", low=0, high=1)] = 0.5
    kind: Annotated[Literal["a", "b"], Setting("kind")] = "a"
    sizes: Annotated[tuple[float, ...], Setting("sizes", low=0, high=1)] = (0.1,)
    fast: Annotated[bool, Setting("whether to hurry")] = False
    name: Annotated[str | None, Setting("name")] = None
    hidden: int = 3


def test_only_annotated_fields_are_settings() -> None:
    assert list(declared(Example)) == ["steps", "rate", "kind", "sizes", "fast", "name"]
    assert declared(Example)["kind"].type_name == "one of a, b"
    assert declared(Example)["sizes"].type_name == "list of float"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("steps", "7", 7),
        ("steps", 7.0, 7),
        ("rate", "1e-3", 0.001),
        ("rate", 1, 1.0),
        ("kind", "b", "b"),
        ("sizes", "0.1, 0.2", (0.1, 0.2)),
        ("sizes", [0.3], (0.3,)),
        ("fast", "yes", True),
        ("fast", False, False),
        ("name", "none", None),
        ("name", "x", "x"),
    ],
)
def test_values_from_text_and_toml(key: str, value: Any, expected: Any) -> None:
    assert values_of(build(Example, {key: value}, where="example"))[key] == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", "0", "example.steps in 1 to 100, got 0"),
        ("steps", "2.5", "expected int for example.steps, got '2.5'"),
        ("steps", 2.5, "expected int"),
        ("steps", True, "expected int"),
        ("rate", "nan", "in 0 to 1"),
        ("rate", "inf", "in 0 to 1"),
        ("kind", "c", "one of a, b"),
        ("sizes", "0.1,2", "in 0 to 1, got 2"),
        ("sizes", "", "list of float"),
        ("sizes", 3, "list of float"),
        ("fast", "maybe", "bool"),
        ("hidden", 4, "known settings: steps, rate, kind, sizes, fast, name"),
        ("stepz", 4, "got 'stepz'; known settings: steps"),
    ],
)
def test_wrong_values_say_what_was_expected(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Example, {key: value}, where="example")
    assert message in str(caught.value)
    assert caught.value.exit_code == 4


def test_assignments() -> None:
    assert parse_assignments(["a.b=1", "a.c = x=y", "d.e="]) == {"a": {"b": "1", "c": "x=y"}, "d": {"e": ""}}
    for wrong in ("a.b", "a=1", ".b=1", "a.=1", ""):
        with pytest.raises(ConfigError, match=r"detector\.setting=value"):
            parse_assignments([wrong])


def test_settings_files(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("[scan]\nseed = 3\n")
    assert read_toml(tmp_path / "good.toml") == {"scan": {"seed": 3}}
    (tmp_path / "bad.toml").write_text("[scan\nseed = 3\n")
    with pytest.raises(ConfigError, match=r"expected TOML in 'bad\.toml'"):
        read_toml(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected TOML"):
        read_toml(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="expected a settings file"):
        read_toml(tmp_path / "missing.toml")
