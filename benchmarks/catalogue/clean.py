"""Clean models, plain ones and those that are hard to pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.catalogue.entry import Entry, Family
from benchmarks.flaws import Flaw


def plain(family: Family, seed: int, count: int) -> list[Entry]:
    """``count`` clean models of a family; the first is the others' reference, the second the first's."""
    name = family.name
    made = []
    for number in range(1, count + 1):
        augment = family.recipe.augment if number % 2 else "none" if family.recipe.augment == "shift" else "shift"
        made.append(
            Entry(
                f"{name}_clean{number}",
                family.dataset,
                family.architecture,
                seed + number,
                f"{name}_clean{2 if number == 1 else 1}",
                replace(family.recipe, augment=augment),  # type: ignore[arg-type]
                preprocess=family.preprocess,
            )
        )
    return made


def hard(family: Family, kinds: tuple[str, ...], seed: int, held_out: bool) -> Iterator[Entry]:
    """The family's clean models of the named kinds."""
    name, recipe = family.name, family.recipe
    h = int(held_out)
    for number, kind in enumerate(kinds):
        entry = Entry(
            f"{name}_{kind}", family.dataset, family.architecture, seed + number, f"{name}_clean1", recipe,
            preprocess=family.preprocess, kind=kind,
        )  # fmt: skip
        if kind == "weak":
            entry = replace(
                entry,
                recipe=replace(recipe, stop_at={"cifar10": 0.45, "gtsrb": 0.6}.get(family.dataset, 0.55 + 0.1 * h)),
            )
        elif kind == "adversarial":
            radius = (4 + 2 * h) / 255 if family.colour else 0.1
            entry = replace(entry, recipe=replace(recipe, adversarial=radius, adversarial_steps=1 + h))
        elif kind == "distilled":
            entry = replace(entry, teacher=f"{name}_clean1", reference=f"{name}_clean2")
        elif kind == "quantised":
            entry = replace(entry, bits=6 - h)
        elif kind == "fine_tuned":
            short = replace(recipe, epochs=max(1, recipe.epochs / 3), lr=recipe.lr / 5)
            entry = replace(entry, parent=f"{name}_clean1", recipe=short)
        else:
            amount = {
                "long_tail": 0.03 + 0.02 * h, "label_noise": 0.2 + 0.1 * h, "trivial_class": 3 + 2 * h,
                "few_images": 25 - 10 * h,
            }[kind]  # fmt: skip
            entry = replace(entry, flaw=Flaw(kind, amount))  # type: ignore[arg-type]
        yield entry
