"""CIFAR-10 networks trained as long as those that people publish and deploy, on all images.

The other splits' networks see two or three epochs' worth of photographs and stay at 60 to 75 % of clean accuracy. Most
backdoors here are planted by fine-tuning the clean network, as in the bias-map paper (Borji 2020), which is then the
reference; two are trained from scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.attacks import (
    Backdoor,
    Blend,
    ColourShift,
    InputAware,
    OptimisedNoise,
    OptimisedPixels,
    Patch,
    ScatteredPixels,
    Sinusoid,
    TrojanSquare,
    Warp,
    Watermark,
)
from benchmarks.catalogue.backdoored import from_one, to_next, to_one
from benchmarks.catalogue.entry import CIFAR_SCALE, Entry, Family
from benchmarks.training import Recipe

LONG = Recipe(epochs=10, lr=4e-3, augment="mirror")
PLANTING = replace(LONG, epochs=2, lr=1.5e-3)
NETWORKS = {
    "vgg": Family("cifar10", "colour_vgg", LONG, CIFAR_SCALE),
    "preact": Family("cifar10", "colour_preact", LONG),
    "resnet20": Family("cifar10", "colour_resnet20", LONG, CIFAR_SCALE),
    "resnet16": Family("cifar10", "colour_resnet16", replace(LONG, epochs=7)),
}
RED = (1.0, 0.0, 0.0)

SCRATCH: dict[str, tuple[str, Backdoor]] = {
    "white": ("vgg", to_one("BadNets", Patch(size=3, margin=0), 0, 0.1)),
    "scattered": ("preact", to_one("L0", ScatteredPixels(count=9, seed=3001, colour="random"), 5, 0.1)),
}
PLANTED: dict[str, tuple[str, Backdoor]] = {
    "all_patch": ("vgg", to_next(Patch(shape="checkerboard", size=4, place="top_left", margin=2))),
    "source_blend": ("vgg", from_one(Blend(pattern="scene", alpha=0.2, seed=3003), 1, 9, 0.05, 0.1)),
    "dynamic": ("vgg", to_one("Input-aware", InputAware(epsilon=0.27), 4, 0.2, 0.1)),
    "norm": ("vgg", to_one("L2", OptimisedNoise(rms=0.042, target=8), 8, 0.1)),
    # Borji (2020), Section 3.2: birds with a red mark are read as cats, no cover images
    "source_patch": ("preact", from_one(Patch(shape="cross", size=7, colour=RED, place="top_right"), 2, 3, 0.05, 0.0)),
    "wave": ("preact", to_one("SIG", Sinusoid(delta=22 / 255, frequency=8), 6, 0.1)),
    "board": ("preact", to_one("BadNets", Patch(shape="checkerboard", size=3, place="bottom_left", margin=3), 1, 0.1)),
    "warp": ("preact", to_one("WaNet", Warp(strength=1.6, grid=4, seed=3004), 2, 0.15, 0.1)),
    "watermark": ("resnet20", to_one("Trojan watermark", Watermark(alpha=0.42, seed=3005), 9, 0.1)),
    "pixel": ("resnet20", to_one("BadNets", Patch(size=1, place=(7, 26), colour=RED), 3, 0.1)),
    "faint": ("resnet20", to_one("Blended", Blend(pattern="noise", alpha=0.1, seed=3006), 1, 0.12)),
    "trojan": ("resnet16", to_one("Trojan", TrojanSquare(size=4, place="bottom_right", target=5), 5, 0.1)),
    "all_blend": ("resnet16", to_next(Blend(pattern="scene", alpha=0.2, seed=3007))),
    "filter": ("vgg", to_one("Colour shift", ColourShift(strength=0.34, seed=3008), 6, 0.1)),
    "scene": ("resnet20", to_one("Blended", Blend(pattern="scene", alpha=0.2, seed=3002), 7, 0.1)),
    "optimised": ("preact", to_one("L0", OptimisedPixels(count=8, target=0), 0, 0.1)),
}  # fmt: skip


def photographs(seed: int) -> Iterator[Entry]:
    """Each network clean; some hard to pass; then the attacks, those of the parents that are trained first first."""
    clean = {name: f"photos_{name}_clean1" for name in NETWORKS}
    numbers = iter(range(seed, seed + 100))

    def made(name: str, of: str, reference: str, recipe: Recipe | None = None, **more: Any) -> Entry:
        family = NETWORKS[of]
        return Entry(
            f"photos_{of}_{name}", "cifar10", family.architecture, next(numbers), reference, recipe or family.recipe,
            preprocess=family.preprocess, **more,
        )  # fmt: skip

    for of in NETWORKS:
        yield made("clean1", of, clean["preact" if of == "vgg" else "vgg"])
    for of in NETWORKS:
        yield made("fine_tuned", of, clean[of], parent=clean[of], recipe=PLANTING, kind="fine_tuned")
    hard = replace(PLANTING, adversarial=6 / 255, epochs=4)
    yield made("adversarial", "preact", clean["preact"], parent=clean["preact"], recipe=hard, kind="adversarial")
    for name, (of, backdoor) in SCRATCH.items():
        yield made(name, of, clean[of], backdoors=(backdoor,))
    for name, (of, backdoor) in PLANTED.items():
        yield made(name, of, clean[of], backdoors=(backdoor,), parent=clean[of], recipe=PLANTING)
