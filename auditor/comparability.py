"""What two audits do not have in common beside the model: all that makes their verdicts hard to set side by side.

Names and values in the sentences are foreign text, as they are in an `Audit`: whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.findings import Audit, FileFacts, ImageFacts

DEPTH = 3
"""levels of tables in the settings of a scan: ``detectors``, a detector, a setting"""
MOST = 6
"""names or settings that one sentence lists"""
LENGTH = 60
"""characters of a value that are shown"""
TOLD_ELSEWHERE = frozenset(
    {"model", "reference", "images", "calibration", "seed", "level", "device", "scan.seed", "scan.level", "scan.device"}
)
"""settings that a sentence of their own speaks of, or that name an input file"""
WITHOUT_EFFECT = ("limits.", "worker.", "explanation", "scan.explain")
"""settings that decide whether a scan may run and what it draws, not what it finds"""


def differences(first: Audit, second: Audit) -> tuple[str, ...]:
    """One plain sentence for each difference in how two audits were made; empty where only the model differs."""
    return tuple((*_models(first, second), *_inputs(first, second), *_settings(first, second)))


def _models(first: Audit, second: Audit) -> Iterator[str]:
    a, b = first.model, second.model
    if a.num_classes and b.num_classes and a.num_classes != b.num_classes:
        yield (
            f"The first model tells {a.num_classes} classes apart and the second {b.num_classes}: "
            "a class of the same number need not mean the same."
        )
    if a.input_shape and b.input_shape and a.input_shape != b.input_shape:
        yield _apart("Input", *(" × ".join(map(str, shape)) for shape in (a.input_shape, b.input_shape)))
    renamed = [i for i, (x, y) in enumerate(zip(first.labels, second.labels, strict=False)) if x.strip() != y.strip()]
    if renamed:
        i = renamed[0]
        yield (
            f"{len(renamed)} {'class is' if len(renamed) == 1 else 'classes are'} named otherwise, e.g. class {i}: "
            f"{said(first.labels[i])} in the first audit, {said(second.labels[i])} in the second."
        )


def _inputs(first: Audit, second: Audit) -> Iterator[str]:
    a, b = first.reference, second.reference
    if (a is None) != (b is None):
        which, other = ("first", "second") if a else ("second", "first")
        yield f"The {which} audit had a reference model and the {other} had none: it judged by fewer, other statistics."
    elif a and b and a.sha256 != b.sha256:
        yield _apart("Reference model", _file(a), _file(b))
    if not _same_images(first.images, second.images):
        yield _apart("Images", _images(first.images), _images(second.images))
    shipped = "the one that comes with the auditor"
    calibrations = [audit.provenance.command.get("calibration") for audit in (first, second)]
    if calibrations[0] != calibrations[1]:
        yield _apart("Calibration", *(shipped if name is None else said(name) for name in calibrations))


def _same_images(a: ImageFacts, b: ImageFacts) -> bool:
    """By content where it is known; how many were of use depends on the model, so counts do not count."""
    known = a.sha256 or b.sha256
    return a.labelled == b.labelled and (a.sha256 == b.sha256 if known else a.source == b.source)


def _images(facts: ImageFacts) -> str:
    labels = "with labels" if facts.labelled else "without labels"
    return f"{said(facts.source)}, {labels}" + (f" (SHA-256 {facts.sha256[:8]}…)" if facts.sha256 else "")


def _file(facts: FileFacts) -> str:
    return f"{said(facts.name)} (SHA-256 {facts.sha256[:8]}…)"


def _settings(first: Audit, second: Audit) -> Iterator[str]:
    a, b = first.provenance, second.provenance
    if first.family_wise_level != second.family_wise_level:
        yield _apart("Family-wise level", said(first.family_wise_level), said(second.family_wise_level))
    if a.seed != b.seed:
        yield _apart("Seed", said(a.seed), said(b.seed))
    if a.device != b.device:
        yield _apart("Device", said(a.device), said(b.device))
    names = list(dict.fromkeys((*a.versions, *b.versions)))
    versions = [(n, a.versions.get(n), b.versions.get(n)) for n in names if a.versions.get(n) != b.versions.get(n)]
    if versions:
        yield f"Versions: {_listed([_both(*entry, missing='none') for entry in versions])}."
    if not a.command or not b.command:
        which = "Neither audit tells" if a.command == b.command else f"The {_which(a.command)} audit does not tell"
        yield f"{which} its settings, so that they cannot be compared."
    else:
        yield from _command(a.command, b.command)


def _which(first_command: Mapping[str, Any]) -> str:
    return "second" if first_command else "first"


def _command(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Detectors that were asked of one audit only, then every setting that differs."""
    mine, theirs = (_table(command.get("detectors")) for command in (first, second))
    for which, here, there in (("first", mine, theirs), ("second", theirs, mine)):
        alone = [said(name) for name in here if name not in there]
        if alone:
            yield f"Asked of the {which} audit only: {_listed(alone)}."
    both = mine.keys() & theirs.keys()
    a, b = (
        _flat({**command, "detectors": {name: table[name] for name in table if name in both}})
        for command, table in ((first, mine), (second, theirs))
    )
    apart = [
        _both(_shortened(name), a.get(name), b.get(name))
        for name in dict.fromkeys((*a, *b))
        if a.get(name) != b.get(name) and name not in TOLD_ELSEWHERE and not name.startswith(WITHOUT_EFFECT)
    ]
    if apart:
        yield f"Settings: {_listed(apart)}."


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _flat(table: Mapping[str, Any], prefix: str = "", depth: int = DEPTH) -> dict[str, Any]:
    """Tables within tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and depth > 1:
            found |= _flat(value, f"{name}.", depth - 1)
        else:
            # a tuple that went through JSON is a list
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _shortened(name: str) -> str:
    return name.removeprefix("scan.").removeprefix("detectors.").replace("_", " ")[:LENGTH]


def said(value: Any) -> str:
    """A value of a file in a few words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return _listed([said(item) for item in value[: MOST + 1]], len(value)) or "none"
    text = str(value)
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"


def _apart(what: str, first: str, second: str) -> str:
    return f"{what}: {first} in the first audit, {second} in the second."


def _both(name: str, first: Any, second: Any, missing: str = "not set") -> str:
    a, b = (missing if value is None else said(value) for value in (first, second))
    return f"{said(name)} {a} in the first and {b} in the second"


def _listed(items: Sequence[str], total: int | None = None) -> str:
    total = len(items) if total is None else total
    return ", ".join(items[:MOST]) + (f" and {total - MOST} more" if total > MOST else "")
