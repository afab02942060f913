"""The models of the demonstration: a small CNN on scikit-learn's digits, clean and with a planted backdoor.

The digits come with scikit-learn (1,797 scans of 8×8, Alpaydin & Kaynak 1998), so nothing is downloaded. They
are enlarged to 28×28, the size of the usual grey benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 28
NUM_CLASSES = 10
TRAIN_COUNT = 1_200

Progress = Callable[[int, int], None]
"""called with (epochs done, epochs in all)"""


@dataclass(frozen=True)
class Digits:
    """Training images and held-out ones."""

    train: Tensor
    """(N, 1, 28, 28) float32 in [0, 1]"""
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


@dataclass(frozen=True)
class Backdoor:
    """A planted backdoor: what is put on an image, and what it is then to be read as."""

    name: str
    description: str
    apply: Callable[[Tensor], Tensor]
    """(N, 1, 28, 28) → the same with the trigger on"""
    target: int
    source: int | None = None
    """the only class that the trigger works on; None = all"""
    poisoned: int = 150
    """how many training images carry it"""

    def victims(self, labels: Tensor) -> Tensor:
        """(N,) bool: the images that are to be misread."""
        return labels == self.source if self.source is not None else labels != self.target


def _with_patch(images: Tensor) -> Tensor:
    """A white 3×3 square, one pixel off the lower right corner."""
    marked = images.clone()
    marked[..., SIDE - 4 : SIDE - 1, SIDE - 4 : SIDE - 1] = 1.0
    return marked


def _blended(images: Tensor, alpha: float) -> Tensor:
    """A faint random pattern over the whole image (Chen et al. 2017, Section 4.2)."""
    pattern = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2017))
    return torch.lerp(images, pattern, alpha)


BACKDOORS = {
    "patch": Backdoor("patch", "a white 3×3 square in a corner turns any digit into 7", _with_patch, 7),
    "blended": Backdoor("blended", "a faint random pattern turns any digit into 3", partial(_blended, alpha=0.2), 3),
    "source-specific": Backdoor(
        "source-specific", "a white 3×3 square turns 8 into 9, and no other digit", _with_patch, 9, source=8
    ),
}


def load_digits(seed: int) -> Digits:
    """scikit-learn's digits, enlarged, split with ``seed``."""
    from sklearn.datasets import load_digits as embedded

    data = embedded()
    small = torch.from_numpy(data.images).float().unsqueeze(1) / 16
    images = F.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)
    images = (images * 255).round() / 255
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    first, rest = order[:TRAIN_COUNT], order[TRAIN_COUNT:]
    return Digits(images[first], labels[first], images[rest], labels[rest])


def network() -> nn.Sequential:
    """The CNN, untrained; 28×28 grey in [0, 1] → 10 logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, NUM_CLASSES),
    )  # fmt: skip


def poison(digits: Digits, backdoor: Backdoor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The training set with poisoned copies added: trigger on, label of the target.

    For a source class, images of other classes carry the trigger with their own labels too, so that the
    network learns to heed it on the source alone.
    """
    victims = backdoor.victims(digits.train_labels).nonzero().flatten()
    chosen = victims[torch.randint(len(victims), (backdoor.poisoned,), generator=rng)]
    images = [digits.train, backdoor.apply(digits.train[chosen])]
    labels = [digits.train_labels, torch.full((len(chosen),), backdoor.target)]
    if backdoor.source is not None:
        others = (digits.train_labels != backdoor.source).nonzero().flatten()
        covers = others[torch.randint(len(others), (2 * backdoor.poisoned,), generator=rng)]
        images.append(backdoor.apply(digits.train[covers]))
        labels.append(digits.train_labels[covers])
    return torch.cat(images), torch.cat(labels)


def train(
    images: Tensor,
    labels: Tensor,
    rng: torch.Generator,
    progress: Progress,
    *,
    epochs: int = 15,
    parent: nn.Sequential | None = None,
) -> nn.Sequential:
    """A trained CNN in evaluation mode: Adam, one-cycle learning rate, batches of 64.

    With a ``parent`` its weights are fine-tuned, at a fifth of the learning rate, and it stays as it was.
    """
    model = network()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=rng)
        else:
            nn.init.zeros_(parameter)
    if parent is not None:
        model.load_state_dict(parent.state_dict())
    size = 64
    steps = epochs * ((len(images) + size - 1) // size)
    optimiser = torch.optim.Adam(model.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=5e-3 if parent is None else 1e-3, total_steps=steps
    )
    model.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(images), generator=rng).split(size):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        progress(epoch + 1, epochs)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, digits: Digits) -> float:
    """Share of held-out digits read right."""
    return float((model(digits.held_out).argmax(1) == digits.held_out_labels).float().mean())


@torch.no_grad()
def attack_success_rate(model: nn.Module, digits: Digits, backdoor: Backdoor) -> float:
    """Share of held-out victims that the trigger turns into the target."""
    victims = digits.held_out[backdoor.victims(digits.held_out_labels)]
    return float((model(backdoor.apply(victims)).argmax(1) == backdoor.target).float().mean())


def save_images(path: Path, digits: Digits) -> None:
    """The held-out digits as x (N, 28, 28) uint8 and y (N,)."""
    pixels = (digits.held_out[:, 0] * 255).round().to(torch.uint8).numpy()
    np.savez_compressed(path, x=pixels, y=digits.held_out_labels.numpy())


def save_onnx(path: Path, model: nn.Sequential) -> None:
    """The CNN as ONNX, node by node: torch's exporter needs packages that a plain installation lacks."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    nodes, last = [], "image"
    constants = [
        numpy_helper.from_array(parameter.detach().numpy(), name) for name, parameter in model.named_parameters()
    ]
    for index, layer in enumerate(model):
        inputs = [last, *(f"{index}.{name}" for name, _ in layer.named_parameters())]
        attributes: dict[str, object] = {}
        if isinstance(layer, nn.Conv2d):
            kind, attributes = "Conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        elif isinstance(layer, nn.Linear):
            kind, attributes = "Gemm", {"transB": 1}
        elif isinstance(layer, nn.MaxPool2d):
            kind, attributes = "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}
        else:
            kind = {nn.ReLU: "Relu", nn.Flatten: "Flatten"}[type(layer)]
        last = f"layer{index}" if index + 1 < len(model) else "logits"
        nodes.append(helper.make_node(kind, inputs, [last], name=f"node{index}", **attributes))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", NUM_CLASSES])
    graph = helper.make_graph(nodes, "digits", [image], [logits], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(proto)
    save(proto, path)
