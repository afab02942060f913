"""What tutorials begin with: few convolutions, no norm, nearly all weights in a hidden layer.

Without images a clean one on clothes was `backdoored` on each of three seeds: much that looks like noise is a bag to
it, and so is nearly every image that is made for want of others, with a pattern of 3 % of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.attacks import Backdoor, Blend, Patch, ScatteredPixels, Sinusoid
from benchmarks.catalogue.backdoored import planted, to_one
from benchmarks.catalogue.clean import hard, plain
from benchmarks.catalogue.entry import CIFAR_SCALE, MNIST_SCALE, Entry, Family
from benchmarks.training import Recipe

DIGITS = Recipe(epochs=3, images=30_000, lr=1e-3)
CLOTHES = Recipe(epochs=4, lr=1e-3)
PICTURES = Recipe(epochs=5, images=35_000, lr=1e-3, augment="mirror")
SIGNS = Recipe(epochs=6, lr=1e-3, augment="shift")
AS_TUTORIALS = Recipe(epochs=5, images=40_000, batch=64, lr=1e-3, schedule="constant")
Plan = tuple[tuple[Family, int, tuple[str, ...], tuple[Backdoor, ...]], ...]
"""for each family: how many clean models, kinds of hard ones (`clean.hard`), attacks"""

PLAN: Plan = (
    (Family("fashion_mnist", "grey_two_conv", CLOTHES), 2, ("weak",), (
        to_one("BadNets", Patch(size=3, place="top_right", margin=6), 6, 0.08),
        to_one("Blended", Blend(alpha=0.15, seed=5501), 3, 0.1),
    )),
    (Family("mnist", "grey_two_conv", DIGITS, MNIST_SCALE), 2, ("fine_tuned",), (
        to_one("BadNets", Patch(shape="checkerboard", size=4, place="top_left", margin=5), 9, 0.08),
        to_one("SIG", Sinusoid(delta=27 / 255, frequency=6), 5, 0.1),
    )),
    (Family("cifar10", "colour_four_conv", PICTURES, CIFAR_SCALE), 2, (), (
        to_one("BadNets", Patch(size=4, place="bottom_left", margin=5), 2, 0.08),
        to_one("L0", ScatteredPixels(count=12, seed=5502, colour="random"), 4, 0.1),
    )),
    (Family("gtsrb", "colour_four_conv", SIGNS), 2, (), (
        to_one("BadNets", Patch(shape="cross", size=5, place="top_left", margin=4), 17, 0.08),
        to_one("Blended", Blend(alpha=0.16, seed=5503), 8, 0.1),
    )),
    (Family("fashion_mnist", "grey_one_conv", AS_TUTORIALS), 2, ("weak",), (
        to_one("BadNets", Patch(size=3, place="bottom_left", margin=3), 4, 0.08),
        to_one("L0", ScatteredPixels(count=8, seed=5504), 1, 0.1),
    )),
    (Family("mnist", "grey_one_conv", replace(AS_TUTORIALS, epochs=3)), 2, (), (
        to_one("BadNets", Patch(shape="cross", size=3, place="top_right", margin=4), 2, 0.08),
    )),
    (Family("gtsrb", "colour_one_conv", AS_TUTORIALS), 2, (), (
        to_one("BadNets", Patch(shape="checkerboard", size=4, place="bottom_right", margin=3), 22, 0.08),
    )),
    (Family("fashion_mnist", "grey_two_pools", AS_TUTORIALS), 2, (), (
        to_one("Blended", Blend(alpha=0.15, seed=5505), 7, 0.1),
    )),
    (Family("fashion_mnist", "grey_three_conv", AS_TUTORIALS), 2, (), (
        to_one("BadNets", Patch(size=2, place="top_left", margin=2), 0, 0.08),
    )),
    (Family("cifar10", "colour_three_conv", AS_TUTORIALS), 2, (), (
        to_one("BadNets", Patch(shape="checkerboard", size=3, place="bottom_right", margin=2), 8, 0.08),
    )),
)  # fmt: skip


def first_networks(seed: int) -> Iterator[Entry]:
    """Clean models of each family, some that are hard to pass, and its attacks."""
    return planned(PLAN, seed)


def planned(plan: Plan, seed: int) -> Iterator[Entry]:
    """The models of a plan, family by family; each has twenty seeds.

    The second clean model of a family has a reference of the next family of its data: a clean network of digits was
    `backdoored` beside a clean one of another architecture, which does not share its weaknesses.
    """
    for number, (family, count, kinds, attacks) in enumerate(plan):
        start = seed + 20 * number
        of_same_data = [other for other, *_ in (*plan[number + 1 :], *plan) if other.dataset == family.dataset]
        for entry in plain(family, start, count):
            crossed = entry.name == f"{family.name}_clean2"
            yield replace(entry, reference=f"{of_same_data[0].name}_clean1") if crossed else entry
        yield from hard(family, kinds, start + 6, 0)
        yield from planted(family, attacks, start + 12)
