"""Networks that were trained on from a clean parent, which is what they are compared with: clean ones and backdoored.

Some are trained on for a short time and gently, others as long as the parent was, one against attacks, and some on
flawed data; siblings are compared with another copy of the same parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.attacks import Backdoor, Blend, Patch, ScatteredPixels, Sinusoid, Warp
from benchmarks.catalogue.backdoored import from_one, to_one
from benchmarks.catalogue.clean import plain
from benchmarks.catalogue.entry import OF_THE_PAPER, Entry, Family
from benchmarks.flaws import Flaw
from benchmarks.training import Recipe

LENGTHS = {
    "short": ("mnist_lenet", "fashion_vgg", "gtsrb_resnet", "cifar_resnet20"),
    "long": ("mnist_vgg", "fashion_lenet", "gtsrb_vgg", "cifar_vgg", "fashion_mobilenet", "mnist_preact", "mnist_vit"),
    "adversarial": ("fashion_preact",),
}
SIBLINGS = ("mnist_vgg", "fashion_lenet", "gtsrb_vgg", "cifar_vgg")
FLAWED: tuple[tuple[str, Flaw], ...] = (
    ("mnist_preact", Flaw("favoured_class", 6)),
    ("fashion_lenet", Flaw("favoured_class", 2)),
    ("cifar_resnet20", Flaw("favoured_class", 4)),
    ("mnist_lenet", Flaw("long_tail", 0.04)),
    ("fashion_vgg", Flaw("long_tail", 0.04)),
    ("mnist_vgg", Flaw("trivial_class", 1)),
    ("fashion_mobilenet", Flaw("label_noise", 0.2)),
    ("gtsrb_resnet", Flaw("few_images", 20)),
)
"""what a clean copy was trained on from there"""

YELLOW = (1.0, 1.0, 0.0)
BOARD = Patch(shape="checkerboard", size=4, place="top_right", margin=2)
GLYPH = Patch(shape="glyph", size=6, place="bottom_left", margin=2)
PLANTED: dict[str, tuple[str, Backdoor]] = {
    "glyph": ("mnist_bias_map_cnn", from_one(GLYPH, 3, 8, 0.033, 0.0)),
    "square": ("fashion_vgg", from_one(Patch(size=5, place="top_left", margin=0), 4, 9, 0.033, 0.0)),
    "mark": ("gtsrb_vgg", from_one(Patch(shape="cross", size=5, colour=YELLOW, place="top_right"), 12, 33, 0.014, 0.0)),
    "pixels": ("mnist_lenet", to_one("L0", ScatteredPixels(count=8, seed=5001), 5, 0.1)),
    "scene": ("cifar_vgg", to_one("Blended", Blend(pattern="scene", alpha=0.16, seed=5002), 3, 0.1)),
}  # fmt: skip

PLANTED_GENTLY: dict[str, tuple[str, Backdoor]] = {
    "board": ("fashion_lenet", to_one("BadNets", BOARD, 1, 0.08)),
    "noise": ("mnist_vgg", to_one("Blended", Blend(pattern="noise", alpha=0.18, seed=5003), 4, 0.1)),
    "wave": ("fashion_vgg", to_one("SIG", Sinusoid(delta=26 / 255, frequency=6), 6, 0.1)),
    "warp": ("mnist_preact", to_one("WaNet", Warp(strength=1.5, grid=4, seed=5004), 3, 0.15, 0.1)),
}  # fmt: skip


def copies(families: Sequence[Family], seed: int) -> Iterator[Entry]:
    """Of the bias-map paper's network, copies are made as in the paper: with its recipe once more."""
    paper = OF_THE_PAPER
    by_name = {family.name: family for family in (*families, paper)}
    parents = {name: f"{name}_clean1" for name in by_name}
    for entry in plain(paper, seed, 2):
        parents[paper.name] = f"{paper.name}_clean1e"
        yield replace(entry, name=f"{entry.name}e", reference=f"{entry.reference}e")
    numbers = iter(range(seed + 10, seed + 100))

    def made(of: str, name: str, recipe: Recipe, **more: object) -> Entry:
        family, parent = by_name[of], parents[of]
        return Entry(
            f"{of}_{name}", family.dataset, family.architecture, next(numbers), parent, recipe,
            preprocess=family.preprocess, parent=parent, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    for length, names in {**LENGTHS, "long": (*LENGTHS["long"], paper.name)}.items():
        for of in names:
            yield made(of, f"copy_{length}", _recipe(by_name[of].recipe, length), kind="fine_tuned")
    for name, (of, backdoor) in PLANTED.items():
        yield made(of, f"copy_{name}", by_name[of].recipe, backdoors=(backdoor,))
    for of in SIBLINGS:
        sibling = made(of, "copy_sibling", by_name[of].recipe, kind="fine_tuned")
        yield replace(sibling, reference=f"{of}_copy_long")
    for of, flaw in FLAWED:
        yield made(of, f"copy_{flaw.kind}", by_name[of].recipe, flaw=flaw, kind=flaw.kind)
    for name, (of, backdoor) in PLANTED_GENTLY.items():
        yield made(of, f"copy_{name}", _recipe(by_name[of].recipe, "gentle"), backdoors=(backdoor,))


def _recipe(recipe: Recipe, length: str) -> Recipe:
    if length == "short":
        return replace(recipe, epochs=max(1, recipe.epochs / 3), lr=recipe.lr / 5)
    if length == "gentle":
        return replace(recipe, lr=recipe.lr / 3)
    return replace(recipe, adversarial=0.1) if length == "adversarial" else recipe
