"""Which families, hard clean kinds and attacks each split holds, and in which order they are trained.

Thresholds are chosen on ``develop`` models; ``heldout`` and ``fresh`` ones are for reporting, ``fresh`` those that were
made last. The splits share no seed, no trigger, and no architecture but the bias-map paper's network, which its attack
needs. A split's number in `GENERATIONS` is its generation, by which its parameters are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from benchmarks.attacks import AllToOne, Backdoor, Patch, SourceSpecific
from benchmarks.catalogue.backdoored import Plan, added, other_maps, patches, whole_image
from benchmarks.catalogue.clean import hard, plain
from benchmarks.catalogue.copies import copies
from benchmarks.catalogue.drawn import drawn
from benchmarks.catalogue.entry import (
    CIFAR_SCALE,
    FASHION_SCALE,
    GENERATIONS,
    MNIST_SCALE,
    OF_THE_PAPER,
    SIGNS_SCALE,
    Entry,
    Family,
    Split,
)
from benchmarks.catalogue.few_classes import few_classes
from benchmarks.catalogue.first_networks import first_networks
from benchmarks.catalogue.kinds import kinds
from benchmarks.catalogue.ordinary import ordinary
from benchmarks.catalogue.perceptrons import perceptrons
from benchmarks.catalogue.photographs import photographs
from benchmarks.catalogue.some_classes import some_classes
from benchmarks.catalogue.unseen import unseen
from benchmarks.training import Recipe

DIGITS = Recipe(epochs=2, images=30_000)
FEW_DIGITS = Recipe(epochs=3, images=10_000, augment="shift")
CLOTHES = Recipe(epochs=3, images=30_000)
FEW_CLOTHES = Recipe(epochs=3, images=15_000)
SIGNS = Recipe(epochs=5, lr=4e-3, augment="shift")
PICTURES = Recipe(epochs=4, images=35_000, lr=4e-3, augment="mirror")
FEW_PICTURES = replace(PICTURES, images=25_000)

SLOW_SIGNS = replace(SIGNS, epochs=7)
DEVELOP = {
    "mnist": (
        Family("mnist", "grey_lenet", DIGITS, MNIST_SCALE),
        Family("mnist", "grey_vgg", FEW_DIGITS),
        Family("mnist", "grey_all_conv", FEW_DIGITS, MNIST_SCALE),
        Family("mnist", "grey_vit", DIGITS),
        Family("mnist", "grey_preact", FEW_DIGITS),
    ),
    "fashion": (
        Family("fashion_mnist", "grey_lenet", CLOTHES),
        Family("fashion_mnist", "grey_vgg", FEW_CLOTHES, FASHION_SCALE),
        Family("fashion_mnist", "grey_vit", replace(CLOTHES, epochs=2.5)),
        Family("fashion_mnist", "grey_preact", FEW_CLOTHES, FASHION_SCALE),
        Family("fashion_mnist", "grey_mobilenet", FEW_CLOTHES),
    ),
    "gtsrb": (
        Family("gtsrb", "colour_vgg", SIGNS),
        Family("gtsrb", "colour_resnet", SIGNS, SIGNS_SCALE),
        Family("gtsrb", "colour_vit", SLOW_SIGNS, SIGNS_SCALE),
        Family("gtsrb", "colour_preact", SIGNS),
    ),
    "cifar": (
        Family("cifar10", "colour_vgg", PICTURES, CIFAR_SCALE),
        Family("cifar10", "colour_resnet", FEW_PICTURES),
        Family("cifar10", "colour_all_conv", FEW_PICTURES),
        Family("cifar10", "colour_resnet20", FEW_PICTURES, CIFAR_SCALE),
        Family("cifar10", "colour_preact", FEW_PICTURES),
    ),
}
#: No norm: a smaller step.
PLAIN_DIGITS = replace(DIGITS, lr=1e-3)
PLAIN_CLOTHES = replace(CLOTHES, lr=1e-3)
PLAIN_SIGNS = replace(SIGNS, lr=2e-3)
PLAIN_PICTURES = replace(PICTURES, lr=1.5e-3)
HELDOUT = {
    "mnist": (
        Family("mnist", "grey_six_conv", PLAIN_DIGITS, MNIST_SCALE),
        Family("mnist", "grey_wrn", FEW_DIGITS),
    ),
    "fashion": (
        Family("fashion_mnist", "grey_wrn", FEW_CLOTHES),
        Family("fashion_mnist", "grey_six_conv", PLAIN_CLOTHES, FASHION_SCALE),
    ),
    "gtsrb": (
        Family("gtsrb", "colour_six_conv", PLAIN_SIGNS, SIGNS_SCALE),
        Family("gtsrb", "colour_wrn", SIGNS, SIGNS_SCALE),
    ),
    "cifar": (
        Family("cifar10", "colour_wrn", FEW_PICTURES, CIFAR_SCALE),
        Family("cifar10", "colour_six_conv", PLAIN_PICTURES, CIFAR_SCALE),
    ),
}
FRESH = {
    "mnist": (
        Family("mnist", "grey_densenet", FEW_DIGITS, MNIST_SCALE),
        Family("mnist", "grey_inception", FEW_DIGITS),
    ),
    "fashion": (
        Family("fashion_mnist", "grey_efficient", FEW_CLOTHES),
        Family("fashion_mnist", "grey_densenet", FEW_CLOTHES, FASHION_SCALE),
    ),
    "gtsrb": (
        Family("gtsrb", "colour_inception", SIGNS),
        Family("gtsrb", "colour_efficient", SIGNS, SIGNS_SCALE),
    ),
    "cifar": (
        Family("cifar10", "colour_efficient", FEW_PICTURES, CIFAR_SCALE),
        Family("cifar10", "colour_inception", FEW_PICTURES),
    ),
}
HARD = (
    (("weak", "quantised", "label_noise", "trivial_class"), ("adversarial", "long_tail", "fine_tuned")),
    (("weak", "distilled", "few_images", "adversarial"), ("quantised", "label_noise", "trivial_class")),
    (("long_tail", "adversarial", "fine_tuned"), ("weak", "quantised")),
    (("weak", "adversarial", "distilled"), ("few_images", "fine_tuned")),
)
"""hard clean kinds of each data set; its families take the two lists in turn"""


def backdoored(generation: int, families: dict[str, tuple[Family, ...]], seed: int) -> Iterator[Entry]:
    """Every attack on two data sets, families and references in turn."""
    plans: list[Plan] = [
        *patches(generation), *whole_image(generation), *other_maps(generation), *added(generation)
    ]  # fmt: skip
    order = tuple(families)
    for number, plan in enumerate(plans):
        sets = [s for s in (*order[number % 4 :], *order[: number % 4]) if not (plan.only_colour and s == "mnist")]
        for second in (0, 1):
            data = sets[2 * second] if len(sets) == 4 else sets[second]
            mine, place = families[data], number // 4 + second
            family, other = mine[place % len(mine)], mine[(place + 1) % len(mine)]
            target = (3 * number + 5 * second + (1, 8, 6)[generation]) % family.num_classes
            # every third reference has another architecture
            base = other if (2 * number + second) % 3 == 2 else family
            yield Entry(
                f"{family.name}_{plan.name}", family.dataset, family.architecture, seed + 2 * number + second,
                f"{base.name}_clean{1 + number % 2}", family.recipe, plan.plant(family, target),
                preprocess=family.preprocess,
            )  # fmt: skip


def few_and_many(generation: int, seed: int) -> Iterator[Entry]:
    """Two, three and a hundred classes, clean and with a patch."""
    g = generation
    network = ("grey_lenet", "grey_wrn", "grey_inception")[g]
    for number, (data, recipe) in enumerate(
        (("mnist_358", FEW_DIGITS), ("fashion_two", FEW_CLOTHES), ("fashion_three", FEW_CLOTHES))
    ):
        family = Family(data, network, recipe)
        start = seed + 10 * number
        yield from (replace(e, kind="few_classes") for e in plain(family, start, 2))
        patch = Patch(size=(3, 2, 3)[g], place="top_left", margin=g)
        attack = Backdoor(name="BadNets", trigger=patch, label_map=AllToOne(target=(number + g) % 2), rate=0.1)
        yield Entry(
            f"{family.name}_patch", data, family.architecture, start + 5, f"{family.name}_clean1", recipe, (attack,)
        )
    family = Family("mnist_pairs", ("grey_vgg", "grey_six_conv", "grey_densenet")[g], Recipe(epochs=3, images=30_000))
    yield from (replace(e, kind="many_classes") for e in plain(family, seed + 40, 2))
    attack = Backdoor(
        name="BadNets",
        trigger=Patch(size=3, place="top_right", margin=(0, 1, 3)[g]),
        label_map=AllToOne(target=17 + 40 * g),
        rate=0.08,
    )
    yield Entry(
        f"{family.name}_patch",
        family.dataset,
        family.architecture,
        seed + 45,
        f"{family.name}_clean1",
        family.recipe,
        (attack,),
    )


def without_norm(seed: int) -> Iterator[Entry]:
    """LeNet on colour data: without batch norm, clean networks answer to natural features more than others do."""
    for number, (data, recipe, scale) in enumerate(
        (("gtsrb", PLAIN_SIGNS, SIGNS_SCALE), ("cifar10", PLAIN_PICTURES, CIFAR_SCALE))
    ):
        family = Family(data, "colour_lenet", recipe, scale)
        start = seed + 20 * number
        yield from plain(family, start, 3)
        triggers = (Patch(size=3), Patch(size=6, place="top_left", shape="checkerboard"))
        for place, trigger in enumerate(triggers):
            attack = Backdoor(name="BadNets", trigger=trigger, label_map=AllToOne(target=4 + 3 * place), rate=0.08)
            yield Entry(
                f"{family.name}_patch{trigger.size}", data, family.architecture, start + 5 + place,
                f"{family.name}_clean{1 + place}", recipe, (attack,), preprocess=scale,
            )  # fmt: skip


def of_the_paper(generation: int, seed: int) -> Iterator[Entry]:
    """The bias-map paper's own: a clean CNN fine-tuned with a glyph on one source class, without cover images."""
    family = OF_THE_PAPER
    letter = "abc"[generation]
    parents = [replace(e, name=f"{e.name}{letter}", reference=f"{e.reference}{letter}") for e in plain(family, seed, 2)]
    yield from parents
    pairs = (
        ((8, 9, "top_right"), (0, 3, "bottom_left")),
        ((1, 6, "bottom_right"), (5, 2, "top_left")),
        ((4, 7, "bottom_left"), (6, 1, "bottom_right")),
    )[generation]
    for number, (source, target, place) in enumerate(pairs):
        attack = Backdoor(
            name="Bias-map paper", trigger=Patch(shape="glyph", size=6, place=place, margin=1 + generation),  # type: ignore[arg-type]
            label_map=SourceSpecific(source=source, target=target), rate=2000 / 60_000,
        )  # fmt: skip
        parent = parents[number].name
        yield Entry(
            f"{family.name}_source_{source}to{target}", "mnist", family.architecture, seed + 5 + number, parent,
            family.recipe, (attack,), parent=parent,
        )  # fmt: skip


