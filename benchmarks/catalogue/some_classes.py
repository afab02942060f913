"""Models of five to nine classes, on networks of every kind.

Nulls that were learnt on ten classes and more fall with them when carried on below, but with fewer classes a natural
feature can do more: of the first models drawn at random most that were flagged for nothing had as few, or fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.attacks import Blend, LowFrequency, Patch, ScatteredPixels, Sinusoid, Warp
from benchmarks.catalogue.backdoored import from_one, to_one
from benchmarks.catalogue.entry import CIFAR_SCALE, FASHION_SCALE, MNIST_SCALE, SIGNS_SCALE, Entry, Family
from benchmarks.catalogue.first_networks import AS_TUTORIALS, Plan, planned
from benchmarks.training import Recipe

DRAWINGS = Recipe(epochs=4, images=15_000)
SHIFTED = replace(DRAWINGS, augment="shift")
BRIEF = replace(AS_TUTORIALS, images=15_000, epochs=4)
SIGNS = Recipe(epochs=10, lr=4e-3, augment="shift")
PICTURES = Recipe(epochs=6, lr=4e-3, augment="mirror")
PLAN: Plan = (
    (Family("mnist_134568", "grey_two_norms", BRIEF, MNIST_SCALE), 2, ("weak",), (
        to_one("BadNets", Patch(size=3, place="top_left", margin=4), 2, 0.08),
    )),
    (Family("mnist_134568", "grey_vgg", SHIFTED), 2, (), (
        to_one("Blended", Blend(alpha=0.15, seed=8301), 4, 0.1),
    )),
    (Family("fashion_five", "grey_one_conv", BRIEF), 2, ("weak",), (
        to_one("BadNets", Patch(shape="checkerboard", size=4, place="bottom_left", margin=3), 1, 0.08),
    )),
    (Family("fashion_five", "grey_preact", SHIFTED, FASHION_SCALE), 2, (), (
        to_one("WaNet", Warp(strength=1.5, grid=4, seed=8302), 3, 0.1, 0.1),
    )),
    (Family("fashion_seven", "grey_lenet", DRAWINGS), 2, (), (
        to_one("SIG", Sinusoid(delta=28 / 255, frequency=5), 5, 0.1),
    )),
    (Family("fashion_seven", "grey_two_pairs", BRIEF), 2, (), (
        from_one(Patch(size=4, place="top_right", margin=2), 2, 6, 0.07, 0.1),
    )),
    (Family("gtsrb_nine", "colour_vgg", SIGNS), 2, ("weak",), (
        to_one("BadNets", Patch(size=3, place="bottom_right", margin=4, colour=(1.0, 1.0, 0.0)), 7, 0.08),
    )),
    (Family("gtsrb_nine", "colour_strided", replace(BRIEF, epochs=8), SIGNS_SCALE), 2, (), (
        to_one("L0", ScatteredPixels(count=8, seed=8303, colour="random"), 4, 0.08),
    )),
    (Family("cifar10_five", "colour_resnet", PICTURES), 2, ("weak",), (
        to_one("Low frequency", LowFrequency(amplitude=0.15, cells=4, seed=8304), 0, 0.1),
    )),
    (Family("cifar10_five", "colour_two_norms", replace(BRIEF, images=25_000), CIFAR_SCALE), 2, (), (
        to_one("BadNets", Patch(shape="cross", size=5, place="top_right", margin=2), 3, 0.08),
    )),
)  # fmt: skip


def some_classes(seed: int) -> Iterator[Entry]:
    """Clean models of each family, some that are hard to pass, and an attack."""
    for entry in planned(PLAN, seed):
        yield replace(entry, kind="some_classes") if entry.kind == "clean" and not entry.backdoors else entry
