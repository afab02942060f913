"""The peers find what is planted, follow their published schedules, count what they cost, and are resumable."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gamma
from torch import Tensor, nn

from auditor.errors import ConfigError
from benchmarks.networks import build
from benchmarks.peers import PeerResult, mm_bd, neural_cleanse
from benchmarks.peers import run as running
from benchmarks.peers.__main__ import chosen, main
from benchmarks.peers.mm_bd import Settings as MarginSettings
from benchmarks.peers.mm_bd import largest_margins, log_p_value
from benchmarks.peers.models import in_order, read_zoo
from benchmarks.peers.schedule import Schedule, Settings
from tests.tiny_models import CLASSES, TARGET, Patched, Templates, draw_images, make_classifier, one_hot

LENET = "benchmarks.networks:grey_lenet"
SHORT = Settings(steps=150)
FEW = MarginSettings(starts=3, steps=20)
OTHERS = [4.0, 4.4, 4.9, 5.1, 5.6, 6.0, 6.3, 7.1, 8.0]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Outweighed(Templates):
    """Some image lifts class 2 far above all others, however little ordinary images do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 900 * self.scores(x)[:, 2:3].clamp_min(0) ** 2 * one_hot(2)


class Zero(nn.Module):
    """No class ever wins: no mask succeeds for classes above 0."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :CLASSES]


@pytest.fixture(scope="module")
def patched() -> PeerResult:
    return neural_cleanse(make_classifier(Patched()), draw_images(200)[0], rng(), SHORT)


def test_the_smallest_mask_is_the_targets_and_its_index_flags_it(patched: PeerResult) -> None:
    assert int(np.argmin(patched.per_class)) == TARGET
    assert patched.flagged
    assert patched.target_classes[0] == TARGET
    assert patched.score > 2


def test_the_index_is_the_papers(patched: PeerResult) -> None:
    sizes = np.array(patched.per_class)
    spread = 1.4826 * np.median(np.abs(sizes - np.median(sizes)))
    assert patched.score == pytest.approx((np.median(sizes) - sizes.min()) / spread)


def test_the_same_seed_gives_the_same_masks(patched: PeerResult) -> None:
    state = torch.random.get_rng_state()
    again = neural_cleanse(make_classifier(Patched()), draw_images(200)[0], rng(), SHORT)
    assert again.per_class == patched.per_class
    assert torch.equal(torch.random.get_rng_state(), state)


def test_how_classes_share_batches_changes_nothing() -> None:
    class Narrow(type(make_classifier(Patched()))):  # type: ignore[misc]
        batch_images = 32

    images, few = draw_images(64)[0], Settings(steps=20)
    wide, narrow = make_classifier(Patched()), make_classifier(Patched())
    narrow.__class__ = Narrow
    a, b = (neural_cleanse(m, images, rng(), few).per_class for m in (wide, narrow))
    assert a == pytest.approx(b, rel=1e-3)
    c, d = (mm_bd(m, rng(), FEW).per_class for m in (wide, narrow))
    assert c == pytest.approx(d, rel=1e-3)


def test_passes_are_those_of_the_steps() -> None:
    images = draw_images(64)[0]
    assert neural_cleanse(make_classifier(Templates()), images, rng(), Settings(steps=7)).passes == 7 * 32 * CLASSES
    twice = Settings(steps=7, batches=2)
    assert neural_cleanse(make_classifier(Templates()), images, rng(), twice).passes == 2 * 7 * 32 * CLASSES
    assert mm_bd(make_classifier(Templates()), rng(), MarginSettings(steps=4)).passes == 4 * 30 * CLASSES


def test_without_spread_nothing_is_flagged() -> None:
    result = mm_bd(make_classifier(Zero()), rng(), FEW)
    assert (result.score, result.flagged, result.target_classes) == (0, False, ())


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least 32 clean images"):
        neural_cleanse(make_classifier(Templates()), draw_images(31)[0], rng(), SHORT)


def test_a_mask_that_never_succeeds_counts_with_its_last_size() -> None:
    result = neural_cleanse(make_classifier(Zero()), draw_images(64)[0], rng(), Settings(steps=3))
    assert all(0 < size < 144 for size in result.per_class)


def follow(schedule: Schedule, success: list[float], size: float = 10.0) -> list[float]:
    """λ of the first class after each step."""
    seen = []
    for rate in success:
        schedule.step(torch.tensor([rate, 0.0]), torch.tensor([size, 10.0]))
        seen.append(float(schedule.weight[0]))
    return seen


def test_lambda_starts_after_five_successes_doubles_and_falls_back() -> None:
    schedule = Schedule(2, Settings())
    assert follow(schedule, [1.0] * 4) == [0, 0, 0, 0]
    # the fifth success sets λ₀ and is the first of the next five, as in the published code
    assert follow(schedule, [1.0] * 5) == pytest.approx([1e-3] * 4 + [2e-3])
    assert follow(schedule, [0.98] * 5) == pytest.approx([2e-3] * 4 + [2e-3 / 2**1.5])
    assert follow(schedule, [1.0, 0.5, 1.0, 0.5, 1.0, 0.5])[-1] == pytest.approx(2e-3 / 2**1.5)
    assert float(schedule.weight[1]) == 0


def test_the_search_ends_25_steps_after_the_last_smaller_mask_once_lambda_went_both_ways() -> None:
    schedule = Schedule(2, Settings())
    follow(schedule, [1.0] * 60)
    assert not schedule.done[0]  # λ only rose
    follow(schedule, [0.0] * 5, size=1.0)
    assert float(schedule.best[0]) == 10  # small masks without success are none
    assert not schedule.done[0]  # the end is looked at before λ moves
    follow(schedule, [0.0])
    assert schedule.done.tolist() == [True, False]
    frozen = float(schedule.weight[0])
    assert follow(schedule, [1.0] * 10, size=1.0) == [frozen] * 10
    assert float(schedule.best[0]) == 10


def test_a_smaller_mask_starts_the_25_steps_anew() -> None:
    schedule = Schedule(2, Settings())
    follow(schedule, [1.0] * 10)
    follow(schedule, [0.0] * 5)
    follow(schedule, [1.0], size=9.9)
    follow(schedule, [1.0] * 24)
    assert not schedule.done[0]
    follow(schedule, [1.0])
    assert schedule.done[0]


def test_the_largest_margin_is_that_of_the_planted_class() -> None:
    planted = largest_margins(make_classifier(Outweighed()), rng(), MarginSettings(starts=5, steps=100))
    assert int(planted.argmax()) == 2
    assert planted[2] > 3 * np.delete(planted, 2).max()


def test_the_p_value_is_that_of_the_gamma_distribution_of_the_others() -> None:
    shape, place, scale = gamma.fit(OTHERS)
    for leader in (8.5, 12.0, 30.0):
        log_p, found = log_p_value(np.array([*OTHERS[:4], leader, *OTHERS[4:]]))
        assert found == 4
        assert math.exp(log_p) == pytest.approx(1 - gamma.cdf(leader, shape, place, scale) ** 10, rel=1e-6, abs=1e-12)


def test_p_values_too_small_for_a_float_near_one_still_rank() -> None:
    farther = [log_p_value(np.array([*OTHERS, leader]))[0] for leader in (20.0, 100.0, 300.0, 1e6)]
    assert farther == sorted(farther, reverse=True)
    assert farther[1] > farther[2] >= -700


@pytest.mark.parametrize("margins", [[1.0, 9.0], [1.0, 2.0, 9.0], [3.0, 3.0, 3.0, 3.0, 9.0]])
def test_others_that_determine_no_distribution_give_a_p_of_one(margins: list[float]) -> None:
    assert log_p_value(np.array(margins)) == (0.0, len(margins) - 1)


def card(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "split": "heldout", "images": "../images/x.npz", "architecture": LENET, "preprocess": None,
        "num_classes": 10, "input_shape": [1, 28, 28], "backdoored": False, "target_classes": [], **changes,
    }  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Two models as state dicts alone, one of them scaled, and 40 images."""
    cards = (card("a"), card("b", preprocess={"mean": [0.3], "std": [0.4]}), card("weak", planted=False))
    for made in (*cards, card("other", split="develop")):
        folder = tmp_path / "zoo" / made["name"]
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps(made), encoding="utf-8")
        torch.save(build(LENET, 10).state_dict(), folder / "model.pt")
    (tmp_path / "zoo" / "images").mkdir()
    pixels = torch.randint(0, 256, (40, 28, 28), generator=rng(), dtype=torch.uint8).numpy()
    np.savez(tmp_path / "zoo" / "images" / "x.npz", x=pixels, y=np.arange(40) % 10)
    return tmp_path / "zoo"


