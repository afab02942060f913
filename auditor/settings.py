"""Settings: declared once on a frozen dataclass, read by TOML, ``--set``, help and report alike.

A setting is a dataclass field annotated with `Setting`::

    steps: Annotated[int, Setting("sign steps per search", low=1, high=10_000, paper="5 epochs")] = 60
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from auditor.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """What a reader must know of one setting."""

    help: str
    """lower-case phrase with the unit"""
    low: float | None = None
    high: float | None = None
    paper: str = ""
    """the paper's value, where the default differs or the value is the paper's"""


@dataclass(frozen=True)
class Declared:
    """One setting as found on a class."""

    name: str
    type: Any
    default: Any
    setting: Setting

    @property
    def type_name(self) -> str:
        """How the type reads in help: ``int``, ``float``, ``one of a, b`` …"""
        return _type_name(self.type)


def _type_name(kind: Any) -> str:
    if get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"list of {get_args(kind)[0].__name__}"
    if isinstance(kind, types.UnionType):
        return " or ".join(_type_name(t) for t in get_args(kind) if t is not type(None))
    return str(getattr(kind, "__name__", kind))


def declared(cls: type) -> dict[str, Declared]:
    """Settings of a class, by name, in the order of declaration."""
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, Declared] = {}
    for f in dataclasses.fields(cls):
        base, *extras = get_args(hints[f.name]) if hasattr(hints[f.name], "__metadata__") else (hints[f.name],)
        for extra in extras:
            if isinstance(extra, Setting):
                found[f.name] = Declared(f.name, base, f.default, extra)
    return found


def build(cls: type, values: Mapping[str, Any], *, where: str) -> Any:
    """An instance of ``cls`` with ``values`` (strings or TOML values) over its defaults.

    Raises `ConfigError` for an unknown key (listing the known ones), a wrong type or a value out of range.
    """
    known = declared(cls)
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(
                f"expected a setting of {where}, got '{key}'; known settings: {', '.join(known) or 'none'}"
            )
        checked[key] = _coerce(known[key], value, f"{where}.{key}")
    return cls(**checked)


def values_of(instance: Any) -> dict[str, Any]:
    """The resolved settings of an instance, for the report."""
    return {name: getattr(instance, name) for name in declared(type(instance))}


def _coerce(spec: Declared, value: Any, where: str) -> Any:
    try:
        result = _convert(spec.type, value)
    except (TypeError, ValueError):
        raise ConfigError(f"expected {spec.type_name} for {where}, got '{value}'") from None
    for number in result if isinstance(result, tuple) else (result,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high = spec.setting.low, spec.setting.high
        # `not (low <= x)` rather than `x < low`, so that NaN fails too
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            raise ConfigError(f"expected {where} in {bounds}, got {number}; choose a value in that range")
    return result


def _convert(kind: Any, value: Any) -> Any:
    if get_origin(kind) is typing.Literal:
        return get_args(kind)[get_args(kind).index(value)]
    if get_origin(kind) is tuple:
        items = [v for v in value.split(",") if v.strip()] if isinstance(value, str) else list(value)
        if not items:
            raise ValueError
        return tuple(_convert(get_args(kind)[0], item) for item in items)
    if isinstance(kind, types.UnionType):  # T | None is the only union a setting may have
        option = next(k for k in get_args(kind) if k is not type(None))
        return None if value is None or str(value).lower() in ("none", "") else _convert(option, value)
    if kind is bool:
        return _truth(value)
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    if isinstance(value, bool) and kind is not str:
        raise ValueError
    return kind(value)


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a settings file; raises `ConfigError` when it is missing or not TOML."""
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"expected a settings file at '{path}', got: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected TOML in '{path.name}', got: {error}; mend that line") from None


def parse_assignments(assignments: list[str]) -> dict[str, dict[str, str]]:
    """``["iscp.steps=200"]`` → ``{"iscp": {"steps": "200"}}``."""
    tables: dict[str, dict[str, str]] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        table, dot, key = name.strip().partition(".")
        if not (equals and dot and table and key):
            raise ConfigError(f"expected --set detector.setting=value, got '{text}'")
        tables.setdefault(table, {})[key] = value.strip()
    return tables


def parse_duration(text: str | None) -> float | None:
    """``90s``, ``10m``, ``1.5h`` or plain seconds → seconds; None stays None."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except (KeyError, ValueError):
        raise ConfigError(f"expected --budget as a time such as 90s, 10m or 1h, got '{text}'") from None
    if not 0 < seconds < 1e9:
        raise ConfigError(f"expected --budget above 0, got '{text}'; give a time such as 10m")
    return seconds
