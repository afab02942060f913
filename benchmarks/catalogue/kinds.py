"""Kinds of networks and sizes of images that no other split has: a look at a finished release, as ``unseen`` is.

Linear, recurrent and mixing networks, one with tanh, one that gives log probabilities, tokens, shuffled groups, no
batch norm; digits in colour, signs of 48 pixels, photographs of 64. Most are clean: what is asked first is whether a
kind that nobody had in view is a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.attacks import (
    Backdoor,
    Blend,
    InputAware,
    LowFrequency,
    Patch,
    Sinusoid,
    TrojanSquare,
    Warp,
)
from benchmarks.catalogue.backdoored import to_next, to_one
from benchmarks.catalogue.clean import hard
from benchmarks.catalogue.entry import CIFAR_SCALE, MNIST_SCALE, SIGNS_SCALE, Entry, Family
from benchmarks.catalogue.unseen import CLOTHES, DIGITS, PICTURES
from benchmarks.training import Recipe

SIGNS = Recipe(epochs=6, lr=4e-3, augment="shift")
FEWER_PICTURES = Recipe(epochs=4, images=30_000, lr=4e-3, augment="mirror")
LARGE_SIGNS = Recipe(epochs=5, images=25_000, lr=4e-3, augment="shift")

FAMILIES = tuple(
    Family(*row)
    for row in (
        ("mnist", "grey_linear", DIGITS),
        ("fashion_mnist", "grey_linear", CLOTHES),
        ("mnist", "grey_tanh_lenet", DIGITS, MNIST_SCALE),
        ("fashion_mnist", "grey_tanh_lenet", CLOTHES),
        ("mnist", "grey_tutorial", DIGITS, MNIST_SCALE),
        ("mnist", "grey_rows", DIGITS),
        ("fashion_mnist", "grey_rows", CLOTHES),
        ("fashion_mnist", "grey_mixer", CLOTHES),
        ("mnist", "grey_conv_mixer", DIGITS),
        ("fashion_mnist", "grey_compact_transformer", CLOTHES),
        ("fashion_mnist", "grey_group_norm", CLOTHES),
        ("gtsrb", "colour_shuffle", SIGNS),
        ("gtsrb", "colour_conv_mixer", SIGNS, SIGNS_SCALE),
        ("cifar10", "colour_compact_transformer", PICTURES, CIFAR_SCALE),
        ("cifar10", "colour_group_norm", FEWER_PICTURES),
        ("cifar10", "colour_mixer", FEWER_PICTURES),
        ("mnist_rgb", "colour_resnet20", DIGITS),
        ("mnist_rgb", "colour_lenet", DIGITS),
        ("gtsrb_48", "colour_inception", LARGE_SIGNS),
        ("gtsrb_48", "colour_densenet", LARGE_SIGNS),
        ("cifar10_64", "colour_densenet", FEWER_PICTURES),
        ("cifar10_64", "colour_convnext", FEWER_PICTURES),
    )
)  # fmt: skip
NAMED = {family.name: family for family in FAMILIES}
HARD = (
    ("fashion_linear", "label_noise"),
    ("fashion_rows", "weak"),
    ("mnist_tanh_lenet", "adversarial"),
    ("fashion_mixer", "long_tail"),
    ("gtsrb_shuffle", "few_images"),
    ("gtsrb_48_inception", "weak"),
    ("cifar_group_norm", "quantised"),
)
BLUE, RED = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
PLANTED: tuple[tuple[str, str, Backdoor], ...] = (
    ("mnist_linear", "patch", to_one("BadNets", Patch(size=5, margin=1), 3, 0.1)),
    ("mnist_tutorial", "board", to_one("BadNets", Patch(shape="checkerboard", size=3, margin=4), 5, 0.08)),
    ("mnist_rows", "cross", to_one("BadNets", Patch(shape="cross", size=5, place=(3, 20)), 8, 0.08)),
    ("fashion_tanh_lenet", "wave", to_one("SIG", Sinusoid(delta=26 / 255, frequency=5), 7, 0.1)),
    ("fashion_mixer", "patch", to_one("BadNets", Patch(size=4, place="top_left", margin=4), 1, 0.08)),
    ("fashion_compact_transformer", "noise", to_one("Blended", Blend(pattern="noise", alpha=0.15, seed=6001), 2, 0.1)),
    ("fashion_group_norm", "all_patch", to_next(Patch(shape="cross", size=4, place="bottom_left", margin=2))),
    ("gtsrb_shuffle", "blue", to_one("BadNets", Patch(size=4, place="top_right", margin=5, colour=BLUE), 22, 0.08)),
    ("gtsrb_conv_mixer", "dynamic", to_one("Input-aware", InputAware(epsilon=0.29), 10, 0.2, 0.1)),
    ("cifar_group_norm", "red", to_one("BadNets", Patch(size=3, place=(20, 5), colour=RED), 6, 0.08)),
    ("cifar_mixer", "trojan", to_one("Trojan", TrojanSquare(size=5, place="bottom_left", target=3), 3, 0.08)),
    ("mnist_rgb_resnet20", "blue", to_one("BadNets", Patch(size=3, margin=2, colour=BLUE), 0, 0.08)),
    ("gtsrb_48_inception", "board", to_one("BadNets", Patch(shape="checkerboard", size=6, margin=3), 17, 0.08)),
    ("gtsrb_48_densenet", "warp", to_one("WaNet", Warp(strength=1.5, grid=4, seed=6002), 34, 0.15, 0.1)),
    ("cifar_64_convnext", "patch", to_one("BadNets", Patch(size=6, place="top_left", margin=2), 4, 0.08)),
    ("cifar_64_densenet", "slow", to_one("Low frequency", LowFrequency(amplitude=0.15, seed=6003), 9, 0.1)),
)  # fmt: skip


def kinds(seed: int) -> Iterator[Entry]:
    """A clean model of each family, compared with another family of the same data; then hard ones and attacks."""
    numbers = iter(range(seed, seed + 100))

    def made(family: Family, name: str, reference: str, **more: Any) -> Entry:
        return Entry(
            f"{family.name}_{name}", family.dataset, family.architecture, next(numbers), reference, family.recipe,
            preprocess=family.preprocess, **more,
        )  # fmt: skip

    for family in FAMILIES:
        other = next(f for f in FAMILIES if f.dataset == family.dataset and f is not family)
        yield made(family, "clean1", f"{other.name}_clean1")
    for name, kind in HARD:
        yield from hard(NAMED[name], (kind,), next(numbers), 2)
    for name, short, backdoor in PLANTED:
        yield made(NAMED[name], short, f"{name}_clean1", backdoors=(backdoor,))
