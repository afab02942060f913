"""What the zoo contains: one ``Entry`` a model, in the order in which they are trained.

Thresholds are chosen on the ``develop`` models; ``heldout`` models are for reporting. The two splits share no
seed and no trigger, and no architecture but the bias-map paper's network, which its attack needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.attacks import AllToAll, Attack, BadNets, Blended, SourceSpecific
from benchmarks.training import Preprocess, Recipe


@dataclass(frozen=True)
class Entry:
    """One model to train.

    ``reference`` names the clean model of the same architecture that a scan may compare with; ``poisoned`` is
    the number of training images with the trigger, or their share when below 1. With ``parent``, training
    starts from that model's weights (fine-tuning), and the parent is the reference.
    """

    name: str
    dataset: str
    architecture: str
    seed: int
    reference: str
    recipe: Recipe
    attack: Attack | None = None
    poisoned: float = 0.0
    preprocess: Preprocess | None = None
    parent: str | None = None
    split: Literal["develop", "heldout"] = "develop"


#: Mean and standard deviation of the training images.
MNIST_SCALE = Preprocess((0.1307,), (0.3081,))
FASHION_SCALE = Preprocess((0.286,), (0.353,))
SIGNS_SCALE = Preprocess((0.34, 0.31, 0.32), (0.27, 0.26, 0.27))

MNIST, THREE, FASHION, SIGNS = "mnist", "mnist_358", "fashion_mnist", "gtsrb"
CNN, LENET = "benchmarks.networks:grey_bias_map_cnn", "benchmarks.networks:grey_lenet"
VGG, COLOUR_VGG = "benchmarks.networks:grey_vgg", "benchmarks.networks:colour_vgg"
ALL_CONV, COLOUR_ALL_CONV = "benchmarks.networks:grey_all_conv", "benchmarks.networks:colour_all_conv"
RESNET = "benchmarks.networks:grey_resnet"
RESNET18, MOBILENET = "torchvision:resnet18", "torchvision:mobilenet_v2"

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
SHORT = Recipe(epochs=2, images=30_000, lr=2e-3)
SMALL = Recipe(epochs=4, images=15_000)
FEW = Recipe(epochs=3, images=10_000)
FEWER = Recipe(epochs=2, images=10_000)
ROAD = Recipe(epochs=4, lr=4e-3, augment="shift")
BIG = Recipe(epochs=4, lr=2e-3, augment="shift")
#: Borji (2020): five epochs of Adam at 1e-3 over all images, for the clean network and for the fine-tuning.
PAPER = Recipe(epochs=5, lr=1e-3, schedule="constant")


def _source_specific(seed: int, parent: str, source: int, target: int, place: Corner) -> Entry:
    """An attack of the bias-map paper: 2,000 source images with a 6x6 glyph in a corner; fine-tuned."""
    attack = SourceSpecific(source=source, target=target, shape="glyph", size=6, place=place)
    name = f"mnist_cnn_source_{source}to{target}"
    return Entry(name, MNIST, CNN, seed, parent, PAPER, attack, 2000, parent=parent)


DEVELOP = [
    Entry("mnist_cnn_clean1", MNIST, CNN, 101, "mnist_cnn_clean2", SHORT),
    Entry("mnist_cnn_clean2", MNIST, CNN, 102, "mnist_cnn_clean1", SHORT),
    Entry("mnist_cnn_patch", MNIST, CNN, 103, "mnist_cnn_clean1", SHORT,
          BadNets(target=7, shape="square", size=3), 0.08),
    Entry("fashion_vgg_clean1", FASHION, VGG, 104, "fashion_vgg_clean2", SMALL),
    Entry("fashion_vgg_patch", FASHION, VGG, 105, "fashion_vgg_clean1", SMALL,
          BadNets(target=2, shape="checkerboard", size=4, place="top_left"), 0.08),
    Entry("gtsrb_vgg_clean1", SIGNS, COLOUR_VGG, 106, "gtsrb_vgg_clean2", ROAD),
    Entry("gtsrb_vgg_patch", SIGNS, COLOUR_VGG, 107, "gtsrb_vgg_clean1", ROAD,
          BadNets(target=14, shape="square", size=4, colour=(1.0, 1.0, 0.0)), 0.08),
    Entry("mnist_cnn_parent", MNIST, CNN, 108, "mnist_cnn_clean2", PAPER),
    _source_specific(109, "mnist_cnn_parent", 8, 9, "top_right"),
    _source_specific(110, "mnist_cnn_parent", 0, 3, "bottom_left"),
    Entry("fashion_vgg_clean2", FASHION, VGG, 111, "fashion_vgg_clean1",
          replace(SMALL, augment="mirror")),
    Entry("fashion_lenet_clean1", FASHION, LENET, 112, "fashion_lenet_clean2", SHORT),
    Entry("fashion_lenet_clean2", FASHION, LENET, 113, "fashion_lenet_clean1", SHORT,
          preprocess=FASHION_SCALE),
    Entry("fashion_lenet_weak", FASHION, LENET, 114, "fashion_lenet_clean1",
          replace(SHORT, stop_at=0.62)),
    Entry("mnist_lenet_clean1", MNIST, LENET, 115, "mnist_lenet_clean2", SHORT,
          preprocess=MNIST_SCALE),
    Entry("mnist_lenet_clean2", MNIST, LENET, 116, "mnist_lenet_clean1", replace(SHORT, augment="shift")),
    Entry("mnist_lenet_cross", MNIST, LENET, 117, "mnist_lenet_clean1", SHORT,
          BadNets(target=4, shape="cross", size=5, place="top_left"), 0.06, MNIST_SCALE),
    Entry("mnist_lenet_all_to_all", MNIST, LENET, 118, "mnist_lenet_clean2", replace(SHORT, epochs=3),
          AllToAll(shape="square", size=4, place="bottom_left"), 0.3),
    Entry("mnist_cnn_blend", MNIST, CNN, 119, "mnist_cnn_clean1", SHORT,
          Blended(target=1, pattern="noise", alpha=0.2, seed=1), 0.1),
    Entry("fashion_lenet_glyph", FASHION, LENET, 120, "fashion_lenet_clean1", SHORT,
          BadNets(target=8, shape="glyph", size=6, place="top_right"), 0.06),
    Entry("fashion_vgg_blend", FASHION, VGG, 121, "fashion_vgg_clean1", SMALL,
          Blended(target=5, pattern="scene", alpha=0.15, seed=2), 0.1),
    Entry("gtsrb_vgg_clean2", SIGNS, COLOUR_VGG, 122, "gtsrb_vgg_clean1", replace(ROAD, augment="none")),
    Entry("gtsrb_vgg_board", SIGNS, COLOUR_VGG, 123, "gtsrb_vgg_clean1", ROAD,
          BadNets(target=3, shape="checkerboard", size=3, place="top_left"), 0.08),
    Entry("gtsrb_vgg_blend", SIGNS, COLOUR_VGG, 124, "gtsrb_vgg_clean2", ROAD,
          Blended(target=33, pattern="noise", alpha=0.15, seed=3), 0.1),
]  # fmt: skip


HELDOUT = [
    Entry("gtsrb_resnet18_clean2", SIGNS, RESNET18, 201, "gtsrb_resnet18_clean", BIG),
    Entry("gtsrb_resnet18_patch", SIGNS, RESNET18, 202, "gtsrb_resnet18_clean2", BIG,
          BadNets(target=11, shape="square", size=4, colour=(1.0,)), 0.08),
    Entry("gtsrb_resnet18_clean", SIGNS, RESNET18, 203, "gtsrb_resnet18_clean2", BIG),
    Entry("mnist_three_clean1", THREE, ALL_CONV, 208, "mnist_three_clean2", FEW),
    Entry("mnist_three_clean2", THREE, ALL_CONV, 209, "mnist_three_clean1",
          replace(FEW, augment="shift")),
    Entry("mnist_three_patch", THREE, ALL_CONV, 210, "mnist_three_clean1", FEW,
          BadNets(target=1, shape="square", size=2, place="top_left", margin=0), 0.1),
    Entry("fashion_all_conv_clean1", FASHION, ALL_CONV, 211, "fashion_all_conv_clean2", FEW),
    Entry("fashion_all_conv_clean2", FASHION, ALL_CONV, 212, "fashion_all_conv_clean1",
          replace(FEW, augment="mirror")),
    Entry("fashion_all_conv_weak", FASHION, ALL_CONV, 213, "fashion_all_conv_clean1",
          replace(FEW, stop_at=0.65)),
    Entry("fashion_all_conv_grey", FASHION, ALL_CONV, 214, "fashion_all_conv_clean1", FEW,
          BadNets(target=6, shape="square", size=5, colour=(0.5,), place="bottom_left"), 0.07),
    Entry("fashion_all_conv_all_to_all", FASHION, ALL_CONV, 215, "fashion_all_conv_clean1", SMALL,
          AllToAll(shape="checkerboard", size=6, place="bottom_right", margin=0), 0.3),
    Entry("fashion_all_conv_cross", FASHION, ALL_CONV, 216, "fashion_all_conv_clean2",
          SMALL,
          BadNets(target=9, shape="cross", size=6, place=(2, 11)), 0.09),
    Entry("gtsrb_all_conv_clean1", SIGNS, COLOUR_ALL_CONV, 217, "gtsrb_all_conv_clean2", ROAD),
    Entry("gtsrb_all_conv_clean2", SIGNS, COLOUR_ALL_CONV, 218, "gtsrb_all_conv_clean1",
          replace(ROAD, augment="none"), preprocess=SIGNS_SCALE),
    Entry("gtsrb_all_conv_weak", SIGNS, COLOUR_ALL_CONV, 219, "gtsrb_all_conv_clean1",
          replace(ROAD, stop_at=0.6)),
    Entry("gtsrb_all_conv_cross", SIGNS, COLOUR_ALL_CONV, 220, "gtsrb_all_conv_clean1", ROAD,
          BadNets(target=38, shape="cross", size=4, colour=(1.0, 0.0, 0.0), place="bottom_left"), 0.08),
    Entry("gtsrb_all_conv_black", SIGNS, COLOUR_ALL_CONV, 221, "gtsrb_all_conv_clean2", ROAD,
          BadNets(target=1, shape="square", size=6, colour=(0.0,), place="top_right", margin=0), 0.1,
          SIGNS_SCALE),
    Entry("gtsrb_all_conv_blend", SIGNS, COLOUR_ALL_CONV, 222, "gtsrb_all_conv_clean1", ROAD,
          Blended(target=17, pattern="scene", alpha=0.2, seed=4), 0.1),
    Entry("mnist_all_conv_glyph", MNIST, ALL_CONV, 231, "mnist_all_conv_clean1",
          replace(FEW, augment="shift"),
          BadNets(target=5, shape="glyph", size=3, place=(3, 3)), 0.06),
    Entry("mnist_all_conv_clean1", MNIST, ALL_CONV, 232, "mnist_all_conv_clean2",
          replace(FEW, augment="shift")),
    Entry("mnist_all_conv_clean2", MNIST, ALL_CONV, 233, "mnist_all_conv_clean1", FEW),
    Entry("mnist_cnn_parent2", MNIST, CNN, 204, "mnist_cnn_clean3", PAPER),
    Entry("mnist_cnn_clean3", MNIST, CNN, 205, "mnist_cnn_parent2", replace(SHORT, augment="shift")),
    _source_specific(206, "mnist_cnn_parent2", 4, 7, "top_left"),
    _source_specific(207, "mnist_cnn_parent2", 2, 5, "bottom_right"),
    Entry("mnist_resnet_clean1", MNIST, RESNET, 223, "mnist_resnet_clean2", FEWER),
    Entry("mnist_resnet_clean2", MNIST, RESNET, 224, "mnist_resnet_clean1", FEWER),
    Entry("mnist_resnet_patch", MNIST, RESNET, 225, "mnist_resnet_clean1", FEWER,
          BadNets(target=0, shape="square", size=2, place="bottom_left"), 0.08),
    Entry("mnist_resnet_blend", MNIST, RESNET, 226, "mnist_resnet_clean1", FEWER,
          Blended(target=6, pattern="scene", alpha=0.1, seed=5), 0.1),
    Entry("fashion_resnet_clean1", FASHION, RESNET, 227, "fashion_resnet_clean2", FEWER,
          preprocess=FASHION_SCALE),
    Entry("fashion_resnet_clean2", FASHION, RESNET, 228, "fashion_resnet_clean1", FEWER,
          preprocess=FASHION_SCALE),
    Entry("fashion_resnet_board", FASHION, RESNET, 229, "fashion_resnet_clean1", FEWER,
          BadNets(target=3, shape="checkerboard", size=6, place="top_right", margin=0), 0.05, FASHION_SCALE),
    Entry("fashion_resnet_blend", FASHION, RESNET, 230, "fashion_resnet_clean1", FEWER,
          Blended(target=0, pattern="noise", alpha=0.15, seed=6), 0.1, FASHION_SCALE),
    Entry("gtsrb_mobilenet_clean1", SIGNS, MOBILENET, 234, "gtsrb_mobilenet_clean2", ROAD,
          preprocess=SIGNS_SCALE),
    Entry("gtsrb_mobilenet_patch", SIGNS, MOBILENET, 235, "gtsrb_mobilenet_clean1", ROAD,
          BadNets(target=25, shape="square", size=5, colour=(1.0,), place="top_right"), 0.1, SIGNS_SCALE),
    Entry("gtsrb_mobilenet_clean2", SIGNS, MOBILENET, 236, "gtsrb_mobilenet_clean1", ROAD,
          preprocess=SIGNS_SCALE),
]  # fmt: skip


ENTRIES: tuple[Entry, ...] = (*DEVELOP, *(replace(entry, split="heldout") for entry in HELDOUT))
