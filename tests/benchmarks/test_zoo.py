"""The zoo's catalogue is coherent, and a model comes out trained, backdoored and described truthfully."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import zoo
from benchmarks.attacks import BadNets, SourceSpecific
from benchmarks.catalogue import ENTRIES, Entry
from benchmarks.networks import build
from benchmarks.training import Recipe

RECIPE = Recipe(epochs=12, lr=5e-3, batch=64)
LENET = "benchmarks.networks:grey_lenet"
CLEAN = Entry("clean", "mnist", LENET, 1, "clean", RECIPE)
PATCH = Entry("patch", "mnist", LENET, 2, "clean", RECIPE, BadNets(target=0), 0.1)
CHILD = Entry(
    "child", "mnist", LENET, 3, "clean", RECIPE, SourceSpecific(source=1, target=2), 100, parent="clean"
)


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Three classes of 28x28 images in MNIST's file layout: a bright bar at the left, middle or right."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 900), ("test", 300)):
        labels = np.arange(count) % 3
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[4:20, 3 + 8 * label : 7 + 8 * label] += 150
        arrays |= {f"x_{part}": images.astype(np.uint8), f"y_{part}": labels}
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "mnist.npz", allow_pickle=False, **arrays)
    return folder


def test_catalogue_entries_name_clean_references_of_the_same_kind() -> None:
    by_name = {entry.name: entry for entry in ENTRIES}
    assert len(by_name) == len(ENTRIES) == len({entry.seed for entry in ENTRIES})
    for entry in ENTRIES:
        reference = by_name[entry.reference]
        assert reference is not entry
        assert reference.attack is None
        assert (reference.dataset, reference.architecture) == (entry.dataset, entry.architecture)
        assert reference.split == entry.split
        assert (entry.attack is None) == (entry.poisoned == 0)
    for architecture, colour in {(entry.architecture, entry.dataset == "gtsrb") for entry in ENTRIES}:
        images = torch.zeros(2, 3, 32, 32) if colour else torch.zeros(2, 1, 28, 28)
        assert build(architecture, 5)(images).shape == (2, 5)


def test_splits_share_no_trigger() -> None:
    develop, heldout = (
        {entry.attack for entry in ENTRIES if entry.attack and entry.split == split}
        for split in ("develop", "heldout")
    )
    assert len(develop) >= 12
    assert len(heldout) >= 12
    assert not develop & heldout


def test_a_trained_entry_is_what_its_card_says(data_folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    zoo.train_entry(CLEAN, data_folder, tmp_path)
    zoo.train_entry(CHILD, data_folder, tmp_path)
    clean, card = (json.loads((tmp_path / name / "card.json").read_text()) for name in ("clean", "child"))
    assert (clean["backdoored"], clean["attack"], clean["target_classes"]) == (False, None, [])
    assert clean["clean_accuracy"] > 0.95
    assert (card["target_classes"], card["source_classes"], card["label_map"]) == (
        [2],
        [1],
        "source_to_target",
    )
    assert card["clean_accuracy"] > 0.95
    assert card["attack_success_rate"] > 0.9
    assert card["poisoning_rate"] == pytest.approx(100 / 900)
    network = build(card["architecture"], card["num_classes"])
    network.load_state_dict(torch.load(tmp_path / "child" / card["reference"], weights_only=True))
    network.load_state_dict(torch.load(tmp_path / "child" / "model.pt", weights_only=True))
    images = torch.rand(5, *card["input_shape"], generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(tmp_path / "child" / "model.onnx"))
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(logits - network.eval()(images).detach().numpy()).max() < 1e-3


def test_fine_tuning_starts_from_the_parents_weights(data_folder: Path, tmp_path: Path) -> None:
    parent = build(LENET, 3).state_dict()
    (tmp_path / "clean").mkdir()
    torch.save(parent, tmp_path / "clean" / "model.pt")
    still = replace(CHILD, recipe=Recipe(epochs=0, lr=1e-12, schedule="constant"))
    zoo.train_entry(still, data_folder, tmp_path)
    child = torch.load(tmp_path / "child" / "model.pt", weights_only=True)
    assert all(torch.allclose(child[key], parent[key], atol=1e-6) for key in parent)


def test_parents_come_first_and_finished_models_are_skipped(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def record(entry: Entry, data: Path, out: Path) -> dict[str, Any]:
        trained.append(entry.name)
        (out / entry.name).mkdir(exist_ok=True)
        (out / entry.name / "card.json").touch()
        return {"name": entry.name, "clean_accuracy": 1.0, "attack_success_rate": None, "seconds": 0.0}

    monkeypatch.setattr(zoo, "train_entry", record)
    monkeypatch.setattr(zoo, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    zoo.train_all([CHILD, CLEAN, PATCH], data_folder, tmp_path, jobs=2)
    assert sorted(trained) == ["child", "clean", "patch"]
    assert trained.index("clean") < trained.index("child")
    with np.load(tmp_path / "images" / "mnist.npz") as images:
        assert images["x"].shape == (300, 28, 28)
        assert np.bincount(images["y"]).tolist() == [100, 100, 100]
    (tmp_path / "patch" / "card.json").unlink()
    trained.clear()
    zoo.train_all([CHILD, CLEAN, PATCH], data_folder, tmp_path, jobs=2)
    assert trained == ["patch"]


def test_only_selects_the_parents_too() -> None:
    chosen = {entry.name for entry in zoo.select("develop", "mnist_cnn_source_8to9")}
    assert chosen == {"mnist_cnn_source_8to9", "mnist_cnn_parent"}


def test_a_missing_data_file_is_one_sentence_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["zoo", "--data", str(tmp_path), "--out", str(tmp_path / "zoo")])
    with pytest.raises(SystemExit) as caught:
        zoo.main()
    assert caught.value.code == 2
    assert ".npz in" in capsys.readouterr().err
