"""Models drawn at random: data, network, training and attack, as nobody chose them.

A look at a finished release. Whoever tunes something with them in view raises `NUMBERS` afterwards: further numbers
are further models, and those before stay as they are. 0 to 38 and 41 have been looked at, and some prompted rules.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.attacks import (
    Backdoor,
    Blend,
    ColourShift,
    InputAware,
    LowFrequency,
    Patch,
    ScatteredPixels,
    Sinusoid,
    Trigger,
    Warp,
    Watermark,
)
from benchmarks.catalogue.backdoored import from_one, to_next, to_one
from benchmarks.catalogue.entry import CIFAR_SCALE, FASHION_SCALE, MNIST_SCALE, SIGNS_SCALE, Entry
from benchmarks.flaws import Flaw
from benchmarks.training import Preprocess, Recipe

NUMBERS = range(48)
CLASSES = {
    "mnist": 10, "fashion_mnist": 10, "gtsrb": 43, "cifar10": 10, "fashion_six": 6, "gtsrb_eight": 8, "mnist_five": 5,
    "cifar10_four": 4, "fashion_three": 3,
}  # fmt: skip
ORDER = (
    "mnist", "fashion_mnist", "gtsrb", "cifar10", "fashion_six", "mnist", "gtsrb_eight", "fashion_mnist", "mnist_five",
    "gtsrb", "cifar10_four", "fashion_three",
)  # fmt: skip
"""the numbers' data, in turn"""

SCALES = {"mnist": MNIST_SCALE, "fashion": FASHION_SCALE, "gtsrb": SIGNS_SCALE, "cifar10": CIFAR_SCALE}
IMAGES = {"mnist": 25_000, "fashion": 25_000, "gtsrb": None, "cifar10": 30_000}
EPOCHS = {"mnist": (2, 3, 4), "fashion": (3, 4, 5), "gtsrb": (6, 8), "cifar10": (5, 7)}
PATCHES, WHOLE_IMAGE, MAPS = ("square", "square", "checkerboard", "cross", "scattered", "random"), (
    "noise", "scene", "wave", "warp", "smooth", "watermark", "tone", "dynamic",
), ("source", "next")  # fmt: skip
"""kinds of attack; half of the planted models have one of the first"""


def drawn() -> Iterator[Entry]:
    """Two models a number: one that is planted or, every fourth time, clean or hard to pass, and a clean one.

    The clean one is the other's reference; every third time it has another network. Its own is the clean one of the
    number before with the same data, of the first number that of the next: a clean network of another layout.
    """
    for number in NUMBERS:
        rng = random.Random(f"model {number}")
        data = ORDER[number % len(ORDER)]
        recipe, scale = _training(rng, data)
        special = _clean(rng, recipe) if rng.random() < 0.25 else {"backdoors": (_backdoor(rng, data),)}
        twin = rng.random() < 0.67
        alike = [n for n in NUMBERS if ORDER[n % len(ORDER)] == data]
        place = alike.index(number)
        other = alike[place - 1 if place else 1]
        shared = {"dataset": data, "recipe": recipe, "preprocess": scale}
        yield Entry(
            _name(number, "second"), architecture=_network(data, number if twin else 1000 + number), seed=7100 + number,
            reference=_name(other, "second"), **shared,
        )  # fmt: skip
        yield Entry(
            _name(number, "first"), architecture=_network(data, number), seed=7000 + number,
            reference=_name(number, "second"), **{**shared, **special},
        )  # fmt: skip


def _name(number: int, which: str) -> str:
    return f"drawn{number:03}_{ORDER[number % len(ORDER)]}_{which}"


def _network(data: str, number: int) -> str:
    return f"benchmarks.drawn_networks:{'colour' if data.startswith(('gtsrb', 'cifar')) else 'grey'}_{number}"