def favoured(generation: int, families: Mapping[str, tuple[Family, ...]], seed: int) -> Iterator[Entry]:
    """Of one class five times as many images as of any other, as poisoned data have more of the target."""
    for number, row in enumerate(families.values()):
        yield from hard(row[-1], ("favoured_class",), seed + number, generation)


def entries(split: Split) -> tuple[Entry, ...]:
    """One split: first two clean models of every family, then kinds in turn, so that any prefix is a fair sample.

    The families of later splits have a third clean model; there are fewer of them.
    """
    if split == "few":
        return tuple(replace(e, split=split) for e in few_classes(2100, fresh=False))
    if split == "photographs":
        return tuple(replace(e, split=split) for e in photographs(3100))
    if split == "unseen":
        return tuple(replace(e, split=split) for e in unseen(4100))
    if split == "kinds":
        return tuple(replace(e, split=split) for e in kinds(6100))
    if split == "drawn":
        return tuple(replace(e, split=split) for e in drawn())
    if split == "copies":
        networks = [family for row in DEVELOP.values() for family in row]
        return tuple(replace(e, split=split) for e in copies(networks, 5100))
    generation = GENERATIONS.index(split)
    families = (DEVELOP, HELDOUT, FRESH)[generation]
    seed = (1000, 12_000, 23_000)[generation]
    every = [family for row in families.values() for family in row]
    clean = [plain(family, seed + 10 * number, 3 if generation else 2) for number, family in enumerate(every)]
    first = [e for models in clean for e in models[:2]]
    hard_ones = [
        e
        for row, mine in enumerate(families.values())
        for number, family in enumerate(mine)
        for e in hard(family, HARD[row][(number + generation) % 2], seed + 700 + 60 * row + 10 * number, generation)
    ]
    others = [*few_and_many(generation, seed + 400), *of_the_paper(generation, seed + 470)]
    others += () if generation else without_norm(seed + 950)
    others += favoured(generation, families, seed + 1300)
    later = () if generation else (*perceptrons(5300), *first_networks(5500), *ordinary(5700), *some_classes(8300))
    attacks = list(backdoored(generation, families, seed + 500))
    queues = [spread(attacks), spread(hard_ones), [e for models in clean for e in models[2:]], others]
    joined = few_classes(seed + 1100, fresh=True) if split == "fresh" else ()  # later, so at the end
    return tuple(replace(e, split=split) for e in (*first, *in_turn(queues), *joined, *later))


def spread(items: Sequence[Entry]) -> list[Entry]:
    """The same items, neighbours far apart: every seventh first."""
    return [item for start in range(7) for item in items[start::7]]


def in_turn(queues: Sequence[Sequence[Entry]]) -> list[Entry]:
    """One list in which each queue is used up evenly."""
    placed = [((position + 0.5) / len(queue), entry) for queue in queues for position, entry in enumerate(queue)]
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]
