"""The JSON report: complete, described by its schema, enough to render every other report again."""

from __future__ import annotations

import dataclasses
import json
import math
from importlib.resources import files

import jsonschema
import pytest

from auditor import findings
from auditor.archive import from_text
from auditor.findings import Audit, Evidence
from auditor.registry import REPORTS, load, names
from auditor.reports import console, html
from auditor.reports.json import render


def schema() -> dict:
    return json.loads(files("auditor.reports").joinpath("audit.schema.json").read_text(encoding="utf-8"))


def closed(node: object) -> object:
    """The schema with every object closed, so that an undescribed property fails."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: closed(value) for key, value in node.items()}
    return {**out, "additionalProperties": False} if isinstance(out.get("properties"), dict) and "type" in out else out


def test_the_published_schema_describes_every_property(any_audit: Audit) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(closed(schema())).validate(json.loads(render(any_audit)))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("score",), 1.5),
        (("verdict",), "clean"),
        (("target_classes",), ["8"]),
        (("detectors", "iscp", "p_value"), "small"),
        (("trigger", "mask", "shape"), []),
        (("model", "sha256"), None),
    ],
)
def test_the_schema_refuses_what_is_wrong(backdoored: Audit, path: tuple[str, ...], wrong: object) -> None:
    data = json.loads(render(backdoored))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema())


def test_every_result_field_is_written(backdoored: Audit) -> None:
    data = json.loads(render(backdoored))
    fields = {field.name for field in dataclasses.fields(findings.Audit)}
    assert fields - {"outcomes"} | {"detectors"} == set(data)
    outcome = {field.name for field in dataclasses.fields(findings.Outcome)} - {"detector"}
    assert outcome <= set(data["detectors"]["iscp"])


def test_detectors_hold_per_class_values_and_their_strongest_evidence(backdoored: Audit) -> None:
    weaker = Evidence("iscp", "another", 0.1, 0.5, 0.4, 0.8, (3,))
    audit = dataclasses.replace(backdoored, evidence=(weaker, *backdoored.evidence))
    entry = json.loads(render(audit))["detectors"]["iscp"]
    assert entry["values"] == [pytest.approx(m.value) for m in audit.outcomes[0].measurements]
    assert entry["p_value"] == audit.evidence[1].p_value
    assert entry["target_classes"] == [8]
    assert entry["status"] == "complete"
    assert entry["unit"] == "share of images"


def test_no_bare_nan(backdoored: Audit) -> None:
    evidence = dataclasses.replace(backdoored.evidence[0], threshold=math.inf, p_value=math.nan)
    text = render(dataclasses.replace(backdoored, evidence=(evidence,)))
    assert json.loads(text, parse_constant=pytest.fail)["detectors"]["iscp"]["threshold"] is None


def test_rendering_from_json_equals_rendering_from_the_audit(any_audit: Audit) -> None:
    again = from_text(render(any_audit))
    assert render(again) == render(any_audit)
    assert html.render(again) == html.render(any_audit)
    assert console.render(again) == console.render(any_audit)
    assert console.render(again, colour=True) == console.render(any_audit, colour=True)


def test_reports_are_found_by_their_entry_points(backdoored: Audit) -> None:
    assert {"console", "html", "json"} <= set(names(REPORTS))
    for name in ("console", "html", "json"):
        assert isinstance(load(REPORTS, name)(backdoored), str)
