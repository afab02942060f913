"""Class names in the metadata of an ONNX file, as exporters leave them; never evaluated."""

from __future__ import annotations

import json
import re

import onnx

from auditor.loading.limits import DEFAULT_LIMITS, Limits

_KEYS = ("names", "labels", "classes", "class_names", "id2label")
_TEXT = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_LITERAL = re.compile(rf"\s*(?:(?P<text>{_TEXT})|(?P<number>\d{{1,9}})|(?P<mark>[\[\](){{}},:]))\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def labels_of(model: onnx.ModelProto, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...] | None:
    """Class names from the metadata, a JSON or Python list of texts or mapping of numbers to texts."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for key in _KEYS:
        text = metadata.get(key, "")
        if not text or len(text) > limits.label_characters:
            continue
        names = _as_names(_from_json(text)) or _as_names(_from_literal(text))
        if names:
            return names
    return None


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_literal(text: str) -> object:
    """A flat Python list, tuple or mapping of texts, read token by token: no nesting, so no depth to exhaust."""
    tokens: list[str | int] = []
    marks: list[str] = []
    position = 0
    while position < len(text):
        match = _LITERAL.match(text, position)
        if match is None:
            return None
        if match["text"] is not None:
            tokens.append(re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match["text"][1:-1]))
        elif match["number"] is not None:
            tokens.append(int(match["number"]))
        else:
            marks.append(match["mark"])
        position = match.end()
    shape = "".join(marks)
    if re.fullmatch(r"\{(:,)*:?\}", shape) and len(tokens) == 2 * shape.count(":"):
        return dict(zip(tokens[::2], tokens[1::2], strict=True))
    if re.fullmatch(r"\[,*\]|\(,*\)", shape):
        return tokens
    return None


def _as_names(value: object) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        keys = {str(key): name for key, name in value.items()}
        if set(keys) != {str(index) for index in range(len(keys))}:
            return None
        value = [keys[str(index)] for index in range(len(keys))]
    if isinstance(value, (list, tuple)) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None
