"""The fit of clean distributions: what it recovers, and what renewing leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from short_audits import of_a_natural_pattern

from auditor import registry
from auditor.archive import to_dict
from auditor.calibrating import as_json
from auditor.calibration import Given, Null, parse, using
from auditor.calibration import weights as weights_in_use
from auditor.detector import Need
from auditor.findings import Evidence
from auditor.scoring import PLAIN
from benchmarks.calibrate import least_clean, not_lower, renewed
from benchmarks.fitting import TRAITS, Sample, fit_null, fit_weights, samples

DETECTORS = {name: registry.load(registry.DETECTORS, name) for name in registry.names(registry.DETECTORS)}
IMAGES_ONLY = {name for name, detector in DETECTORS.items() if Need.IMAGES in detector.needs}

SHIPPED = Path(__file__).parents[2] / "auditor" / "calibration.json"


def drawn(count: int, slope: float) -> tuple[list[float], list[Given]]:
    """Exponential values whose mean is 0.1 · exp(slope · weakness)."""
    rng = np.random.default_rng(0)
    given = [Given(images=True, clean_accuracy=float(a)) for a in rng.uniform(0.4, 0.9, count)]
    means = [0.1 * np.exp(slope * g.traits["weakness"]) for g in given]
    return [float(rng.exponential(m)) for m in means], given


def test_mean_and_slope_are_recovered() -> None:
    null = fit_null(*drawn(4000, 2.0), groups=7)
    assert null.mean == pytest.approx(0.1, rel=0.1)
    assert null.slopes["weakness"] == pytest.approx(2.0, abs=0.25)
    assert null.count == 7


def test_few_models_leave_slopes_where_they_were() -> None:
    values, given = drawn(5, 0.0)
    assert abs(fit_null(values, given, 5).slopes["weakness"]) < 0.5
    near = fit_null(values, given, 5, near={"weakness": 2.0})
    assert 1.0 < near.slopes["weakness"] < 2.5
    assert set(near.slopes) == set(TRAITS)


def test_weakly_trained_models_that_show_little_do_not_narrow_a_null() -> None:
    values, given = drawn(200, -3.0)
    null = fit_null(values, given, 200)
    assert null.slopes["weakness"] == 0.0
    assert null.at(Given(images=True, clean_accuracy=0.4)).mean == null.at(Given(images=True, clean_accuracy=0.95)).mean


def test_nulls_are_of_natural_patterns_too() -> None:
    """A verdict leaves out what looks like its class; on networks of which nobody asks, it stays."""
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    card = {"backdoored": False, "architecture": "grey_lenet", "dataset": "mnist"}
    judged, whole = (Evidence("iscp", "prominence of power", v, np.nan, 1.0, 1.0, (0,)) for v in (0.0, 0.4))
    one = Sample(SimpleNamespace(card=card), Given(images=True), (judged,), unexplained=(whole,))  # type: ignore[arg-type]
    assert renewed(before, [one] * 6)["statistics"]["iscp/prominence on images"]["mean"] == pytest.approx(0.4, rel=0.1)


def test_audits_of_a_split_are_read_both_ways(tmp_path: Path) -> None:
    card = {"name": "m", "split": "develop", "backdoored": False, "architecture": "grey_lenet", "dataset": "fashion"}
    for path, data in (("zoo/m/card.json", card), ("results/images/m.json", to_dict(of_a_natural_pattern()))):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(json.dumps(data))
    (found,) = samples(tmp_path / "zoo", tmp_path / "results", "develop", ["images"])
    assert (found.evidence[0].value < 0.05, found.unexplained[0].value > 0.3) == (True, True)


def test_what_is_a_chance_already_is_not_fitted() -> None:
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    item = Evidence("head", "prominence of rarity of the class's weights", 3.0, np.nan, 1.0, 1.0, (0,))
    card = {"backdoored": False, "architecture": "grey_preact", "dataset": "mnist"}
    one = Sample(SimpleNamespace(card=card), Given(images=True, num_classes=43), (item,))  # type: ignore[arg-type]
    null = one.given.null(parse(renewed(before, [one] * 6), "renewed").nulls, "head", "prominence")
    assert null is not None
    assert null.p_value(2.0) == pytest.approx(0.01, rel=0.05)


def test_renewing_without_audits_changes_nothing() -> None:
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert renewed(before, []) == before


def test_renewing_changes_what_was_measured_and_nothing_else() -> None:
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    item = Evidence("iscp", "prominence of commanding predictive power", 0.4, np.nan, 1.0, 1.0, (0,))
    card = {"backdoored": False, "architecture": "grey_lenet", "dataset": "mnist"}
    one = Sample(SimpleNamespace(card=card), Given(images=True, clean_accuracy=0.99), (item,))  # type: ignore[arg-type]
    after = renewed(before, [one] * 6)
    key = "iscp/prominence on images"
    assert after["statistics"][key]["mean"] == pytest.approx(0.4, rel=0.1)
    assert after["statistics"][key]["count"] == 1
    assert {**after["statistics"], key: None} == {**before["statistics"], key: None}
    assert after["score"] == before["score"]


def test_renewing_by_the_same_audits_changes_nothing_more() -> None:
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    card = {"backdoored": False, "architecture": "grey_lenet", "dataset": "mnist"}
    samples = []
    for accuracy, value in ((0.99, 0.1), (0.7, 0.3), (0.5, 0.6)) * 3:
        item = Evidence("iscp", "prominence of commanding predictive power", value, np.nan, 1.0, 1.0, (0,))
        samples.append(Sample(SimpleNamespace(card=card), Given(images=True, clean_accuracy=accuracy), (item,)))  # type: ignore[arg-type]
    once = renewed(before, samples)
    key = "iscp/prominence on images"
    assert once["statistics"][key]["slopes"] != before["statistics"][key]["slopes"]
    assert renewed(once, samples) == once


def test_audits_of_a_mode_have_weights_of_their_own() -> None:
    """Here head tells planted models from clean ones, and iscp does not; with images nothing is known of that."""
    before = json.loads(SHIPPED.read_text(encoding="utf-8"))
    samples = []
    for number in range(24):
        card = {"backdoored": number % 2 == 1, "architecture": f"grey_n{number % 4}", "dataset": "mnist", "attack": "a"}
        rng = np.random.default_rng(number)
        shown = {"head": 4.0 * (number % 2) + float(rng.random()), "iscp": 0.05 * float(rng.random())}
        items = tuple(Evidence(d, "prominence of x", v, np.nan, 1.0, 1.0, (0,)) for d, v in shown.items())
        samples.append(Sample(SimpleNamespace(card=card), Given(), items))  # type: ignore[arg-type]
    after = renewed({**before, "scores": {}}, samples, {"impressions": 0.8, "images": 0.7})
    assert after["score"] == before["score"]
    assert set(after["scores"]) == {"impressions"}
    alone = after["scores"]["impressions"]
    assert alone["alarm"] == 0.8
    assert alone["weights"]["head/prominence"] > alone["weights"]["iscp/prominence"]
    # what runs at thorough effort only is known, if worth nothing: an unknown statistic would count by itself
    assert set(alone["weights"]) >= set(before["score"]["weights"])
    calibration = parse(after, "renewed")
    with using(calibration):
        assert weights_in_use(Given()) == calibration.of_mode["impressions"]
        assert weights_in_use(Given(images=True)) == weights_in_use(Given(reference=True)) == calibration.weights
    assert parse(as_json(calibration, {}), "again") == calibration


def test_small_deformations_weigh_nothing_and_what_looks_for_the_same_is_told_once() -> None:
    def of(number: int, detectors: dict[str, float]) -> Sample:
        card = {"backdoored": number % 2 == 1, "architecture": f"grey_n{number % 4}", "dataset": "mnist", "attack": "a"}
        items = tuple(Evidence(d, "prominence of x", v, np.nan, 1.0, 1.0, (0,)) for d, v in detectors.items())
        return Sample(SimpleNamespace(card=card), Given(), items)  # type: ignore[arg-type]

    nulls = {f"{d}/prominence on impressions": Null(0.1, 50) for d in ("warp", "blend", "low_frequency", "head")}
    tells = [of(n, {"warp": 0.9 * (n % 2), "head": 0.05, "blend": 0.9 * (n % 2)}) for n in range(24)]
    found = fit_weights(tells, nulls)
    assert found.of["warp/prominence"] == 0.0
    assert found.of["blend/prominence"] > 1.0
    # a second one that only repeats the first changes nothing
    seen = [{i.detector: i.value for i in s.evidence} for s in tells]
    twice = [of(n, {**values, "low_frequency": 0.6 * (n % 2)}) for n, values in enumerate(seen)]
    again = fit_weights(twice, nulls)
    assert again.of["blend/prominence"] > 0.9
    assert again.of["low_frequency/prominence"] == pytest.approx(1.0, abs=0.05)  # as where nothing is known


def test_every_mode_knows_every_statistic_that_one_knows() -> None:
    """One that it does not know is taken for somebody else's detector, and believed when it stands out."""
    shipped = parse(json.loads(SHIPPED.read_text(encoding="utf-8")), "shipped")
    detectors = {name.partition("/")[0] for name in shipped.nulls}
    for model in (shipped.weights, *shipped.of_mode.values()):
        assert {name.partition("/")[0] for name in model.of} >= detectors - IMAGES_ONLY


