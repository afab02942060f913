"""From flags and a settings file to a `ScanRequest`; flags win. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from auditor import calibration, registry
from auditor.errors import ConfigError, NothingToScanError
from auditor.flags import Gate
from auditor.loading.limits import Limits
from auditor.request import EXPLANATIONS, Confinement, ModelOptions, ScanRequest, ScanSettings
from auditor.settings import build, declared, parse_assignments, read_toml

Tables = Mapping[str, Mapping[str, Any]]


def assemble(
    model: Path | None, flags: Tables, *, config: Path | None = None, assignments: list[str] | None = None
) -> tuple[ScanRequest, Gate]:
    """The request and the gate that tables of flags, ``--set`` and a settings file make together.

    ``flags`` has the tables ``scan``, ``model`` and ``reference``; a None in them was not given. Raises
    `ConfigError` for unknown tables and keys (listing the known ones) and for values out of range, and
    `NothingToScanError` without a model or a detector.
    """
    if model is None:
        raise NothingToScanError("expected a model to scan, got none; name one: audit scan model.onnx")
    tables = _merged(read_toml(config) if config else {}, parse_assignments(assignments or []), flags)
    known = registry.names(registry.DETECTORS)
    _check_tables(tables, known)
    gate, settings = _split_scan_table(tables.get("scan", {}))
    if gate.detector is not None:
        _check_detectors(gate.detector, known)
    options = tables.get("model", {})
    suspect = build(ModelOptions, options, where="model")
    other = tables.get("reference", {})
    # the reference is read as the suspect is, except where it says otherwise; its architecture is its own
    shared = {key: value for key, value in options.items() if key != "arch"}
    reference = build(ModelOptions, {**shared, **other}, where="reference") if other else None
    request = ScanRequest(
        model=model,
        reference=_path(gate.reference),
        images=_path(gate.images),
        classes=_path(gate.classes),
        calibration=_path(gate.calibration),
        model_options=suspect,
        reference_options=reference,
        settings=settings,
        limits=build(Limits, tables.get("limits", {}), where="limits"),
        worker=build(Confinement, tables.get("worker", {}), where="worker"),
        detectors=gate.detector,
        detector_settings={name: dict(tables[name]) for name in known if name in tables},
        explanation_settings={name: dict(tables[name]) for name in EXPLANATIONS if name in tables},
    )
    _check_files(request)
    return request, gate


def tables_of(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The flags of a command, by parameter name, as the tables of a settings file."""
    model = {f.name: values.get(f.name) for f in fields(ModelOptions)}
    names = {f.name for f in (*fields(ScanSettings), *fields(Gate))}
    prefix = "reference_"
    return {
        "scan": {key: value for key, value in values.items() if key in names},
        "model": model,
        "reference": {
            k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix) and v is not None
        },
    }


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _merged(*layers: Tables) -> dict[str, dict[str, Any]]:
    """Later layers win, key by key; None means not given."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, table in layer.items():
            if not isinstance(table, Mapping):
                raise ConfigError(
                    f"expected a table [{name}] in the settings file, got a single value; write [{name}]"
                )
            merged.setdefault(name, {}).update({k: v for k, v in table.items() if v is not None})
    return merged


def _check_tables(tables: Tables, detectors: list[str]) -> None:
    known = ["scan", "model", "reference", "limits", "worker", *EXPLANATIONS, *detectors]
    for name in tables:
        if name not in known:
            raise ConfigError(
                f"expected a table of settings among {', '.join(known)}, got {name!a}; correct its name"
            )


def _split_scan_table(table: Mapping[str, Any]) -> tuple[Gate, ScanSettings]:
    ours = {f.name for f in fields(Gate)}
    known = [*declared(ScanSettings), *declared(Gate)]
    for key in table:
        if key not in known:
            raise ConfigError(f"expected a setting of scan, got {key!a}; known settings: {', '.join(known)}")
    gate = build(Gate, {k: v for k, v in table.items() if k in ours}, where="scan")
    settings = build(ScanSettings, {k: v for k, v in table.items() if k not in ours}, where="scan")
    return gate, settings


def _check_detectors(chosen: tuple[str, ...], known: list[str]) -> None:
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"expected a detector among {', '.join(known) or 'none'}, got {name!a}; correct its name"
            )


def _check_files(request: ScanRequest) -> None:
    """Class names and a calibration are read by the scan; what is wrong with them is better said before the work."""
    if request.classes is not None and not request.classes.is_file():
        raise ConfigError(
            f"expected a file of class names at {request.classes.name!a}, got no such file; check --classes"
        )
    if request.calibration is not None:
        calibration.read(request.calibration)
    if request.reference_options is not None and request.reference is None:
        raise ConfigError("expected a reference to apply its options to, got none; add --reference FILE")
