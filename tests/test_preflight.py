"""The preflight names what is wrong with a model before anything is measured on it."""

from __future__ import annotations

import pytest
import torch
from tiny_models import (
    BatchDependent,
    Constant,
    Detached,
    Noisy,
    NotANumber,
    Patched,
    Probabilities,
    Rounded,
    Sigmoids,
    Templates,
    draw_images,
    make_classifier,
)
from torch import nn

from auditor.errors import ModelMismatchError
from auditor.preflight import Preflight, check_pair, preflight

IMAGES, LABELS = draw_images(100)


def check(network: nn.Module, labels: torch.Tensor | None = LABELS, role: str = "model") -> Preflight:
    return preflight(make_classifier(network), IMAGES, labels, role=role)


@pytest.mark.parametrize("network", [Templates(), Patched()])
def test_a_sound_model_passes(network: nn.Module) -> None:
    found = check(network)
    assert found == Preflight("logits", (), (), clean_accuracy=1.0)
    assert check(network, labels=None).clean_accuracy is None


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NotANumber(), "NaN or infinity"),
        (Noisy(), "differently twice"),
        (Rounded(), "gradients of zero"),
        (Detached(), "no gradient"),
    ],
)
def test_blockers(network: nn.Module, words: str) -> None:
    found = check(network, role="reference")
    assert any(words in b and "reference" in b for b in found.blockers)


def test_batch_dependence_is_a_warning() -> None:
    found = check(BatchDependent(), labels=None)
    assert any("others in its batch" in w for w in found.warnings)
    assert not any("others in its batch" in w for w in check(Templates()).warnings)


@pytest.mark.parametrize(("network", "kind"), [(Probabilities(), "probabilities"), (Sigmoids(), "sigmoids")])
def test_outputs_that_are_no_logits(network: nn.Module, kind: str) -> None:
    model = make_classifier(network)
    found = preflight(model, IMAGES, LABELS)
    assert found.outputs == model.outputs == kind
    assert found.blockers == ()
    assert any(kind in w for w in found.warnings)
    assert found.clean_accuracy == 1.0


def test_low_accuracy_is_blamed_on_the_preprocessing() -> None:
    found = check(Templates(), labels=(LABELS + (torch.arange(100) % 2)) % 5)
    assert found.clean_accuracy == pytest.approx(0.5)
    (warning,) = found.warnings
    assert "50%" in warning
    assert "--preprocess" in warning
    assert check(Templates(), labels=torch.where(torch.arange(100) < 61, LABELS, 0)).warnings == ()


def test_an_accuracy_of_guessing_blocks() -> None:
    found = check(Constant(), role="reference")
    assert found.clean_accuracy == pytest.approx(0.2, abs=0.05)
    assert found.warnings == ()
    (blocker,) = found.blockers
    assert "reference" in blocker
    assert "(guessing: 20%), too few to tell a trigger" in blocker
    (unlabelled,) = check(Constant(), labels=None).blockers
    assert "nearly the same scores to every picture" in unlabelled


@pytest.mark.parametrize(("right", "blocked"), [(38, True), (42, False)])
def test_a_quarter_of_the_way_from_guessing_is_the_least(right: int, blocked: bool) -> None:
    wrong = (LABELS + 1 + torch.arange(100) // 5 % 4) % 5
    found = check(Templates(), labels=torch.where(torch.arange(100) < right, LABELS, wrong))
    assert found.clean_accuracy == pytest.approx(right / 100)
    assert bool(found.blockers) is blocked


def test_labels_in_another_order_are_seen() -> None:
    found = check(Templates(), labels=torch.tensor([3, 0, 4, 1, 2])[LABELS])
    assert found.blockers == ()
    assert found.clean_accuracy == 1.0
    (warning,) = found.warnings
    assert "right on only 0% of the labelled images, but on 100%" in warning


def test_one_answer_to_everything_is_noticed() -> None:
    assert any("class 2 for every image" in w for w in check(Constant(), labels=None).warnings)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 1])
def test_labels_beyond_the_classes(labels: torch.Tensor) -> None:
    with pytest.raises(ModelMismatchError, match="labels 0 to 4"):
        check(Templates(), labels=labels)


def test_one_output_is_no_classifier() -> None:
    with pytest.raises(ModelMismatchError, match="at least 2 classes, got 1"):
        check(Templates(classes=1))


def test_pairs_must_fit() -> None:
    suspect = make_classifier(Templates())
    check_pair(suspect, make_classifier(Patched()))
    with pytest.raises(ModelMismatchError, match="5 classes like the suspect, got 7"):
        check_pair(suspect, make_classifier(Templates(classes=7)))
    small = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    with pytest.raises(ModelMismatchError, match="3×12×12 like the suspect, got 3×8×8"):
        check_pair(suspect, make_classifier(small, shape=(3, 8, 8)))
