"""What a model makes of procedural pictures: how large its logits are, and whether it tells pictures apart at all.

Networks trained on pixels of 0 to 255, and heads that somebody scaled, give logits hundreds of times as large as
others do, and answer as they would without that. But their softmax is sure of everything: the pictures that are made
for want of images (`auditor.impressions`) then lie at the very border of their class, and give way to anything: the
model zoo's MNIST network was suspicious for that. And who multiplies a head shall not change what a search finds.

An untrained network, or one that is given pixels of another range than it was trained on, gives nearly the same scores
to every picture. Any pattern then makes any difference: a verdict on it would be on nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.classifier import Classifier, Outputs
from auditor.procedural import dead_leaves, enlarged, made_at, scenes

USUAL, LEAST, MOST = 1.5, 0.05, 20.0
"""median lead of the strongest class over the next: of the models that the calibration was learned from, and between
what it lies of all but one of them. Only others are brought to the usual one: a slight difference changes nothing that
was measured"""

NOTHING = 1e-6
"""a lead that is none: of a network that answers everything alike"""

SCENES, LEAVES = 64, 32

FEWEST, FEWEST_OF_OTHERS, KS_AT_1_IN_1000 = 64, 2000, 1.95
"""weights from which the start of ``nn.Linear`` can be told, and from which others, which small trained heads resemble
by chance; and the critical distance times the root of their number"""


@dataclass(frozen=True)
class FirstLook:
    """What was seen."""

    temperature: float
    """by what the logits are to be divided to be of usual size; 1.0 where they are, and > 0"""
    sameness: float
    """the part, in [0, 1], of the logits' variance over the classes that is the same for every picture: of trained
    networks 0.86 at most, of untrained ones 0.99 in the median"""
    untouched: bool
    """whether the last layer is as torch makes it: of untrained networks"""


@torch.no_grad()
def first_look(model: Classifier) -> FirstLook:
    """Ask a model about `SCENES` + `LEAVES` procedural pictures, as it is, whatever temperature it has."""
    small = made_at(model.input_shape)
    rng = torch.Generator().manual_seed(0)
    pictures = enlarged(torch.cat([scenes(SCENES, small, rng), dead_leaves(LEAVES, small, rng)]), model.input_shape)
    logits = torch.cat([model.logits(part.to(model.device)).cpu() for part in model.batches(pictures)])
    logits = logits * model.temperature
    first, second = logits.topk(2, 1).values.T
    lead = float((first - second).median())
    usual = LEAST <= lead <= MOST or not NOTHING < lead < float("inf")
    centred = logits - logits.mean(1, keepdim=True)
    spread = float(centred.square().mean())
    same = float(centred.mean(0).square().mean()) / spread if spread > 0 else 1.0
    temperature = 1.0 if usual else lead / USUAL
    return FirstLook(temperature, same if same < float("inf") else 0.0, is_untouched(model.head()))


@torch.no_grad()
def kind_of_outputs(model: Classifier, images: Tensor) -> Outputs:
    """What a model's numbers on images (N, C, H, W) are. It is asked for them as they come, and left so."""
    model.outputs, model.temperature = "logits", 1.0
    raw = model.logits(images)
    if not torch.isfinite(raw).all() or raw.min() < 0 or raw.max() > 1 + 1e-5:
        return "logits"
    sums = raw.sum(1)
    if torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return "probabilities"
    return "sigmoids"


def is_untouched(head: Tensor | None) -> bool:
    """Whether weights (K, features) of a last layer are still uniform up to a bound that layers start with.

    ``nn.Linear`` starts with 1/√features, others with 1/√K or as Glorot and Bengio (2010) and He et al. (2015) have it.
    By the Kolmogorov-Smirnov distance, of 1 in 1,000 untouched ones exceeded, and the edge, which training blurs. Of
    starts from a normal distribution, which has none, trained ones cannot be told as surely.
    """
    if head is None or head.numel() < FEWEST:
        return False
    classes, features = head.shape
    sizes = head.abs().flatten().double().sort().values
    others = (1 / classes, 6 / features, 6 / (features + classes)) if head.numel() >= FEWEST_OF_OTHERS else ()
    return any(_is_uniform(sizes / bound**0.5) for bound in (1 / features, *others))


def _is_uniform(sizes: Tensor) -> bool:
    """Whether ascending numbers could be drawn evenly from 0 to 1, up to the edge."""
    count, largest = len(sizes), float(sizes[-1])
    ranks = torch.arange(1, count + 1) / count
    distance = max(float((ranks - sizes).abs().max()), float((sizes - ranks + 1 / count).abs().max()))
    return 1 - 8 / count <= largest <= 1 + 1e-5 and distance <= KS_AT_1_IN_1000 / count**0.5
