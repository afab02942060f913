"""The demonstration: real training, real scans, right verdicts; and the pieces it is made of."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from auditor import archive
from auditor.cli import run
from auditor.demo_training import BACKDOORS, accuracy, load_digits, network, poison, save_onnx, train
from auditor.findings import Verdict
from auditor.images import load_images


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder that ``audit demo`` leaves behind, and its exit code."""
    out = tmp_path_factory.mktemp("demo") / "audit-demo"
    return out, run(["demo", "--out", str(out)])


def test_both_verdicts_are_as_planted(shown: tuple[Path, int]) -> None:
    out, code = shown
    assert code == 0
    clean, backdoored = (archive.from_text((out / f"{n}.json").read_text()) for n in ("clean", "backdoored"))
    assert clean.verdict is Verdict.NO_EVIDENCE
    assert backdoored.verdict is Verdict.BACKDOORED
    assert backdoored.target_classes == (BACKDOORS["patch"].target,)
    assert backdoored.score > 0.5 > clean.score
    for audit in (clean, backdoored):
        assert audit.images.labelled
        assert audit.images.clean_accuracy is not None
        assert audit.images.clean_accuracy > 0.95


def test_the_recovered_trigger_lies_on_the_planted_one(shown: tuple[Path, int]) -> None:
    backdoored = archive.from_text((shown[0] / "backdoored.json").read_text())
    assert backdoored.trigger is not None
    rows, columns = (backdoored.trigger.mask > 0).nonzero()
    assert rows.mean() > 20
    assert columns.mean() > 20


def test_everything_it_names_is_written(shown: tuple[Path, int]) -> None:
    names = {path.name for path in shown[0].iterdir()}
    both = {f"{name}.{suffix}" for name in ("clean", "backdoored") for suffix in ("onnx", "html", "json")}
    assert names == both | {"digits.npz"}


def test_its_files_serve_a_gate(shown: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown
    argv = ["--images", str(out / "digits.npz"), "--detector", "iscp"]
    assert run(["scan", str(out / "clean.onnx"), *argv]) == 0
    assert "no evidence" in capsys.readouterr().out.lower()
    assert run(["scan", str(out / "backdoored.onnx"), *argv]) == 1
    assert run(["scan", str(out / "backdoored.onnx"), *argv, "--fail-on", "never", "--quiet"]) == 0
    assert run(["inspect", str(out / "clean.onnx"), "--images", str(out / "digits.npz")]) == 0
    assert "clean accuracy" in capsys.readouterr().out


def test_an_unknown_backdoor_or_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--backdoor", "none-such", "--out", str(tmp_path / "out")]) == 4
    assert "patch, blended, source-specific" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(["demo", "--out", str(tmp_path / "file")]) == 4
    assert "choose another with --out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", BACKDOORS)
def test_poison_adds_marked_copies_with_the_targets_label(name: str) -> None:
    digits, backdoor = load_digits(0), BACKDOORS[name]
    images, labels = poison(digits, backdoor, generator())
    added = slice(len(digits.train), len(digits.train) + backdoor.poisoned)
    assert torch.equal(images[: len(digits.train)], digits.train)
    assert (labels[added] == backdoor.target).all()
    covers = labels[added.stop :]
    assert (len(covers) > 0) == (backdoor.source is not None)
    assert backdoor.source not in covers.tolist()
    changed = (backdoor.apply(digits.train[:5]) - digits.train[:5]).abs().flatten(1).sum(1)
    assert (changed > 0).all()


def test_training_learns_and_is_seeded_and_fine_tuning_spares_the_parent() -> None:
    digits = load_digits(0)
    first, second = (
        train(digits.train, digits.train_labels, generator(), lambda done, total: None, epochs=1) for _ in "ab"
    )
    assert accuracy(first, digits) > 0.5
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    network_before = first.state_dict()["0.weight"].clone()
    tuned = train(digits.train, digits.train_labels, generator(), lambda done, total: None, epochs=1, parent=first)
    assert torch.equal(first.state_dict()["0.weight"], network_before)
    assert accuracy(tuned, digits) >= accuracy(first, digits) - 0.02


def test_the_written_onnx_answers_as_torch_does(tmp_path: Path) -> None:
    model = network().eval()
    save_onnx(tmp_path / "model.onnx", model)
    images = torch.rand(5, 1, 28, 28, generator=generator())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (answer,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(answer), model(images), atol=1e-4)


def test_the_saved_digits_are_what_the_models_were_tested_on(tmp_path: Path) -> None:
    from auditor.demo_training import save_images

    digits = load_digits(0)
    save_images(tmp_path / "digits.npz", digits)
    loaded = load_images(tmp_path / "digits.npz", (1, 28, 28), 10_000, generator(), num_classes=10)
    assert len(loaded.pixels) == len(digits.held_out)
    assert loaded.labels is not None
    assert torch.equal(torch.bincount(loaded.labels), torch.bincount(digits.held_out_labels))
    assert float(loaded.pixels.mean()) == pytest.approx(float(digits.held_out.mean()), abs=1e-4)
