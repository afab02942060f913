"""What a network's answers, and a trigger, withstand: transforms that take information away, and small attacks.

"What Do Adversarially Robust Models Look At?" (Itazuri et al., 2019): FGSM and PGD of Section 3.2 as in Table 1, and
the accuracy curves of Section 4.1, Figure 6 and Table 2. Trying a trigger under the same transforms is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.classifier import Classifier
from auditor.errors import ConfigError, ImagesError
from auditor.explain.salient_pattern import Track
from auditor.explain.transforms import BLUR, FAMILIES, MEDIAN, Detail, Family
from auditor.settings import Setting

PutOn = Callable[[Tensor], Tensor]
"""images (N, C, H, W) in [0, 1] → the same with the trigger on them"""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """How much is tried."""

    images: Annotated[int, Setting("images drawn, at most", low=1, high=1_000_000)] = 200
    epsilons: Annotated[
        tuple[float, ...], Setting("ℓ∞ radii ε of the attacks", low=1e-6, high=1, paper="0.005, 0.01")
    ] = (0.005, 2 / 255, 0.01, 8 / 255)
    pgd_steps: Annotated[int, Setting("steps of PGD; 0 leaves it out", low=0, high=10_000)] = 10


@dataclass(frozen=True)
class Response:
    """Answers under one family of transforms, one number a strength."""

    name: str
    unit: str
    """of the strengths"""
    strengths: tuple[float, ...]
    accuracy: tuple[float, ...]
    """share of the images answered with their label"""
    success: tuple[float, ...] | None = None
    """share of the other classes' images answered with the target, the trigger put on first; None without a trigger"""
    unprompted: tuple[float, ...] | None = None
    """the same share without the trigger: what the transform does by itself"""


@dataclass(frozen=True)
class Attacked:
    """Answers under one attack of one size."""

    name: str
    """``FGSM`` or ``PGD``"""
    epsilon: float
    """ℓ∞ radius, images in [0, 1]"""
    accuracy: float
    """robust accuracy: share of the images answered with their label before and after the attack"""


@dataclass(frozen=True)
class Profile:
    """What was withstood. Shares are of ``images``, those of a trigger of ``others``."""

    images: int
    accuracy: float
    """on the images as they are"""
    families: tuple[Response, ...]
    attacks: tuple[Attacked, ...]
    """empty for black boxes"""
    without_gradient: float | None = None
    """share of the images whose loss has a gradient of zero: of those the attacks say nothing; None for black boxes"""
    target: int | None = None
    others: int = 0
    """images of other classes than the target; 0 without a trigger"""
    success: float | None = None
    """share of ``others`` answered with the target with the trigger on, not transformed"""
    unprompted: float | None = None
    """the same share without the trigger"""

    def withstands(self, epsilon: float, attack: str = "PGD") -> float | None:
        """Share of the accuracy that an attack of this radius leaves, robust accuracy / accuracy, in [0, 1].

        This is how Table 1's "defense success rate" reads, which exceeds its top-1 accuracy. None where the attack was
        not tried at this radius or nothing was right to begin with.
        """
        for tried in self.attacks:
            if tried.name == attack and math.isclose(tried.epsilon, epsilon) and self.accuracy > 0:
                return tried.accuracy / self.accuracy
        return None

    @property
    def texture_or_shape(self) -> tuple[float, float]:
        """What repeated median filtering, and what Gaussian blur, leaves of the accuracy: (median, blur), 0 to about 1.

        Each is the mean height of the curve of Figure 6 (trapezoidal area / range of strengths), divided by the
        accuracy on images as they are; 0 where nothing was right to begin with. Median filtering removes texture and
        keeps silhouettes, blur softens every edge alike; so Section 4.1 takes a model that keeps more under the median
        than another model, and no more under blur, for one that goes by shape. Neither number is corrected for
        guessing, and one model alone shows little: compare with a reference on the same images and strengths.
        """
        curves = {response.name: response for response in self.families}
        median, blur = (mean_height(curves[f.name].strengths, curves[f.name].accuracy) for f in (MEDIAN, BLUR))
        return (median / self.accuracy, blur / self.accuracy) if self.accuracy > 0 else (0.0, 0.0)


