"""What the model takes for the essence of a class: salient patterns, beside another class and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.classifier import Classifier
from auditor.exhibits import Picture
from auditor.explain.salient_pattern import (
    Salient,
    SalientPattern,
    as_picture,
    energy_inside,
    occluded,
    region_around,
    salient_pattern,
)
from auditor.explain.subject import TOO_FEW, Subject, picture
from auditor.explanations import Panel, Strip

SEEDS = {"standard": 2, "full": 3}
"""seed images of the class itself; what it is compared with gets one"""

FEWEST_IMAGES = 8


@dataclass(frozen=True)
class _Run:
    """One pattern to estimate."""

    name: str
    """e.g. ``suspect, class 3``"""
    model: Classifier
    target: int
    seed: int


def salient_panel(subject: Subject) -> Panel:
    """Salient patterns of the class from several seeds, of an inconspicuous class, and of the class on the reference.

    Numbers: the mean probability of the class that each reached; where the trigger has a place, the share of each
    pattern's energy there, and ``place``: the share of the image that the place is. Cost: that of `SalientPattern` a
    run, brought down to what the panel may take.
    """
    return _panel("salient pattern", subject, subject.place())


def region_panel(subject: Subject) -> Panel | None:
    """The same with the trigger's place covered in all images, so that the pattern is drawn there (Section 5.1).

    None where the trigger has no place of its own.
    """
    place = subject.place()
    return None if place is None else _panel("region", subject, place, covered=region_around(place))


def _panel(kind: str, subject: Subject, place: Tensor | None, covered: Tensor | None = None) -> Panel:
    runs = list(_runs(subject))
    plan: SalientPattern | None = subject.plan("salient_pattern").at(subject.model.input_shape)
    if subject.allowance is not None and plan is not None:
        plan = plan.affordable(subject.allowance // len(runs))
    if plan is None:
        return Panel(kind, note=TOO_FEW)  # type: ignore[arg-type]
    strips: dict[str, list[tuple[str, Salient]]] = {}
    for run in runs:
        found = _estimate(subject, run, plan, covered)
        if found is not None:
            strips.setdefault(run.name, []).append((f"seed {run.seed + 1}", found))
    numbers = {} if place is None else {"place": float(place.float().mean())}
    for name, patterns in strips.items():
        numbers[f"probability: {name}"] = sum(s.probability for _, s in patterns) / len(patterns)
        if place is not None:
            shares = [energy_inside(s.perturbation, place) for _, s in patterns]
            numbers[name] = sum(shares) / len(shares)
    shown = tuple(Strip(name, tuple(_shown(seed, s) for seed, s in of)) for name, of in strips.items())
    refined = all(s.refined for of in strips.values() for _, s in of)
    return Panel(kind, shown, numbers=numbers, note="" if refined else _why_raw(strips))  # type: ignore[arg-type]


def _shown(seed: str, found: Salient) -> Picture:
    return picture(f"{seed}: probability {found.probability:.2f}", as_picture(found.perturbation))


def _why_raw(strips: dict[str, list[tuple[str, Salient]]]) -> str:
    if not strips:
        return "there were too few images of other classes"
    return "some patterns were not refined: the class's probability was not reached in time, or the network has no maps"


def _runs(subject: Subject) -> Iterator[_Run]:
    for seed in range(SEEDS[subject.detail]):
        yield _Run(f"suspect, class {subject.target}", subject.model, subject.target, seed)
    if subject.compared is not None:
        yield _Run(f"suspect, class {subject.compared}, for comparison", subject.model, subject.compared, 0)
    if subject.ctx.reference is not None:
        yield _Run(f"reference, class {subject.target}", subject.ctx.reference, subject.target, 0)


def victims(answers: Tensor, target: int, sources: Sequence[int], fewest: int = FEWEST_IMAGES) -> Tensor:
    """(N,) answers → (N,) of True for the images that are moved: not of the class itself, so that the pattern is the
    model's (Section 5.1), and of the source classes where there are any, unless those have fewer than ``fewest``.
    """
    others = answers != target
    of_sources = others & torch.isin(answers, torch.tensor(sources, dtype=answers.dtype))
    return of_sources if int(of_sources.sum()) >= fewest else others


def _estimate(subject: Subject, run: _Run, plan: SalientPattern, covered: Tensor | None) -> Salient | None:
    sources = subject.trigger.source_classes if subject.trigger is not None else ()
    images = subject.ctx.images
    others = images.held_out[victims(images.held_out_classes, run.target, sources)]
    if len(others) < FEWEST_IMAGES:
        return None
    generator = torch.Generator().manual_seed(1000 * run.target + run.seed)
    seed = int(torch.randint(len(others), (1,), generator=generator))
    rest = torch.cat([others[:seed], others[seed + 1 :]])
    first = others[seed]
    if covered is not None:
        both = occluded(torch.cat([first[None], rest]), covered)
        first, rest = both[0], both[1:]
    return salient_pattern(run.model, first, rest, run.target, plan, generator, subject.track)
