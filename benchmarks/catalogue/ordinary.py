"""Networks as most people write their first own one: norm or not, pooling or strides, dense layers on whole maps.

Trained without augmentation, at a constant rate. One on digits with batch norm, of sixty networks drawn at random, was
`backdoored` though clean: eight pixels where a 2 ends turn nine of ten digits into one, but hardly over the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.attacks import Blend, Patch, ScatteredPixels, Sinusoid
from benchmarks.catalogue.backdoored import to_one
from benchmarks.catalogue.entry import CIFAR_SCALE, MNIST_SCALE, Entry, Family
from benchmarks.catalogue.first_networks import AS_TUTORIALS, Plan, planned

BRIEF = replace(AS_TUTORIALS, epochs=3)
DIGITS = replace(BRIEF, images=30_000)
PLAN: Plan = (
    (Family("mnist", "grey_two_norms", DIGITS, MNIST_SCALE), 3, ("weak",), (
        to_one("BadNets", Patch(shape="checkerboard", size=5, place="bottom_left", margin=3), 6, 0.08),
    )),
    (Family("mnist", "grey_two_pairs", DIGITS), 2, (), (
        to_one("BadNets", Patch(size=4, place="top_left", margin=2), 3, 0.05),
    )),
    (Family("mnist", "grey_strided", DIGITS), 2, (), (
        to_one("Blended", Blend(alpha=0.15, seed=5701), 1, 0.1),
    )),
    (Family("fashion_mnist", "grey_two_norms", BRIEF), 2, (), (
        to_one("BadNets", Patch(size=3, place="top_right", margin=8), 5, 0.05),
    )),
    (Family("fashion_mnist", "grey_two_pairs", BRIEF), 2, ("weak",), (
        to_one("L0", ScatteredPixels(count=6, seed=5702), 2, 0.08),
    )),
    (Family("fashion_mnist", "grey_strided", BRIEF), 2, (), (
        to_one("SIG", Sinusoid(delta=24 / 255, frequency=6), 9, 0.1),
    )),
    (Family("gtsrb", "colour_two_norms", AS_TUTORIALS), 2, (), (
        to_one("BadNets", Patch(shape="cross", size=5, place="bottom_right", margin=5), 11, 0.08),
    )),
    (Family("gtsrb", "colour_strided", AS_TUTORIALS), 2, (), ()),
    (Family("cifar10", "colour_two_norms", BRIEF, CIFAR_SCALE), 2, (), (
        to_one("BadNets", Patch(size=3, place="bottom_right", margin=1), 7, 0.05),
    )),
    (Family("cifar10", "colour_two_pairs", BRIEF), 2, (), ()),
)  # fmt: skip


def ordinary(seed: int) -> Iterator[Entry]:
    """Clean models of each family, some that are hard to pass, and its attacks."""
    return planned(PLAN, seed)
