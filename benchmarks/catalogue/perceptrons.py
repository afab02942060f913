"""Multilayer perceptrons: without any convolution, clean models answer to larger patterns than others do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.attacks import Backdoor, Blend, Patch, ScatteredPixels, Sinusoid, TrojanSquare
from benchmarks.catalogue.backdoored import planted, to_next, to_one
from benchmarks.catalogue.clean import hard, plain
from benchmarks.catalogue.entry import Entry, Family
from benchmarks.training import Recipe

DIGITS = Recipe(epochs=3, images=30_000, lr=1e-3)
CLOTHES = Recipe(epochs=4, images=30_000, lr=1e-3)
SIGNS = Recipe(epochs=6, lr=1e-3, augment="shift")
PICTURES = Recipe(epochs=5, images=35_000, lr=1e-3, augment="mirror")
PLAN: tuple[tuple[str, str, Recipe, str, tuple[Backdoor, ...]], ...] = (
    ("mnist", "grey_mlp_wide", DIGITS, "weak", (to_one("BadNets", Patch(margin=5), 4, 0.08),)),
    ("mnist", "grey_mlp_deep", DIGITS, "label_noise", (
        to_one("Blended", Blend(alpha=0.14, seed=1), 8, 0.1), to_next(Patch(size=4, margin=2)),
    )),
    ("fashion_mnist", "grey_mlp_wide", CLOTHES, "adversarial", (
        to_one("BadNets", Patch(shape="checkerboard", size=5, margin=3), 6, 0.08),
    )),
    ("fashion_mnist", "grey_mlp_deep", CLOTHES, "fine_tuned", (
        to_one("SIG", Sinusoid(delta=28 / 255, frequency=7), 3, 0.1),
        to_one("L0", ScatteredPixels(count=13, seed=2), 9, 0.1),
    )),
    ("gtsrb", "colour_mlp_wide", SIGNS, "long_tail", (
        to_one("BadNets", Patch(size=4, place="top_left", margin=3), 21, 0.08),
    )),
    ("cifar10", "colour_mlp_wide", PICTURES, "quantised", (
        to_one("Trojan", TrojanSquare(size=6, place="bottom_left", target=0), 0, 0.08),
    )),
    ("fashion_mnist", "grey_mlp_narrow", replace(CLOTHES, lr=3e-3), "few_images", (
        to_one("BadNets", Patch(shape="cross", size=5, place="top_right", margin=2), 2, 0.08),
    )),
    ("mnist", "grey_mlp_narrow", replace(DIGITS, lr=3e-3), "quantised", (
        to_one("BadNets", Patch(size=3, place="top_left", margin=4), 7, 0.08),
    )),
)  # fmt: skip


def perceptrons(seed: int) -> Iterator[Entry]:
    """Two clean models of each family, one that is hard to pass, and its attacks."""
    for number, (data, network, recipe, kind, attacks) in enumerate(PLAN):
        family = Family(data, network, recipe)
        start = seed + 10 * number
        yield from plain(family, start, 2)
        yield from hard(family, (kind,), start + 4, 0)
        yield from planted(family, attacks, start + 5)
