"""How large a network's logits are, so that what depends on it depends on the network no more.

Networks trained on pixels of 0 to 255, and heads that somebody scaled, give logits hundreds of times as large as
others do, and answer as they would without that. But their softmax is sure of everything: the pictures that are made
for want of images (`auditor.impressions`) then lie at the very border of their class, and give way to anything: the
model zoo's MNIST network was suspicious for that. And who multiplies a head shall not change what a search finds.
"""

from __future__ import annotations

import torch

from auditor.classifier import Classifier
from auditor.procedural import dead_leaves, enlarged, made_at, scenes

USUAL, LEAST, MOST = 1.5, 0.05, 20.0
"""median lead of the strongest class over the next on procedural pictures: of the models that the calibration was
learned from, and between what it lies of all but one of them. Only others are brought to the usual one: a slight
difference changes nothing that was measured"""

NOTHING = 1e-6
"""a lead that is none: of a network that answers everything alike"""

SCENES, LEAVES = 64, 32


@torch.no_grad()
def temperature_of(model: Classifier) -> float:
    """By what the logits of a model are to be divided to be of usual size; 1.0 where they are, and > 0.

    Asks the model as it is, whatever temperature it has. Costs `SCENES` + `LEAVES` forward passes.
    """
    small = made_at(model.input_shape)
    rng = torch.Generator().manual_seed(0)
    pictures = enlarged(torch.cat([scenes(SCENES, small, rng), dead_leaves(LEAVES, small, rng)]), model.input_shape)
    logits = torch.cat([model.logits(part.to(model.device)).cpu() for part in model.batches(pictures)])
    first, second = (logits * model.temperature).topk(2, 1).values.T
    lead = float((first - second).median())
    return 1.0 if LEAST <= lead <= MOST or not NOTHING < lead < float("inf") else lead / USUAL
