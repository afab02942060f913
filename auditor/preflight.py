"""Is this model measurable? Asked before any detector runs: garbage in is the commonest cause of garbage verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.classifier import Classifier, Outputs
from auditor.errors import ModelMismatchError
from auditor.first_look import FirstLook, first_look, kind_of_outputs
from auditor.preparation import in_another_order

LOW_ACCURACY = 0.6
"""clean accuracy below which the preprocessing is doubted"""

TOO_SAME = 0.95
"""`FirstLook.sameness` from which a model is asked about nothing that it knows, unless labelled images say otherwise"""

NEAR_CHANCE = 0.25
"""how far from guessing to always right an accuracy must be before anything can be concluded: to a clean network for
signs that was right on 23 % and knew one class best, a pattern on 3 % of the pixels was as a trigger"""


@dataclass(frozen=True)
class Preflight:
    """What was found.

    ``blockers`` make every gradient-based verdict impossible, ``gaps`` only one that finds nothing; ``warnings`` are to
    be read.
    """

    outputs: Outputs
    warnings: tuple[str, ...]
    blockers: tuple[str, ...]
    clean_accuracy: float | None = None
    gaps: tuple[str, ...] = ()
    unsure: bool = False
    """whether no class impressions were reached, so that plain procedural images are searched on"""


def preflight(model: Classifier, images: Tensor, labels: Tensor | None = None, *, role: str = "model") -> Preflight:
    """Check a classifier on some images (N, C, H, W), set ``model.outputs`` to what its numbers are and
    ``model.temperature`` to what makes them of usual size.

    Raises `ModelMismatchError` for fewer than two classes or labels beyond the classes.
    """
    if model.num_classes < 2:
        raise ModelMismatchError(
            f"expected a {role} with at least 2 classes, got {model.num_classes} output(s); "
            "export the network with one score a class"
        )
    warnings: list[str] = []
    blockers: list[str] = []
    sample = images[:32].to(model.device)
    model.outputs = kind_of_outputs(model, sample)
    seen = first_look(model)
    model.temperature = seen.temperature
    warnings += _outputs_in_words(model, role)
    with torch.no_grad():
        first, second = model.logits(sample), model.logits(sample)
    if not torch.isfinite(first).all():
        blockers.append(f"the {role} gives NaN or infinity on ordinary images")
    elif not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        blockers.append(f"the {role} answers the same image differently twice (dropout or noise left on?)")
    elif model.fixed_batch is None:
        alone = torch.cat([_no_grad(model, sample[i : i + 1]) for i in range(min(4, len(sample)))])
        scale = float(first.abs().max())
        if not torch.allclose(alone, first[: len(alone)], rtol=1e-3, atol=1e-3 * max(scale, 1e-6)):
            warnings.append(f"the {role} answers an image differently depending on the others in its batch")
    blockers += _gradient_blockers(model, sample, role)
    answers = model.predict(images[:1000])
    accuracy = None
    if labels is None:
        if len(answers) >= 50 and len(answers.unique()) == 1:
            warnings.append(f"the {role} answers class {int(answers[0])} for every image; is its preprocessing right?")
        blockers += _untrained(seen, role)
    else:
        accuracy, doubts, hopeless = _right(model, answers, labels[:1000], role)
        warnings += doubts
        blockers += hopeless
    return Preflight(model.outputs, tuple(warnings), tuple(blockers), accuracy)


def _right(model: Classifier, answers: Tensor, labels: Tensor, role: str) -> tuple[float, list[str], list[str]]:
    """Clean accuracy, in whichever order the labels count the classes; warnings and blockers where it is low."""
    accuracy = _accuracy(model, answers, labels)
    if accuracy >= LOW_ACCURACY:
        return accuracy, [], []
    reordered = float(in_another_order(answers, labels).float().mean())
    if reordered >= LOW_ACCURACY:
        return reordered, [_in_another_order(accuracy, reordered, role)], []
    if _hardly_sees(accuracy, model.num_classes):
        return accuracy, [], [_near_chance(accuracy, model.num_classes, role)]
    return accuracy, [_in_doubt(accuracy, role)], []


def _outputs_in_words(model: Classifier, role: str) -> list[str]:
    """What was done to a model's numbers before they are used."""
    words = []
    if model.outputs != "logits":
        words.append(f"the {role} gives {model.outputs}, not logits; their logarithm was used instead")
    if model.temperature != 1:
        words.append(f"the {role}'s scores are of unusual size; they were divided by {model.temperature:.3g}")
    return words


