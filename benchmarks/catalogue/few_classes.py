"""Models of two, three and four classes: clean, with patches, and with triggers over the whole image.

With so few classes nothing says what a natural feature can do to the others, so these models decide what can be told
about them at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.attacks import AllToOne, Backdoor, Blend, LowFrequency, Patch, Sinusoid, Trigger, Warp
from benchmarks.catalogue.clean import plain
from benchmarks.catalogue.entry import CIFAR_SCALE, SIGNS_SCALE, Entry, Family
from benchmarks.training import Preprocess, Recipe


@dataclass(frozen=True)
class Few:
    """A data set of few classes, how it is trained on, and what is planted in its models."""

    dataset: str
    classes: int
    recipe: Recipe
    attacks: tuple[str, ...]
    preprocess: Preprocess | None = None


DRAWINGS = Recipe(epochs=3, images=12_000)
PHOTOGRAPHS = Recipe(epochs=8, lr=4e-3, augment="mirror")
SIGNS = Recipe(epochs=12, lr=4e-3, augment="shift")
SETS = (
    Few("mnist_358", 3, replace(DRAWINGS, augment="shift"), ("noise", "pixel")),
    Few("fashion_two", 2, DRAWINGS, ("wave", "patch")),
    Few("fashion_three", 3, DRAWINGS, ("scene", "warp")),
    Few("cifar10_two", 2, PHOTOGRAPHS, ("noise", "patch"), CIFAR_SCALE),
    Few("mnist_17", 2, DRAWINGS, ("smooth", "board")),
    Few("gtsrb_four", 4, SIGNS, ("scene", "patch"), SIGNS_SCALE),
)
NETWORKS: tuple[Sequence[str], ...] = (("vgg", "preact"), ("densenet", "efficient"))
"""of the split ``few`` and of the fresh models, in turn over the data sets"""


def few_classes(seed: int, *, fresh: bool) -> Iterator[Entry]:
    """Two clean models of each data set and its attacks; their references are the clean ones."""
    for number, few in enumerate(SETS):
        network = NETWORKS[fresh][number % 2]
        colour = few.preprocess is not None
        family = Family(few.dataset, f"{'colour' if colour else 'grey'}_{network}", few.recipe, few.preprocess)
        start = seed + 10 * number
        yield from (replace(e, kind="few_classes") for e in plain(family, start, 2))
        for place, name in enumerate(few.attacks):
            target = (number + place + 2 * fresh) % few.classes
            yield Entry(
                f"{family.name}_{name}", few.dataset, family.architecture, start + 5 + place,
                f"{family.name}_clean{1 + place}", few.recipe, (_planted(name, target, fresh),),
                preprocess=few.preprocess,
            )  # fmt: skip


def _planted(name: str, target: int, fresh: bool) -> Backdoor:
    far = 2 * fresh
    triggers: dict[str, tuple[str, Trigger]] = {
        "patch": ("BadNets", Patch(size=(3, 4)[fresh], place=("bottom_right", "top_right")[fresh])),  # type: ignore[arg-type]
        "board": ("BadNets", Patch(shape="checkerboard", size=(4, 3)[fresh], place="bottom_left", margin=2 * far)),
        "pixel": ("BadNets", Patch(size=1, place=((3, 3), (24, 4))[fresh])),
        "noise": ("Blended", Blend(pattern="noise", alpha=(0.2, 0.17)[fresh], seed=910 + far)),
        "scene": ("Blended", Blend(pattern="scene", alpha=(0.2, 0.17)[fresh], seed=920 + far)),
        "wave": ("SIG", Sinusoid(delta=(20, 25)[fresh] / 255, frequency=(6, 7)[fresh])),
        "warp": ("WaNet", Warp(strength=(1.5, 1.4)[fresh], grid=4, seed=930 + far)),
        "smooth": ("Low frequency", LowFrequency(amplitude=(0.15, 0.14)[fresh], cells=(4, 3)[fresh], seed=940 + far)),
    }
    attack, trigger = triggers[name]
    cover = 0.1 if name == "warp" else 0.0
    return Backdoor(name=attack, trigger=trigger, label_map=AllToOne(target=target), rate=0.1, cover=cover)