def mean_height(strengths: Sequence[float], values: Sequence[float]) -> float:
    """Area under a piecewise linear curve over the range of its strengths, which ascend."""
    pieces = zip(strengths, strengths[1:], values, values[1:], strict=False)
    return sum((b - a) * (u + v) / 2 for a, b, u, v in pieces) / (strengths[-1] - strengths[0])


def fgsm(model: Classifier, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Eq. 3: images + ε · sign(∇ₓ L), clipped to [0, 1], L the cross-entropy with ``labels`` (N,).

    ``images`` (N, C, H, W) in [0, 1] → the same, on the processor. An image without a gradient stays as it is. Cost:
    one image pass each.
    """
    return (images.cpu() + epsilon * gradient_signs(model, images, labels)).clamp(0, 1)


def pgd(
    model: Classifier, images: Tensor, labels: Tensor, epsilon: float, steps: int, rng: torch.Generator | None = None
) -> Tensor:
    """Eq. 4: ``steps`` sign steps of α = 2.5·ε / steps (ε / 4 at ten steps), each projected onto the ℓ∞ ball of ε.

    ``images`` (N, C, H, W) in [0, 1] → the same, on the processor; they stay in [0, 1] throughout. It starts at a
    uniform point of the ball drawn from ``rng``, at the images themselves when None (one step is then `fgsm`). The
    paper states neither α nor the start: these are Madry et al.'s (ICLR 2018). Cost: ``steps`` image passes each.
    """
    start = images.cpu()
    low, high = (start - epsilon).clamp_min(0), (start + epsilon).clamp_max(1)
    moved = start
    if rng is not None:
        moved = (start + epsilon * (2 * torch.rand(start.shape, generator=rng) - 1)).clamp(low, high)
    for _ in range(steps):
        moved = (moved + 2.5 * epsilon / steps * gradient_signs(model, moved, labels)).clamp(low, high)
    return moved


def gradient_signs(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """sign(∇ₓ L) of the cross-entropy: (N, C, H, W) and (N,) → (N, C, H, W) of −1, 0 and 1, on the processor.

    0 where there is no finite gradient. Cost: one image pass each.
    """
    signs, size = [torch.zeros(0, *images.shape[1:])], model.batch_images
    for batch, wanted in zip(images.split(size), labels.split(size), strict=True):
        with torch.enable_grad():
            x = batch.detach().to(model.device).requires_grad_(True)
            # the sum, so that an image's gradient does not shrink with its batch
            loss = F.cross_entropy(model.logits(x), wanted.to(model.device), reduction="sum")
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, x, allow_unused=True, materialize_grads=True)
            signs.append(gradient.nan_to_num(0, 0, 0).sign().cpu())
        else:
            signs.append(torch.zeros(batch.shape))
    return torch.cat(signs)


def probe(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    plan: Probes,
    rng: torch.Generator,
    put_on: PutOn | None = None,
    target: int | None = None,
    detail: Detail = "standard",
    track: Track | None = None,
) -> Profile:
    """Accuracy under every transform of that detail and attack of the plan, and with ``put_on`` the trigger's success.

    ``images`` (N, C, H, W) in [0, 1], of which at most ``plan.images`` are drawn, and ``labels`` (N,). The labels may
    be the model's own answers: then every accuracy is agreement with those, and 1 on images as they are. Success is the
    share of images labelled other than ``target`` that are answered ``target`` when the trigger is put on before the
    transform. A trigger changes no other number: noise has a generator state of its own for each strength, and colours
    are reversed around the mean of the images without it. Black boxes are not attacked. Robust accuracy is an upper
    bound: it is what one attack by gradients did not find.

    Cost in image passes, n images drawn: n / 2 as they are and for each strength that changes anything (standard 19,
    full 42), as much again for the trigger on images of other classes; n · (2 + ``pgd_steps``) for each ε and n / 2.

    Raises `ImagesError` without images or with another number of labels, `ConfigError` for a trigger without a target.
    """
    if not len(images) or len(images) != len(labels):
        raise ImagesError(f"expected images with a label each to probe, got {len(images)} and {len(labels)} label(s)")
    if put_on is not None and target is None:
        raise ConfigError("expected the target class of the trigger to probe, got none; state it")
    drawn = torch.randperm(len(images), generator=rng)[: plan.images]
    images, labels = images.cpu()[drawn], labels.cpu()[drawn]
    wanted = -1 if target is None else target
    others = labels.ne(wanted).nonzero().flatten() if put_on is not None else labels[:0]
    triggered = put_on(images[others]) if put_on is not None and len(others) else None
    subject = _Subject(model, images, labels, images.mean((0, 2, 3)), wanted, others, triggered)
    untouched = _answers(subject, images, triggered)
    families = _responses(subject, untouched, detail, rng, track)
    attacks, blind = _attacks(model, images, labels, plan, rng, track) if model.differentiable else ((), None)
    return Profile(
        images=len(images),
        accuracy=untouched.accuracy,
        families=families,
        attacks=attacks,
        without_gradient=blind,
        target=target if put_on is not None else None,
        others=len(others),
        success=untouched.success,
        unprompted=untouched.unprompted,
    )


@dataclass(frozen=True)
class _Subject:
    model: Classifier
    images: Tensor
    labels: Tensor
    mean: Tensor
    target: int
    others: Tensor
    triggered: Tensor | None


@dataclass(frozen=True)
class _Point:
    accuracy: float
    success: float | None = None
    unprompted: float | None = None


def _answers(subject: _Subject, images: Tensor, triggered: Tensor | None) -> _Point:
    answers = subject.model.predict(images)
    accuracy = _share(answers.eq(subject.labels))
    if triggered is None:
        return _Point(accuracy)
    success = _share(subject.model.predict(triggered).eq(subject.target))
    return _Point(accuracy, success, _share(answers[subject.others].eq(subject.target)))


def _responses(
    subject: _Subject, untouched: _Point, detail: Detail, rng: torch.Generator, track: Track | None
) -> tuple[Response, ...]:
    tried = [(family, strength) for family in FAMILIES for strength in family.strengths(detail)]
    points: dict[str, list[_Point]] = {family.name: [] for family in FAMILIES}
    for i in _tracked(len(tried), "transforms", track):
        family, strength = tried[i]
        same = strength == family.identity
        points[family.name].append(untouched if same else _transformed(subject, family, strength, rng))
    return tuple(_response(family, family.strengths(detail), points[family.name]) for family in FAMILIES)


def _response(family: Family, strengths: tuple[float, ...], points: list[_Point]) -> Response:
    success = tuple(p.success for p in points if p.success is not None) or None
    unprompted = tuple(p.unprompted for p in points if p.unprompted is not None) or None
    return Response(family.name, family.unit, strengths, tuple(p.accuracy for p in points), success, unprompted)


def _transformed(subject: _Subject, family: Family, strength: float, rng: torch.Generator) -> _Point:
    own = rng.clone_state()
    images = family.apply(subject.images, strength, rng, subject.mean)
    if subject.triggered is None:
        return _answers(subject, images, None)
    return _answers(subject, images, family.apply(subject.triggered, strength, own, subject.mean))


def _attacks(
    model: Classifier, images: Tensor, labels: Tensor, plan: Probes, rng: torch.Generator, track: Track | None
) -> tuple[tuple[Attacked, ...], float | None]:
    """What each attack leaves, and the share of images without a gradient."""
    right = model.predict(images).eq(labels)
    found: list[Attacked] = []
    blind = None
    for i in _tracked(len(plan.epsilons), "attacks", track):
        epsilon = plan.epsilons[i]
        stepped = fgsm(model, images, labels, epsilon)
        if blind is None:
            blind = _share((stepped == images).flatten(1).all(1))
        moved = {"FGSM": stepped}
        if plan.pgd_steps:
            moved["PGD"] = pgd(model, images, labels, epsilon, plan.pgd_steps, rng)
        found += [Attacked(name, epsilon, _share(right & model.predict(x).eq(labels))) for name, x in moved.items()]
    return tuple(found), blind


def _tracked(count: int, label: str, track: Track | None) -> Iterable[int]:
    return range(count) if track is None else track(range(count), label)


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())