def _untrained(seen: FirstLook, role: str) -> list[str]:
    """Nothing can be concluded of a network that knows nothing, and to such any pattern is a trigger."""
    if seen.untouched:
        return [f"the last layer of the {role} is as torch makes it, so it is untrained; give the trained model's file"]
    if seen.sameness < TOO_SAME:
        return []
    return [
        f"the {role} gives nearly the same scores to every picture ({seen.sameness:.1%} of what they vary by): it is "
        "untrained, or trained on other pixels (--preprocess, --mean, --std, --range, --layout); check that, or give "
        "labelled --images"
    ]


def _hardly_sees(accuracy: float, num_classes: int) -> bool:
    chance = 1 / num_classes
    return accuracy < chance + NEAR_CHANCE * (1 - chance)


def _near_chance(accuracy: float, num_classes: int, role: str) -> str:
    """Asked in a way that it was not trained for, a clean model looks suspicious and a backdoored one shows nothing."""
    return (
        f"the {role} is right on {accuracy:.0%} of the labelled images (guessing: {1 / num_classes:.0%}), too few to "
        "tell a trigger from what it answers in doubt; check its preprocessing (--preprocess, --mean, --std, --range, "
        "--layout) and the labels, or give images without labels"
    )


def _in_another_order(accuracy: float, reordered: float, role: str) -> str:
    return (
        f"the {role} is right on only {accuracy:.0%} of the labelled images, but on {reordered:.0%} if the labels "
        "count the classes in another order than the model (folders sorted as text, say); class numbers in this "
        "report are the model's"
    )


def _in_doubt(accuracy: float, role: str) -> str:
    return (
        f"the {role} is right on only {accuracy:.0%} of the labelled images; unless it is that weak, its preprocessing "
        "(--preprocess, --mean, --std, --range, --layout) or the class labels are not those of its training, and then "
        "this verdict means little"
    )


def _no_grad(model: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.logits(images)


def _gradient_blockers(model: Classifier, sample: Tensor, role: str) -> list[str]:
    if not model.differentiable:  # a black box: what needs gradients is left out, and says so
        return []
    x = sample[:8].clone().requires_grad_(True)
    try:
        logits = model.logits(x)
        top = logits.topk(2, dim=1).values
        (gradient,) = torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), x)
    except RuntimeError as error:
        return [f"the {role} gives no gradient with respect to its input ({str(error).splitlines()[0][:120]})"]
    if not torch.isfinite(gradient).all():
        return [f"the {role} gives NaN or infinite gradients"]
    if not (gradient.flatten(1).norm(dim=1) > 0).any():
        return [f"the {role} gives gradients of zero on ordinary images (quantised, or saturated by a softmax?)"]
    return []


def _accuracy(model: Classifier, answers: Tensor, labels: Tensor) -> float:
    if int(labels.max()) >= model.num_classes or int(labels.min()) < 0:
        raise ModelMismatchError(
            f"expected image labels 0 to {model.num_classes - 1} for a model of {model.num_classes} classes, got "
            f"{int(labels.min())} to {int(labels.max())}; give images of this model's classes"
        )
    return float((answers == labels).float().mean())


def check_pair(suspect: Classifier, reference: Classifier) -> None:
    """Raises `ModelMismatchError` unless the two take the same images and name as many classes."""
    if suspect.num_classes != reference.num_classes:
        raise ModelMismatchError(
            f"expected a reference with {suspect.num_classes} classes like the suspect, got {reference.num_classes}; "
            "choose a clean model of the same task"
        )
    if suspect.input_shape != reference.input_shape:
        ours, theirs = ("×".join(map(str, m.input_shape)) for m in (suspect, reference))
        raise ModelMismatchError(
            f"expected a reference for images of {ours} like the suspect, got {theirs}; choose a clean model of the "
            "same input size"
        )
