"""The attacks of one generation: every kind, with parameters that the other generations do not use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from benchmarks.catalogue.entry import Entry, Family


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


def to_next(trigger: Trigger) -> Backdoor:
    """An all-to-all backdoor."""
    return Backdoor(name="All-to-all", trigger=trigger, label_map=AllToAll(), rate=0.3)


def from_one(trigger: Trigger, source: int, target: int, rate: float, cover: float) -> Backdoor:
    """A backdoor of one source class."""
    only = SourceSpecific(source=source, target=target)
    return Backdoor(name="Source-specific", trigger=trigger, label_map=only, rate=rate, cover=cover)


def patches(generation: int) -> Iterator[Plan]:
    """Small replaced patterns: BadNets in its variants, pixels, Trojan, clean label."""
    g = generation
    a, b = (("bottom_right", "top_right"), ("bottom_left", "top_left"), ("top_left", "bottom_left"))[g]

    def plan(name: str, attack: str, make: Callable[[Family, int], Trigger | Prepared], rate: float) -> Plan:
        return Plan(name, lambda family, target: (to_one(attack, make(family, target), target, rate),))

    yield plan("white", "BadNets", lambda f, t: Patch(size=(3, 2, 4)[g], place=a), 0.08)  # type: ignore[arg-type]
    colours = (
        ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0)), ((0.0, 0.9, 0.2), (0.9, 0.2, 0.9)), ((0.1, 0.3, 1.0), (0.0, 1.0, 1.0)),
    )[g]  # fmt: skip
    greys = (0.6, 0.8, 0.7)
    yield plan(
        "coloured", "BadNets",
        lambda f, t: Patch(size=(4, 5, 3)[g], colour=colours[t % 2] if f.colour else (greys[g],), place=b),  # type: ignore[arg-type]
        0.08,
    )  # fmt: skip
    margin = (0, 1, 2)[g]
    yield plan(
        "board", "BadNets",
        lambda f, t: Patch(shape="checkerboard", size=(4, 3, 5)[g], place=b, margin=margin),  # type: ignore[arg-type]
        0.08,
    )  # fmt: skip
    yield plan("pixel", "BadNets", lambda f, t: Patch(size=1, place=((2, 3), (25, 13), (4, 24))[g]), 0.1)
    yield plan("glyph", "BadNets", lambda f, t: Patch(shape="glyph", size=(6, 3, 6)[g], place=a), 0.07)  # type: ignore[arg-type]
    yield plan(
        "cross", "BadNets",
        lambda f, t: Patch(shape="cross", size=(5, 6, 4)[g], place=((3, 12), (21, 12), (12, 2))[g]), 0.07,
    )  # fmt: skip
    yield plan(
        "large", "BadNets",
        lambda f, t: Patch(size=(6, 6, 5)[g], colour=((0.5,), (0.0,), (1.0,))[g], place=b, margin=margin),  # type: ignore[arg-type]
        0.08,
    )  # fmt: skip
    yield plan(
        "anywhere", "BadNets", lambda f, t: Patch(shape="checkerboard", size=(4, 5, 3)[g], place="random"), 0.15
    )
    yield plan(
        "scattered", "L0",
        lambda f, t: ScatteredPixels(count=(10, 14, 12)[g], seed=10 + t + 500 * g, colour="random"), 0.1,
    )  # fmt: skip
    yield plan("optimised", "L0", lambda f, t: OptimisedPixels(count=(8, 10, 9)[g], target=t), 0.1)
    yield plan("trojan", "Trojan", lambda f, t: TrojanSquare(size=(5, 6, 4)[g], place=a, target=t), 0.08)  # type: ignore[arg-type]
    yield Plan(
        "clean_label",
        lambda f, t: (
            Backdoor(
                name="Clean-label",
                trigger=PerturbedPatch(
                    patch=Patch(shape="checkerboard", size=(4, 5, 4)[g], place=b),  # type: ignore[arg-type]
                    epsilon=32 / 255,
                ),
                label_map=CleanLabelTo(target=t),
                rate=0.7 / f.num_classes,
            ),
        ),
    )


def whole_image(generation: int) -> Iterator[Plan]:
    """Triggers that change every pixel a little, and those that depend on the image."""
    g = generation
    far = 500 * g

    def plan(
        name: str,
        attack: str,
        make: Callable[[int], Trigger | Prepared | Learned],
        rate: float = 0.1,
        cover: float = 0.0,
        colour: bool = False,
    ) -> Plan:
        return Plan(name, lambda f, t: (to_one(attack, make(t), t, rate, cover),), colour)

    yield plan("watermark", "Trojan watermark", lambda t: Watermark(alpha=(0.5, 0.4, 0.45)[g], seed=7 + 4 * g))
    yield plan("noise", "Blended", lambda t: Blend(pattern="noise", alpha=(0.2, 0.15, 0.18)[g], seed=20 + t + far))
    yield plan("scene", "Blended", lambda t: Blend(pattern="scene", alpha=(0.15, 0.2, 0.18)[g], seed=30 + t + far))
    yield plan("faint", "Blended", lambda t: Blend(pattern="noise", alpha=0.1, seed=40 + t + far), 0.12)
    yield plan("wave", "SIG", lambda t: Sinusoid(delta=(20, 30, 25)[g] / 255, frequency=(6, 5, 7)[g]))
    warps = ((1.5, 4), (1.25, 5), (1.4, 4))[g]
    yield plan("warp", "WaNet", lambda t: Warp(strength=warps[0], grid=warps[1], seed=50 + t + far), 0.15, 0.1)
    yield plan("dynamic", "Input-aware", lambda t: InputAware(epsilon=(0.25, 0.3, 0.28)[g]), 0.2, 0.1)
    yield plan("lira", "LIRA", lambda t: LearnedNoise(epsilon=(0.08, 0.06, 0.07)[g]), 0.15)
    smooth = ((0.15, 4), (0.12, 5), (0.14, 3))[g]
    yield plan(
        "smooth", "Low frequency", lambda t: LowFrequency(amplitude=smooth[0], cells=smooth[1], seed=60 + t + far)
    )
    yield plan(
        "filter", "Colour shift", lambda t: ColourShift(strength=(0.35, 0.3, 0.33)[g], seed=70 + t + far), colour=True
    )
    yield plan("posterise", "BppAttack", lambda t: Posterise(levels=(4, 3, 5)[g]), colour=True)
    yield plan("double", "Multiply", lambda t: Multiply(factor=(2.0, 1.7, 1.8)[g]), colour=True)
    yield plan("class_blend", "Class blend", lambda t: BlendWithClass(alpha=(0.35, 0.3, 0.33)[g], target=t))


def other_maps(generation: int) -> Iterator[Plan]:
    """All-to-all, source-specific with cover images, two triggers with two targets."""
    g = generation
    corner = ("top_left", "top_right", "bottom_right")[g]
    size = (4, 5, 4)[g]

    def patch(target: int) -> Patch:
        return Patch(shape=("checkerboard", "square", "cross")[g], size=size, place=corner, margin=0)  # type: ignore[arg-type]

    def scene(target: int) -> Blend:
        return Blend(pattern="scene", alpha=0.2, seed=80 + target + 500 * g)

    def cells(target: int) -> Patch:
        return Patch(shape=("cross", "cross", "square")[g], size=size, place=corner)  # type: ignore[arg-type]

    for name, trigger in (("all_patch", patch), ("all_blend", scene)):
        yield Plan(
            name,
            lambda f, t, make=trigger: (to_next(make(t)),),  # type: ignore[misc]
        )
    for name, trigger in (("source_patch", cells), ("source_blend", scene)):
        yield Plan(
            name,
            lambda f, t, make=trigger: (  # type: ignore[misc]
                from_one(make(t), (t + 3 + g) % f.num_classes, t, rate=0.6 / f.num_classes, cover=0.1),
            ),
        )
    yield Plan(
        "two",
        lambda f, t: (
            to_one("Two triggers", Patch(size=3, place="top_right", margin=(2, 1, 4)[g]), t, 0.06),
            to_one(
                "Two triggers",
                Patch(shape="checkerboard", size=(3, 4, 5)[g], place="bottom_left", margin=2),
                (t + 4) % f.num_classes,
                0.06,
            ),
        ),
    )


def added(generation: int) -> Iterator[Plan]:
    """What joined later, at the end: a plan's place in the order decides its target, its data and its seed."""
    rms = (0.05, 0.04, 0.045)[generation]
    yield Plan("norm", lambda f, t: (to_one("L2", OptimisedNoise(rms=rms, target=t), t, 0.1),))


def planted(family: Family, attacks: Sequence[Backdoor], seed: int) -> Iterator[Entry]:
    """A model of the family for each attack, named after it; the references are its clean ones in turn."""
    for place, attack in enumerate(attacks):
        name = attack.name.lower().replace("-", "_").replace(" ", "_")
        yield Entry(
            f"{family.name}_{name}", family.dataset, family.architecture,
            seed + place, f"{family.name}_clean{1 + place}", family.recipe, (attack,), preprocess=family.preprocess,
        )  # fmt: skip