def _training(rng: random.Random, data: str) -> tuple[Recipe, Preprocess | None]:
    kind = data.partition("_")[0]
    few = CLASSES[data] < CLASSES.get(kind, 10)
    recipe = Recipe(
        epochs=rng.choice(EPOCHS[kind]) * (2 if few else 1),
        images=IMAGES[kind],
        batch=rng.choice((64, 128)),
        lr=rng.choice((1e-3, 2e-3)),
        schedule=rng.choice(("constant", "one_cycle")),  # type: ignore[arg-type]
        augment=rng.choice(("none", "none", "shift", "mirror" if kind in ("cifar10", "fashion") else "shift")),  # type: ignore[arg-type]
    )
    return recipe, SCALES[kind] if rng.random() < 0.5 else None


def _clean(rng: random.Random, recipe: Recipe) -> dict[str, Any]:
    """What is special about a clean model, if anything."""
    kind = rng.choice(("clean", "clean", "weak", "adversarial", "label_noise", "favoured_class"))
    if kind == "weak":
        return {"kind": kind, "recipe": replace(recipe, stop_at=0.6)}
    if kind == "adversarial":
        return {"kind": kind, "recipe": replace(recipe, adversarial=4 / 255)}
    if kind == "clean":
        return {}
    return {"kind": kind, "flaw": Flaw(kind, 0.2 if kind == "label_noise" else rng.randrange(3))}  # type: ignore[arg-type]


def _backdoor(rng: random.Random, data: str) -> Backdoor:
    classes = CLASSES[data]
    target, colour = rng.randrange(classes), data.startswith(("gtsrb", "cifar"))
    name = rng.choice(rng.choice((PATCHES, PATCHES, PATCHES, WHOLE_IMAGE, WHOLE_IMAGE, MAPS)))
    if name == "dynamic":
        return to_one("Input-aware", InputAware(epsilon=0.2), target, 0.15, 0.1)
    if name == "next":
        return to_next(_patch(rng, "checkerboard", colour))
    if name == "source":
        source = (target + rng.randrange(1, classes)) % classes
        return from_one(_patch(rng, "square", colour), source, target, min(0.1, 0.6 / classes), 0.1)
    attack, trigger = _trigger(rng, name, colour)
    return to_one(attack, trigger, target, rng.choice((0.05, 0.08, 0.1)), 0.1 if name == "warp" else 0.0)


def _patch(rng: random.Random, shape: str, colour: bool) -> Patch:
    paint = tuple(round(rng.random(), 2) for _ in range(3)) if colour and rng.random() < 0.5 else (1.0,)
    size = rng.choice((2, 3, 3, 4, 5))
    place = rng.choice(("bottom_right", "top_left", "top_right", "bottom_left", (rng.randrange(23), rng.randrange(23))))
    return Patch(shape=shape, size=size, colour=paint, place=place, margin=rng.randrange(4))  # type: ignore[arg-type]


def _trigger(rng: random.Random, name: str, colour: bool) -> tuple[str, Trigger]:
    seed = rng.randrange(10_000)
    if name in ("square", "checkerboard", "cross"):
        return "BadNets", _patch(rng, name, colour)
    if name == "random":
        return "BadNets", replace(_patch(rng, "square", colour), place="random")
    if name == "scattered":
        return "L0", ScatteredPixels(count=rng.randrange(5, 13), seed=seed, colour=rng.choice(("white", "random")))  # type: ignore[arg-type]
    if name in ("noise", "scene"):
        return "Blended", Blend(pattern=name, alpha=rng.choice((0.12, 0.15, 0.2)), seed=seed)  # type: ignore[arg-type]
    if name == "tone" and not colour:
        name = "smooth"
    made: dict[str, tuple[str, Trigger]] = {
        "wave": ("SIG", Sinusoid(delta=rng.randrange(18, 36) / 255, frequency=rng.randrange(3, 9))),
        "warp": ("WaNet", Warp(strength=rng.choice((1.0, 1.5)), grid=4, seed=seed)),
        "smooth": ("Low frequency", LowFrequency(amplitude=rng.choice((0.1, 0.15)), cells=4, seed=seed)),
        "watermark": ("Trojan", Watermark(alpha=rng.choice((0.3, 0.5)), seed=seed)),
        "tone": ("Colour shift", ColourShift(strength=rng.choice((0.3, 0.45)), seed=seed)),
    }
    return made[name]
