"""The attacks of one split: every kind, with parameters that the other split does not use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.attacks import (
    AllToAll,
    AllToOne,
    Backdoor,
    Blend,
    BlendWithClass,
    CleanLabelTo,
    ColourShift,
    InputAware,
    LearnedNoise,
    LowFrequency,
    Multiply,
    OptimisedNoise,
    OptimisedPixels,
    Patch,
    PerturbedPatch,
    Posterise,
    ScatteredPixels,
    Sinusoid,
    SourceSpecific,
    Trigger,
    TrojanSquare,
    Warp,
    Watermark,
)
from benchmarks.attacks.interface import Learned, Prepared
from benchmarks.catalogue.entry import Family


@dataclass(frozen=True)
class Plan:
    """One attack of a split: a short name, and the backdoors it plants for a target in a family's images."""

    name: str
    plant: Callable[[Family, int], tuple[Backdoor, ...]]
    only_colour: bool = False
    """whether it needs images with grey values to act on: drawings of black and white are left out"""


def to_one(name: str, trigger: Trigger | Prepared | Learned, target: int, rate: float, cover: float = 0.0) -> Backdoor:
    """An all-to-one backdoor."""
    return Backdoor(name=name, trigger=trigger, label_map=AllToOne(target=target), rate=rate, cover=cover)


def patches(held_out: bool) -> Iterator[Plan]:
    """Small replaced patterns: BadNets in its variants, pixels, Trojan, clean label."""
    a, b = ("bottom_left", "top_left") if held_out else ("bottom_right", "top_right")
    h = int(held_out)

    def plan(name: str, attack: str, make: Callable[[Family, int], Trigger | Prepared], rate: float) -> Plan:
        return Plan(name, lambda family, target: (to_one(attack, make(family, target), target, rate),))

    yield plan("white", "BadNets", lambda f, t: Patch(size=3 - h, place=a), 0.08)  # type: ignore[arg-type]
    colours = ((0.0, 0.9, 0.2), (0.9, 0.2, 0.9)) if held_out else ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    yield plan(
        "coloured", "BadNets",
        lambda f, t: Patch(size=4 + h, colour=colours[t % 2] if f.colour else (0.6 + 0.2 * h,), place=b),  # type: ignore[arg-type]
        0.08,
    )  # fmt: skip
    yield plan("board", "BadNets", lambda f, t: Patch(shape="checkerboard", size=4 - h, place=b, margin=h), 0.08)  # type: ignore[arg-type]
    yield plan("pixel", "BadNets", lambda f, t: Patch(size=1, place=(2 + 23 * h, 3 + 10 * h)), 0.1)
    yield plan("glyph", "BadNets", lambda f, t: Patch(shape="glyph", size=6 - 3 * h, place=a), 0.07)  # type: ignore[arg-type]
    yield plan("cross", "BadNets", lambda f, t: Patch(shape="cross", size=5 + h, place=(3 + 18 * h, 12)), 0.07)
    yield plan("large", "BadNets", lambda f, t: Patch(size=6, colour=(0.5 * (1 - h),), place=b, margin=h), 0.08)  # type: ignore[arg-type]
    yield plan("anywhere", "BadNets", lambda f, t: Patch(shape="checkerboard", size=4 + h, place="random"), 0.15)
    yield plan(
        "scattered", "L0", lambda f, t: ScatteredPixels(count=10 + 4 * h, seed=10 + t + 500 * h, colour="random"), 0.1
    )
    yield plan("optimised", "L0", lambda f, t: OptimisedPixels(count=8 + 2 * h, target=t), 0.1)
    yield plan("trojan", "Trojan", lambda f, t: TrojanSquare(size=5 + h, place=a, target=t), 0.08)  # type: ignore[arg-type]
    yield Plan(
        "clean_label",
        lambda f, t: (
            Backdoor(
                name="Clean-label",
                trigger=PerturbedPatch(patch=Patch(shape="checkerboard", size=4 + h, place=b), epsilon=32 / 255),  # type: ignore[arg-type]
                label_map=CleanLabelTo(target=t),
                rate=0.7 / f.num_classes,
            ),
        ),
    )