def test_alarms_do_not_fall_below_those_before() -> None:
    before = {"scores": {"images": {"alarm": 0.75}, "reference": {"alarm": 0.8}}}
    found = not_lower({"images": 0.7, "reference": 0.9, "impressions": 0.6}, before)
    assert found == {"images": 0.75, "reference": 0.9, "impressions": 0.6}


def told(name: str, network: str, value: float, *, backdoored: bool = False, reference: bool = False) -> Sample:
    card = {"name": name, "backdoored": backdoored, "architecture": f"grey_{network}", "dataset": name}
    item = Evidence("iscp", PLAIN, value, np.nan, 1.0, 1.0, (0,))
    given = Given(images=True, reference=reference, clean_accuracy=0.99)
    return Sample(SimpleNamespace(card=card), given, (item,))  # type: ignore[arg-type]


def test_the_least_clean_p_value_is_by_nulls_that_did_not_see_the_network() -> None:
    others = [told(f"lenet{i}", "lenet", 0.05) for i in range(4)]
    outlier = told("far", "vgg", 0.5)
    ignored = [told("planted", "lenet", 1.0, backdoored=True), told("compared", "lenet", 1.0, reference=True)]
    (found,) = least_clean([*others, outlier, *ignored]).values()
    assert found[1] == "far"
    assert found[0] < 0.02  # had the null seen it, its mean would be 0.14 and p 0.07
