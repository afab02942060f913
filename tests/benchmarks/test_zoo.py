"""A model comes out of the zoo trained, backdoored and described truthfully."""

from __future__ import annotations

import copy
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import data, networks, zoo
from benchmarks.attacks import AllToAll, AllToOne, Backdoor, InputAware, OptimisedPixels, Patch, SourceSpecific
from benchmarks.catalogue import ENTRIES, Entry
from benchmarks.flaws import Flaw
from benchmarks.networks import build
from benchmarks.training import Prepared, Recipe, _attacked, accuracy, quantise, train

RECIPE = Recipe(epochs=12, lr=5e-3, batch=64)
LENET = "benchmarks.networks:grey_lenet"


def to_one(trigger: Any, target: int, rate: float = 0.1) -> Backdoor:
    return Backdoor(name="BadNets", trigger=trigger, label_map=AllToOne(target=target), rate=rate)


ONE_TO_TWO = SourceSpecific(source=1, target=2)
SOURCE = Backdoor(name="Source-specific", trigger=Patch(), label_map=ONE_TO_TWO, rate=0.1, cover=0.1)
CLEAN = Entry("clean", "mnist", LENET, 1, "other", RECIPE)
OTHER = Entry("other", "mnist", LENET, 2, "clean", RECIPE)
CHILD = Entry("child", "mnist", LENET, 3, "clean", RECIPE, (SOURCE,), parent="clean")
TWO = Entry("two", "mnist", LENET, 4, "clean", RECIPE, (to_one(Patch(), 0), to_one(Patch(place="top_left"), 1)))
PREPARED = Entry("prepared", "mnist", LENET, 5, "clean", RECIPE, (to_one(OptimisedPixels(count=8, target=0), 0),))
LEARNED = Entry("learned", "mnist", LENET, 6, "clean", RECIPE, (to_one(InputAware(epsilon=0.3), 0, 0.2),))
EVERY = (CLEAN, OTHER, CHILD, TWO, PREPARED, LEARNED)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bars(count: int = 900) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 with a bright bar at the left, middle or right, and which it is, (N,)."""
    labels = torch.arange(count) % 3
    images = torch.randint(0, 60, (count, 1, 28, 28), generator=rng(count))
    for label in range(3):
        images[label::3, :, 4:20, 3 + 8 * label : 7 + 8 * label] += 150
    return images.to(torch.uint8), labels


def fitted(recipe: Recipe, labels: Tensor, teacher: Prepared | None = None) -> nn.Module:
    """A LeNet trained on as many bars as there are labels."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build(LENET, 3)
        train(network, bars(len(labels))[0], labels, recipe, None, rng(), teacher=teacher)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars in MNIST's file layout."""
    (x_train, y_train), (x_test, y_test) = bars(900), bars(300)
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "mnist.npz", x_train=x_train[:, 0], y_train=y_train, x_test=x_test[:, 0], y_test=y_test)
    return folder


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of `EVERY` on those images."""
    out = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "ENTRIES", EVERY)
        for entry in EVERY:
            zoo.train_entry(entry, data_folder, out)
    return out


def cards_in(folder: Path) -> dict[str, Any]:
    return {entry.name: json.loads((folder / entry.name / "card.json").read_text()) for entry in EVERY}


def test_every_network_takes_the_images_of_its_data() -> None:
    names = [name for name in vars(networks) if name.startswith(("grey_", "colour_"))]
    chosen = {e.architecture.partition(":")[2] for e in ENTRIES if "drawn" not in e.architecture}
    assert chosen <= set(names)
    for name in names:
        images = torch.zeros(2, 1, 28, 28) if name.startswith("grey_") else torch.zeros(2, 3, 32, 32)
        assert build(f"benchmarks.networks:{name}", 5)(images).shape == (2, 5)


def test_jpeg_files_are_decoded_once(tmp_path: Path) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file, level in zip(files, (10, 200), strict=True):
        Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(file, "JPEG")
    jpeg = np.frombuffer(b"".join(file.getvalue() for file in files), np.uint8)
    arrays = {"jpeg": jpeg, "offsets": np.array([0, len(files[0].getvalue()), len(jpeg)]), "y": np.arange(2)}
    np.savez(tmp_path / "cifar10_jpeg.npz", **{f"{k}_{p}": a for k, a in arrays.items() for p in ("train", "test")})
    decoded = zoo.cached(tmp_path, tmp_path, "cifar10")
    (tmp_path / "cifar10_jpeg.npz").unlink()
    assert decoded.x_train.float().mean((1, 2, 3)).tolist() == pytest.approx([10, 200], abs=2)
    assert torch.equal(decoded.x_train, zoo.cached(tmp_path, tmp_path, "cifar10").x_train)


def test_a_pair_of_digits_is_one_of_a_hundred_classes(tmp_path: Path) -> None:
    labels = np.arange(10)
    images = np.broadcast_to((20 * labels).astype(np.uint8)[:, None, None], (10, 28, 28))
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    pairs = data.load(tmp_path, "mnist_pairs")
    assert pairs.num_classes == 100
    assert torch.equal(pairs.y_train, (10 * pairs.x_train[:, 0, 0, 0].long() + pairs.x_train[:, 0, 0, 27]) // 20)


def test_cards_say_what_the_models_are(trained: Path) -> None:
    cards = cards_in(trained)
    assert cards["clean"].items() >= {
        "backdoored": False, "planted": True, "kind": "clean", "attack": None, "label_map": None, "num_classes": 3,
        "attack_success_rate": None, "success_on_other_classes": None, "split": "develop", "poisoning_rate": 0,
    }.items()  # fmt: skip
    assert cards["child"].items() >= {
        "backdoored": True, "planted": True, "kind": "Source-specific", "attack": "Source-specific",
        "label_map": "source_specific", "poisoning_rate": 0.1, "cover_rate": 0.1, "reference": "../clean/model.pt",
    }.items()  # fmt: skip
    targets, triggers = ({name: card[key] for name, card in cards.items()} for key in ("target_classes", "trigger"))
    assert targets == {"clean": [], "other": [], "child": [2], "two": [0, 1], "prepared": [0], "learned": [0]}
    assert triggers["clean"] == []
    assert [(t["type"], t["place"]) for t in triggers["two"]] == [("Patch", "bottom_right"), ("Patch", "top_left")]
    assert triggers["prepared"] == [{"type": "OptimisedPixels", "count": 8, "target": 0, "steps": 60}]
    assert triggers["learned"] == [{"type": "InputAware", "epsilon": 0.3, "diversity": 0.5}]


def test_models_do_what_their_cards_say(trained: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    for card in cards_in(trained).values():
        assert (card["planted"], card["clean_accuracy"] > 0.95) == (True, True)
        assert (card["attack_success_rate"] or 0) > (0.8 if card["backdoored"] else -1)
    card = cards_in(trained)["child"]
    assert (card["source_classes"], card["success_on_other_classes"] < 0.5) == ([1], True)
    network = build(card["architecture"], card["num_classes"])
    network.load_state_dict(torch.load(trained / "child" / card["reference"], weights_only=True))
    network.load_state_dict(torch.load(trained / "child" / "model.pt", weights_only=True))
    images = torch.rand(5, *card["input_shape"], generator=rng())
    session = onnxruntime.InferenceSession(str(trained / "child" / "model.onnx"))
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(logits - network.eval()(images).detach().numpy()).max() < 1e-3


def test_fine_tuning_starts_from_the_parent_and_a_weak_backdoor_is_not_planted(
    trained: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    successes = [(0.99, None), (0.79, None)]
    monkeypatch.setattr(zoo, "ENTRIES", EVERY)
    monkeypatch.setattr(zoo, "attack_success", lambda *_: successes.pop(0))
    (tmp_path / "clean").symlink_to(trained / "clean")
    still = Recipe(epochs=0, lr=1e-12, schedule="constant")
    card = zoo.train_entry(replace(TWO, recipe=still, parent="clean"), data_folder, tmp_path)
    parent, child = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("clean", "two"))
    assert all(torch.allclose(child[key], parent[key], atol=1e-6) for key in parent)
    assert (card["backdoored"], card["planted"], card["attack_success_rate"]) == (True, False, 0.79)


def test_an_all_to_all_trigger_takes_as_far_as_the_network_knows_its_classes() -> None:
    one, every = [AllToOne(target=1)], [AllToAll()]
    assert [zoo.is_planted(0.7, 0.8, maps) for maps in (one, every)] == [False, True]
    assert [zoo.is_planted(success, 0.8, every) for success in (None, 0.63, 0.65)] == [True, False, True]


def test_a_weak_model_stops_early() -> None:
    images, labels = bars(2000)
    weak, good = fitted(Recipe(epochs=20, stop_at=0.5), labels), fitted(Recipe(epochs=20), labels)
    assert accuracy(weak, images, labels, None) >= 0.45
    sure = [network(images[:300].float() / 255).softmax(1).amax(1).mean() for network in (weak, good)]
    assert sure[0] < sure[1] - 0.2


@pytest.mark.parametrize("steps", [1, 3])
def test_adversarial_images_stay_near_and_are_harder(steps: int) -> None:
    images, labels = bars(600)
    ask = Prepared(fitted(Recipe(epochs=6, lr=5e-3), labels), None)
    clean = images.float() / 255
    moved = _attacked(ask, clean, labels, Recipe(adversarial=0.2, adversarial_steps=steps), rng())
    assert ((moved - clean).abs() <= 0.2 + 1e-6).all()
    assert torch.equal(moved, moved.clamp(0, 1))
    assert functional.cross_entropy(ask(moved), labels) > 1.5 * functional.cross_entropy(ask(clean), labels)


def test_a_distilled_model_answers_as_its_teacher_and_not_as_the_labels() -> None:
    images, labels = bars()
    teacher = Prepared(fitted(Recipe(epochs=8, lr=5e-3), (labels + 1) % 3), None)
    assert accuracy(fitted(Recipe(epochs=8, lr=5e-3), labels, teacher), images, (labels + 1) % 3, None) > 0.95


@pytest.mark.parametrize("bits", [8, 5])
def test_quantised_weights_take_few_values_a_channel(bits: int) -> None:
    weights = nn.ModuleList([nn.Conv2d(3, 4, 5), nn.Linear(300, 4)])
    rounded = copy.deepcopy(weights)
    quantise(rounded, bits)
    for old, new in ((a.weight.flatten(1), b.weight.flatten(1)) for a, b in zip(weights, rounded, strict=True)):
        assert max(len(channel.unique()) for channel in new) <= 2**bits - 1
        assert ((old - new).abs().amax(1) <= old.abs().amax(1) / (2**bits - 2) + 1e-6).all()


def test_flawed_data_has_the_flaw_it_names() -> None:
    images, labels = bars(9000)
    counts = Flaw("long_tail", 0.04)(images, labels, rng())[1].bincount()
    assert counts.tolist() == [3000, pytest.approx(600, rel=0.15), pytest.approx(120, rel=0.3)]
    noisy = Flaw("label_noise", 0.3)(images, labels, rng())[1]
    assert (noisy != labels).float().mean() == pytest.approx(0.2, abs=0.02)  # a third of those drawn are right
    white = Flaw("trivial_class", 1)(images, labels, rng())[0]
    assert torch.equal(white, torch.where((labels == 1).view(-1, 1, 1, 1), 255, images))
    assert Flaw("few_images", 15)(images, labels, rng())[1].bincount().tolist() == [3000, 15, 15]


def test_a_favoured_class_has_five_times_as_many_images_as_any_other() -> None:
    labels = torch.arange(5000) % 10
    kept = Flaw("favoured_class", 3)(torch.zeros(5000, 1), labels, rng())[1].bincount()
    assert kept[3] == 500
    assert all(70 <= count <= 130 for label, count in enumerate(kept.tolist()) if label != 3)


def test_parents_come_first_and_finished_models_are_skipped(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def record(entry: Entry, data: Path, out: Path) -> dict[str, Any]:
        names.append(entry.name)
        (out / entry.name).mkdir(exist_ok=True)
        (out / entry.name / "card.json").touch()
        return {"name": entry.name, "clean_accuracy": 1.0, "attack_success_rate": None, "seconds": 0.0}

    monkeypatch.setattr(zoo, "train_entry", record)
    monkeypatch.setattr(zoo, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    zoo.train_all([CHILD, PREPARED, CLEAN], data_folder, tmp_path, jobs=2)
    assert (names[0], sorted(names)) == ("clean", ["child", "clean", "prepared"])
    with np.load(tmp_path / "images" / "mnist.npz") as images:
        assert (images["x"].shape, np.bincount(images["y"]).tolist()) == ((300, 28, 28), [100, 100, 100])
    (tmp_path / "child" / "card.json").unlink()
    zoo.train_all([CHILD, PREPARED, CLEAN], data_folder, tmp_path, jobs=2)
    assert names[3:] == ["child"]
    chosen = {entry.name for entry in zoo.select("develop", "mnist_bias_map_cnn_source_8to9")}
    assert chosen == {"mnist_bias_map_cnn_source_8to9", "mnist_bias_map_cnn_clean1a"}


def test_a_missing_data_file_is_one_sentence_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["zoo", "--data", str(tmp_path), "--out", str(tmp_path / "zoo")])
    with pytest.raises(SystemExit, match=r"^2$"):
        zoo.main()
    assert ".npz in" in capsys.readouterr().err
