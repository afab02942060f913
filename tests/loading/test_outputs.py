"""Networks with a single score an image, as yes-or-no classifiers have, and those with more than their scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from auditor.errors import ConfigError, ModelFileError
from auditor.opening import open_classifier
from auditor.request import ModelOptions

from .conftest import Export, images, small_cnn


def opened(path: Path, **options: str) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Logits of some images, their gradient of class 1 against class 0, and what was noted."""
    classifier, network = open_classifier(path, ModelOptions(**options), device="cpu", default_shape=(1, 16, 16))  # type: ignore[arg-type]
    assert classifier.num_classes == classifier.facts.num_classes == 2
    x = images(5, 1, 16, 16).requires_grad_()
    logits = classifier.logits(x)
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), x)
    return logits.detach(), gradient, network.notes


@pytest.mark.parametrize("dynamic", [True, False])
def test_one_logit(export: Export, dynamic: bool) -> None:
    network = small_cnn(classes=1)
    logits, gradient, notes = opened(export(network, images(2, 1, 16, 16), dynamic=dynamic))
    assert torch.allclose(logits[:, 1:], network(images(5, 1, 16, 16)), atol=1e-5)
    assert (logits[:, 0] == 0).all()
    assert gradient.abs().max() > 0
    assert any("one score an image: class 1 is where it is high" in note for note in notes)


def test_one_probability_is_undone(export: Export) -> None:
    network = small_cnn(classes=1)
    plain, slope, _ = opened(export(network, images(2, 1, 16, 16)))
    logits, gradient, notes = opened(export(nn.Sequential(network, nn.Sigmoid()), images(2, 1, 16, 16)))
    assert torch.allclose(logits, plain, atol=1e-3)
    assert torch.allclose(gradient, slope, atol=1e-2 * float(slope.abs().max()))
    assert any("one probability an image" in note for note in notes)


def test_state_dict_of_one_score(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=1)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    classifier, _ = open_classifier(
        tmp_path / "model.pt", ModelOptions(arch="torchvision:resnet18"), device="cpu", default_shape=(3, 32, 32)
    )
    assert classifier.num_classes == 2


def test_two_scores_stay_two(export: Export) -> None:
    _, network = open_classifier(export(small_cnn(classes=2), images(2, 1, 16, 16)), ModelOptions(), device="cpu")
    assert not any("an image: class 1" in note for note in network.notes)


class Several(nn.Module):
    """A classifier of three classes that gives its features too, in some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.body, self.head, self.form = nn.Conv2d(1, 6, 3), nn.Linear(6, 3), form

    def forward(self, x: torch.Tensor) -> object:
        features = self.body(x).relu().mean((2, 3))
        scores = self.head(features)
        named = {"x": features[:, :2], "logits": scores}
        return {"after": (features, scores), "before": [scores, features], "named": named}[self.form]


@pytest.mark.parametrize("form", ["after", "before", "named"])
def test_scores_are_found_among_several_outputs(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Several(form)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    monkeypatch.setattr(f"{__name__}.made", lambda: Several(form), raising=False)
    classifier, loaded = open_classifier(
        tmp_path / "model.pt", ModelOptions(arch=f"{__name__}:made"), device="cpu", default_shape=(1, 12, 12)
    )
    x = images(4, 1, 12, 12)
    answer = network(x)
    expected = answer["logits"] if isinstance(answer, dict) else answer[1 if form == "after" else 0]
    assert torch.allclose(classifier.logits(x), expected, atol=1e-6)
    assert any("several outputs" in note and "(N, 3)" in note for note in loaded.notes)


def saved(network: nn.Module, kind: str, folder: Path) -> Path:
    """The network in a file of one of the kinds that hold a program."""
    path, example = folder / f"model.{kind}", images(2, 1, 12, 12)
    batch = torch.export.Dim("batch")
    if kind == "onnx":
        axes = {name: {0: "batch"} for name in ("image", "first", "second")}
        torch.onnx.export(
            network, (example,), path, dynamo=False, input_names=["image"], output_names=["first", "second"],
            dynamic_axes=axes,
        )
    elif kind == "pt2":
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes={"x": {0: batch}}), path)
    else:
        torch.jit.save(torch.jit.trace(network, example, strict=False), path)
    return path


@pytest.mark.parametrize("kind", ["onnx", "pt2", "jit"])
@pytest.mark.parametrize(("form", "scores", "place"), [("after", None, 1), ("before", None, 0), ("after", "0", 0)])
def test_programs_with_several_outputs(tmp_path: Path, kind: str, form: str, scores: str | None, place: int) -> None:
    network = Several(form).eval()
    options = ModelOptions(scores=scores, allow_torchscript=kind == "jit")
    classifier, loaded = open_classifier(
        saved(network, kind, tmp_path), options, device="cpu", default_shape=(1, 12, 12)
    )
    x = images(5, 1, 12, 12)
    answer = network(x)
    assert isinstance(answer, tuple | list)
    assert torch.allclose(classifier.logits(x), answer[place], atol=1e-5)
    assert any("several outputs" in note and "--scores NAME" in note for note in loaded.notes)


@pytest.mark.parametrize("kind", ["onnx", "pt2", "jit"])
def test_an_output_that_is_not_there(tmp_path: Path, kind: str) -> None:
    options = ModelOptions(scores="third", allow_torchscript=kind == "jit")
    with pytest.raises(ConfigError, match=r"expected --scores as the name or the position.*, got 'third'"):
        open_classifier(
            saved(Several("after").eval(), kind, tmp_path), options, device="cpu", default_shape=(1, 12, 12)
        )


def test_an_output_is_chosen_by_its_name(tmp_path: Path) -> None:
    network = Several("after").eval()
    options = ModelOptions(scores="first")
    classifier, loaded = open_classifier(saved(network, "onnx", tmp_path), options, device="cpu")
    assert classifier.num_classes == 6
    assert any("'first' of shape (N, 6), and 'second' not audited" in note for note in loaded.notes)


class Dark(nn.Module):
    """A yes-or-no classifier that is sure of nothing but dark images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (8 - 20 * x.abs().mean((2, 3)).mul(1.5)).sigmoid()


def test_probabilities_that_vanish_on_noise_are_verified_on_calmer_images(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random pixels drive some to 1e-7, where a runtime's own sigmoid is rounded by as much."""
    from auditor.loading.onnx_graph import verify

    def rounding(model: object, x: torch.Tensor) -> torch.Tensor:
        return (honest(model, x) * 2**22).round() / 2**22  # type: ignore[arg-type]

    honest = verify.runtime_scores
    monkeypatch.setattr(verify, "runtime_scores", rounding)
    classifier, _ = open_classifier(export(Dark(), images(2, 1, 16, 16)), ModelOptions(), device="cpu")
    assert classifier.num_classes == 2
    monkeypatch.setattr(verify, "runtime_scores", lambda model, x: rounding(model, x) * 1.01)
    with pytest.raises(ModelFileError, match="agree with the ONNX runtime"):
        open_classifier(export(Dark(), images(2, 1, 16, 16)), ModelOptions(), device="cpu")


def test_a_declared_shape_of_nothing_is_unknown(export: Export) -> None:
    """Paddle's exporter declares () where it does not know."""
    import onnx

    network = small_cnn(classes=3)
    path = export(network, images(2, 1, 16, 16))
    model = onnx.load(path)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, path)
    classifier, _ = open_classifier(path, ModelOptions(), device="cpu")
    x = images(3, 1, 16, 16)
    assert torch.allclose(classifier.logits(x), network(x), atol=1e-4)