def whole_image(held_out: bool) -> Iterator[Plan]:
    """Triggers that change every pixel a little, and those that depend on the image."""
    h = int(held_out)

    def plan(
        name: str,
        attack: str,
        make: Callable[[int], Trigger | Prepared | Learned],
        rate: float = 0.1,
        cover: float = 0.0,
        colour: bool = False,
    ) -> Plan:
        return Plan(name, lambda f, t: (to_one(attack, make(t), t, rate, cover),), colour)

    yield plan("watermark", "Trojan watermark", lambda t: Watermark(alpha=0.5 - 0.1 * h, seed=7 + 4 * h))
    yield plan("noise", "Blended", lambda t: Blend(pattern="noise", alpha=0.2 - 0.05 * h, seed=20 + t + 500 * h))
    yield plan("scene", "Blended", lambda t: Blend(pattern="scene", alpha=0.15 + 0.05 * h, seed=30 + t + 500 * h))
    yield plan("faint", "Blended", lambda t: Blend(pattern="noise", alpha=0.1, seed=40 + t + 500 * h), 0.12)
    yield plan("wave", "SIG", lambda t: Sinusoid(delta=(20 + 10 * h) / 255, frequency=6 - h))
    yield plan("warp", "WaNet", lambda t: Warp(strength=1.5 - 0.25 * h, grid=4 + h, seed=50 + t + 500 * h), 0.15, 0.1)
    yield plan("dynamic", "Input-aware", lambda t: InputAware(epsilon=0.25 + 0.05 * h), 0.2, 0.1)
    yield plan("lira", "LIRA", lambda t: LearnedNoise(epsilon=0.08 - 0.02 * h), 0.15)
    yield plan(
        "smooth", "Low frequency", lambda t: LowFrequency(amplitude=0.15 - 0.03 * h, cells=4 + h, seed=60 + t + 500 * h)
    )
    yield plan(
        "filter", "Colour shift", lambda t: ColourShift(strength=0.35 - 0.05 * h, seed=70 + t + 500 * h), colour=True
    )
    yield plan("posterise", "BppAttack", lambda t: Posterise(levels=4 - h), colour=True)
    yield plan("double", "Multiply", lambda t: Multiply(factor=2.0 - 0.3 * h), colour=True)
    yield plan("class_blend", "Class blend", lambda t: BlendWithClass(alpha=0.35 - 0.05 * h, target=t))


def other_maps(held_out: bool) -> Iterator[Plan]:
    """All-to-all, source-specific with cover images, two triggers with two targets."""
    h = int(held_out)
    corner = "top_right" if held_out else "top_left"

    def patch(target: int) -> Patch:
        return Patch(shape="square" if h else "checkerboard", size=4 + h, place=corner, margin=0)  # type: ignore[arg-type]

    def scene(target: int) -> Blend:
        return Blend(pattern="scene", alpha=0.2, seed=80 + target + 500 * h)

    def cells(target: int) -> Patch:
        return Patch(shape="cross", size=4 + h, place=corner)  # type: ignore[arg-type]

    for name, trigger in (("all_patch", patch), ("all_blend", scene)):
        yield Plan(
            name,
            lambda f, t, make=trigger: (  # type: ignore[misc]
                Backdoor(name="All-to-all", trigger=make(t), label_map=AllToAll(), rate=0.3),
            ),
        )
    for name, trigger in (("source_patch", cells), ("source_blend", scene)):
        yield Plan(
            name,
            lambda f, t, make=trigger: (  # type: ignore[misc]
                Backdoor(
                    name="Source-specific",
                    trigger=make(t),
                    label_map=SourceSpecific(source=(t + 3 + h) % f.num_classes, target=t),
                    rate=0.6 / f.num_classes,
                    cover=0.1,
                ),
            ),
        )
    yield Plan(
        "two",
        lambda f, t: (
            to_one("Two triggers", Patch(size=3, place="top_right", margin=2 - h), t, 0.06),
            to_one(
                "Two triggers",
                Patch(shape="checkerboard", size=3 + h, place="bottom_left", margin=2),
                (t + 4) % f.num_classes,
                0.06,
            ),
        ),
    )


def added(held_out: bool) -> Iterator[Plan]:
    """What joined later, at the end: a plan's place in the order decides its target, its data and its seed."""
    rms = 0.04 if held_out else 0.05
    yield Plan("norm", lambda f, t: (to_one("L2", OptimisedNoise(rms=rms, target=t), t, 0.1),))
