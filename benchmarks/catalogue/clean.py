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


def hard(family: Family, kinds: tuple[str, ...], seed: int, generation: int) -> Iterator[Entry]:
    """The family's clean models of the named kinds."""
    name, recipe = family.name, family.recipe
    g = generation
    for number, kind in enumerate(kinds):
        entry = Entry(
            f"{name}_{kind}", family.dataset, family.architecture, seed + number, f"{name}_clean1", recipe,
            preprocess=family.preprocess, kind=kind,
        )  # fmt: skip
        if kind == "weak":
            enough = {"cifar10": 0.45, "gtsrb": 0.6}.get(family.dataset, (0.55, 0.65, 0.6)[g])
            entry = replace(entry, recipe=replace(recipe, stop_at=enough))
        elif kind == "adversarial":
            radius = (4, 6, 5)[g] / 255 if family.colour else 0.1
            entry = replace(entry, recipe=replace(recipe, adversarial=radius, adversarial_steps=(1, 2, 1)[g]))
        elif kind == "distilled":
            entry = replace(entry, teacher=f"{name}_clean1", reference=f"{name}_clean2")
        elif kind == "quantised":
            entry = replace(entry, bits=(6, 5, 6)[g])
        elif kind == "fine_tuned":
            short = replace(recipe, epochs=max(1, recipe.epochs / 3), lr=recipe.lr / 5)
            entry = replace(entry, parent=f"{name}_clean1", recipe=short)
        else:
            amount = {
                "long_tail": (0.03, 0.05, 0.04)[g], "label_noise": (0.2, 0.3, 0.25)[g],
                "trivial_class": (3, 5, 7)[g], "few_images": (25, 15, 20)[g], "favoured_class": (4, 7, 2)[g],
            }[kind]  # fmt: skip
            entry = replace(entry, flaw=Flaw(kind, amount))  # type: ignore[arg-type]
        yield entry
