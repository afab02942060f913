"""One model of the zoo, and the networks and recipes that the lists are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.attacks import Backdoor
from benchmarks.flaws import Flaw
from benchmarks.training import Preprocess, Recipe

Split = Literal["develop", "heldout", "fresh", "few", "photographs", "unseen", "copies", "kinds", "drawn"]
GENERATIONS: tuple[Split, ...] = ("develop", "heldout", "fresh")
"""in the order in which they were made: what a later one shows was not known when an earlier one was looked at"""

SPLITS: tuple[Split, ...] = (*GENERATIONS, "few", "photographs", "unseen", "copies", "kinds", "drawn")
"""``few`` are models of few classes on develop's networks: what can be told of such was decided with them, and neither
nulls nor weights are fitted to them, since most statistics do not tell there; ``photographs`` are CIFAR-10 networks
that were trained for long; ``unseen`` ones were trained for a finished release; ``copies`` are trained on from a clean
parent, which is their reference; ``kinds`` are networks of other kinds and images of other sizes than all of these;
``drawn`` are drawn at random"""


@dataclass(frozen=True)
class Entry:
    """One model to train.

    ``reference`` names the clean model of the same data that a scan may compare with. With ``parent``, training starts
    from that model's weights (fine-tuning), and the parent or another copy of it is the reference; with ``teacher`` its
    answers are learnt. ``kind`` says what is special about a clean model.
    """

    name: str
    dataset: str
    architecture: str
    seed: int
    reference: str
    recipe: Recipe
    backdoors: tuple[Backdoor, ...] = ()
    flaw: Flaw | None = None
    bits: int | None = None
    """weights are rounded to so many bits after training"""
    preprocess: Preprocess | None = None
    parent: str | None = None
    teacher: str | None = None
    kind: str = "clean"
    split: Split = "develop"

    @property
    def needed(self) -> tuple[str, ...]:
        """Models that must be trained before this one: parent, teacher, and what a trigger is prepared with."""
        prepared = self.reference if self.backdoors else None
        return tuple(name for name in (self.parent, self.teacher, prepared) if name)


@dataclass(frozen=True)
class Family:
    """What several models share: data, network, how they are trained."""

    dataset: str
    network: str
    recipe: Recipe
    preprocess: Preprocess | None = None

    @property
    def name(self) -> str:
        """e.g. ``gtsrb_vgg``"""
        data = self.dataset.replace("fashion_mnist", "fashion").replace("cifar10", "cifar")
        return f"{data}_{self.network.partition('_')[2]}"

    @property
    def architecture(self) -> str:
        """As ``--arch`` takes it."""
        return f"benchmarks.networks:{self.network}"

    @property
    def num_classes(self) -> int:
        """K of the whole data set."""
        return {"gtsrb": 43, "gtsrb_48": 43, "mnist_pairs": 100}.get(self.dataset, 10)

    @property
    def colour(self) -> bool:
        """Whether images have three channels."""
        return self.dataset.startswith(("gtsrb", "cifar10")) or self.dataset == "mnist_rgb"


#: Mean and standard deviation of the training images.
MNIST_SCALE = Preprocess((0.1307,), (0.3081,))
FASHION_SCALE = Preprocess((0.286,), (0.353,))
SIGNS_SCALE = Preprocess((0.34, 0.31, 0.32), (0.27, 0.26, 0.27))
CIFAR_SCALE = Preprocess((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))

#: Borji (2020): five epochs of Adam at 1e-3, for the clean network and for the fine-tuning; here on half the images.
OF_THE_PAPER = Family(
    "mnist", "grey_bias_map_cnn", Recipe(epochs=4, images=30_000, lr=1e-3, schedule="constant")
)