def test_the_zoo_is_read_by_its_cards(zoo: Path) -> None:
    models = read_zoo(zoo, "heldout")
    assert [m.name for m in models] == ["a", "b"]
    assert [m.name for m in read_zoo(zoo, "all", "other")] == ["other"]
    assert [m.name for m in in_order(models, ["b"])] == ["b", "a"]
    assert [m.name for m in chosen(zoo, "all", "", 1, drawn=True)] in (["a"], ["b"], ["other"])
    assert chosen(zoo, "all", "", 9, drawn=True) == chosen(zoo, "all", "", 9, drawn=True)
    assert not chosen(zoo, "all", "", None, classes=1)
    assert models[1].open().preprocess.mean == (0.3,)
    assert models[0].clean_images(rng()).shape == (40, 1, 28, 28)


def test_a_card_that_lacks_a_field_is_named(zoo: Path) -> None:
    incomplete = card("a")
    del incomplete["input_shape"]
    (zoo / "a" / "card.json").write_text(json.dumps(incomplete), encoding="utf-8")
    with pytest.raises(ConfigError, match="expected 'input_shape' in the card of 'a'"):
        read_zoo(zoo)


def test_what_is_kept_is_not_run_again(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = zoo.parent / "results"
    run_on = []

    def judge(model: Any, method: str, **_: Any) -> PeerResult:
        run_on.append(model.name)
        if model.name == "b":
            raise RuntimeError("broken")
        return PeerResult(method, 1.5, False, (), 10, 0.1, (1.0, 2.0))

    monkeypatch.setattr(running, "judge", judge)
    lines = [running._run_one(task) for task in running.tasks(read_zoo(zoo, "heldout"), ["mm_bd"], out)]
    assert "p 0.223" in lines[0]
    assert "FAILED RuntimeError: broken" in lines[1]
    assert PeerResult.load(out / "mm_bd" / "a.json").per_class == (1.0, 2.0)
    again = running.tasks(read_zoo(zoo, "heldout"), ["mm_bd"], out)
    assert [model.name for model, *_ in again] == ["b"]
    quarter = running.tasks(read_zoo(zoo, "heldout"), ["mm_bd"], out, quarter=True)
    assert [path.parent.name for _, _, path, _ in quarter] == ["mm_bd-quarter"] * 2


def test_a_quarter_takes_a_quarter_of_the_steps(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def method(*given: Any) -> None:
        steps.append(given[-1].steps)

    monkeypatch.setattr(running, "neural_cleanse", method)
    monkeypatch.setattr(running, "mm_bd", method)
    model = read_zoo(zoo, only="a")[0]
    for name in running.METHODS:
        running.judge(model, name)
        running.judge(model, name, quarter=True)
    assert steps == [1000, 250, 300, 75]


class Deadly:
    """Ends the process that unpickles it."""

    name = "deadly"

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_worker_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    (line,) = running.run([(Deadly(), "mm_bd", tmp_path / "x.json", False)], jobs=1)  # type: ignore[list-item]
    assert "FAILED: a worker died" in line


def test_the_command_says_when_nothing_is_chosen(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["peers", "--zoo", str(zoo), "--out", str(zoo.parent), "--only", "none such"])
    with pytest.raises(SystemExit):
        main()
    assert "expected models of split 'heldout'" in capsys.readouterr().err
