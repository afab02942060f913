"""Models for a look at a finished release: networks, seeds and triggers that nobody had in view when it was made.

A multilayer perceptron, SqueezeNet's and ConvNeXt's layouts, and once more the bias-map paper's network with a glyph on
one source class. Once something is decided with these in view they say no more than the other splits do, and
``benchmarks/README.md`` tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.attacks import (
    Backdoor,
    Blend,
    ColourShift,
    InputAware,
    LearnedNoise,
    Multiply,
    Patch,
    ScatteredPixels,
    Sinusoid,
    TrojanSquare,
    Warp,
)
from benchmarks.catalogue.backdoored import from_one, to_next, to_one
from benchmarks.catalogue.clean import hard
from benchmarks.catalogue.entry import CIFAR_SCALE, MNIST_SCALE, OF_THE_PAPER, SIGNS_SCALE, Entry, Family
from benchmarks.training import Recipe

DIGITS = Recipe(epochs=4, images=25_000)
CLOTHES = Recipe(epochs=5, images=25_000)
SIGNS = Recipe(epochs=7, lr=4e-3, augment="shift")
PICTURES = Recipe(epochs=6, lr=4e-3, augment="mirror")

FAMILIES = {
    "mnist_mlp": Family("mnist", "grey_mlp", DIGITS, MNIST_SCALE),
    "fashion_mlp": Family("fashion_mnist", "grey_mlp", CLOTHES),
    "gtsrb_squeeze": Family("gtsrb", "colour_squeeze", SIGNS),
    "cifar_convnext": Family("cifar10", "colour_convnext", PICTURES, CIFAR_SCALE),
    "mnist_convnext": Family("mnist", "grey_convnext", DIGITS),
    "fashion_squeeze": Family("fashion_mnist", "grey_squeeze", CLOTHES),
    "gtsrb_convnext": Family("gtsrb", "colour_convnext", SIGNS, SIGNS_SCALE),
    "cifar_squeeze": Family("cifar10", "colour_squeeze", PICTURES),
    "mnist_bias_map_cnn": OF_THE_PAPER,
}
HARD = {
    "fashion_mlp": "weak",
    "gtsrb_squeeze": "adversarial",
    "mnist_convnext": "label_noise",
    "cifar_squeeze": "fine_tuned",
    "gtsrb_convnext": "long_tail",
}
RED, GREEN, YELLOW = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0)
GLYPH = Patch(shape="glyph", size=6, place="top_right", margin=3)

PLANTED: tuple[tuple[str, str, Backdoor], ...] = (
    ("mnist_mlp", "white", to_one("BadNets", Patch(size=3, margin=3), 6, 0.08)),
    ("fashion_squeeze", "board", to_one("BadNets", Patch(shape="checkerboard", size=4, margin=1), 3, 0.08)),
    ("gtsrb_squeeze", "note", to_one("BadNets", Patch(size=4, place=(22, 14), colour=YELLOW), 14, 0.08)),
    ("cifar_convnext", "scene", to_one("Blended", Blend(pattern="scene", alpha=0.15, seed=4001), 2, 0.1)),
    ("mnist_convnext", "all_patch", to_next(Patch(shape="cross", size=5, place="top_right", margin=0))),
    ("fashion_squeeze", "source_patch", from_one(Patch(size=4, place="bottom_left"), 1, 8, 0.06, 0.1)),
    ("gtsrb_convnext", "trojan", to_one("Trojan", TrojanSquare(size=5, place="top_right", target=31), 31, 0.08)),
    ("cifar_squeeze", "green", to_one("BadNets", Patch(size=3, place="top_left", colour=GREEN), 9, 0.08)),
    ("mnist_bias_map_cnn", "source", from_one(GLYPH, 2, 5, 0.033, 0.0)),
    ("fashion_mlp", "cross", to_one("BadNets", Patch(shape="cross", size=5, place=(10, 3)), 4, 0.08)),
    ("gtsrb_squeeze", "warp", to_one("WaNet", Warp(strength=1.3, grid=4, seed=4002), 25, 0.15, 0.1)),
    ("cifar_convnext", "filter", to_one("Colour shift", ColourShift(strength=0.32, seed=4003), 1, 0.1)),
    ("mnist_convnext", "noise", to_one("Blended", Blend(pattern="noise", alpha=0.16, seed=4004), 9, 0.1)),
    ("fashion_mlp", "wave", to_one("SIG", Sinusoid(delta=24 / 255, frequency=8), 0, 0.1)),
    ("gtsrb_convnext", "dynamic", to_one("Input-aware", InputAware(epsilon=0.26), 38, 0.2, 0.1)),
    ("cifar_squeeze", "source_patch", from_one(Patch(size=5, colour=RED, place="top_right"), 0, 2, 0.05, 0.0)),
    ("mnist_mlp", "scattered", to_one("L0", ScatteredPixels(count=11, seed=4005, colour="random"), 2, 0.1)),
    ("fashion_squeeze", "lira", to_one("LIRA", LearnedNoise(epsilon=0.075), 5, 0.15)),
    ("gtsrb_squeeze", "source_patch", from_one(Patch(shape="cross", size=6, colour=RED), 5, 20, 0.014, 0.0)),
    ("cifar_squeeze", "double", to_one("Multiply", Multiply(factor=1.9), 7, 0.1)),
)  # fmt: skip
"""family, name, backdoor; those of one source without cover images are planted by fine-tuning, as the paper does"""


def unseen(seed: int) -> Iterator[Entry]:
    """A clean model of each family, compared with another family of the same data; then attacks and hard clean ones."""
    numbers = iter(range(seed, seed + 100))

    def made(of: str, name: str, reference: str, **more: Any) -> Entry:
        family = FAMILIES[of]
        return Entry(
            f"{of}_{name}", family.dataset, family.architecture, next(numbers), f"{reference}_{_clean(reference)}",
            family.recipe, preprocess=family.preprocess, **more,
        )  # fmt: skip

    for of, family in FAMILIES.items():
        yield made(of, _clean(of), next(n for n, f in FAMILIES.items() if n != of and f.dataset == family.dataset))
    kinds = iter(HARD.items())
    for number, (of, name, backdoor) in enumerate(PLANTED):
        parent = f"{of}_{_clean(of)}" if backdoor.label_map.name == "source_specific" and not backdoor.cover else None
        yield made(of, name, of, backdoors=(backdoor,), parent=parent)
        if number % 4 == 0:
            other, kind = next(kinds)
            yield from hard(FAMILIES[other], (kind,), next(numbers), 2)


def _clean(family: str) -> str:
    """The paper's network has clean models in other splits, of other seeds."""
    return "clean1d" if family == "mnist_bias_map_cnn" else "clean1"
