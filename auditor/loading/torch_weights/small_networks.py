"""Networks for small images, put together by the names and shapes of their weights.

torchvision has none of the networks that CIFAR-10 and its like are trained on; their code is copied from project to
project, and with it the names. Residual networks: ResNet-20 to 110 (He et al., 2016a, section 4.2; shortcuts padded
with zeros or projected), ResNet-18 to 152 with a 3×3 stem and pre-activation ones (2016b), WideResNet (Zagoruyko and
Komodakis, 2016). VGG (Simonyan and Zisserman, 2015) with batch norm and a single linear layer. Depth, width, kind of
block and of shortcut are read off the shapes; whatever has a tensor more or less is something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

StateDict = dict[str, Tensor]

_STAGE = re.compile(r"(layer\d+|block\d+\.layer)\.(\d+)\.conv1\.weight")
_HEADS = ("linear", "fc")
_SHORTCUTS = ("shortcut.0", "downsample.0", "convShortcut")
_COUNTER = "num_batches_tracked"

SIDE = 32
"""of the images that these networks are made for"""

TORCHVISION_STAGES = 4
"""stages of a network with torchvision's names, of which nothing tells whether a pool follows its stem"""


def recognise_small(state: StateDict) -> tuple[str, nn.Module] | None:
    """Such a network with its weights, and what it is called; None where the names or shapes are another's."""
    if not all(tensor.numel() for tensor in state.values()):
        return None
    try:
        with torch.device("meta"):  # shapes are the file's: nothing is made of them before they fit
            found = _residual(state) or _vgg(state)
            if found is not None:
                found[1](torch.empty(2, _channels(state), SIDE, SIDE))
    except (KeyError, ValueError, IndexError, RuntimeError):  # what they all have is missing, or does not fit together
        return None
    if found is None:
        return None
    name, network = found
    expected = network.state_dict()
    complete = {key: torch.zeros((), dtype=torch.long) for key in expected if key.endswith(_COUNTER)} | state
    if {key: tensor.shape for key, tensor in complete.items()} != {key: t.shape for key, t in expected.items()}:
        return None
    network = network.to_empty(device="cpu")
    network.load_state_dict(complete, strict=True)
    return name, network


@dataclass(frozen=True)
class _Shape:
    """What one block of a residual network is made of."""

    channels: tuple[int, ...]
    """into the block and out of each convolution"""
    kernels: tuple[int, ...]
    pre_activated: bool
    """batch norm and ReLU before each convolution, not after"""
    shortcut: str
    """name of its projection; empty where there is none"""
    normed_shortcut: bool


class Block(nn.Module):
    """A residual block of two or three convolutions; the 3×3 one that comes first has the stride."""

    def __init__(self, shape: _Shape, stride: int) -> None:
        super().__init__()
        self.shape, self.stride = shape, stride
        strided = shape.kernels.index(3)
        for i, (given, made, kernel) in enumerate(zip(shape.channels, shape.channels[1:], shape.kernels, strict=False)):
            conv = nn.Conv2d(given, made, kernel, stride if i == strided else 1, kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(given if shape.pre_activated else made))
        name, _, inner = shape.shortcut.partition(".")
        if name:
            projection: nn.Module = nn.Conv2d(shape.channels[0], shape.channels[-1], 1, stride, bias=False)
            norm = [nn.BatchNorm2d(shape.channels[-1])] if shape.normed_shortcut else []
            self.add_module(name, nn.Sequential(projection, *norm) if inner else projection)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        count = len(self.shape.kernels)
        pairs = [(self.get_submodule(f"conv{i}"), self.get_submodule(f"bn{i}")) for i in range(1, count + 1)]
        if not self.shape.pre_activated:
            out = x
            for conv, norm in pairs[:-1]:
                out = F.relu(norm(conv(out)))
            conv, norm = pairs[-1]
            return F.relu(norm(conv(out)) + self._carried(x))
        conv, norm = pairs[0]
        active = F.relu(norm(x))
        out = conv(active)
        for conv, norm in pairs[1:]:
            out = conv(F.relu(norm(out)))
        return out + self._carried(active if self.shape.shortcut else x)

    def _carried(self, x: Tensor) -> Tensor:
        """What goes past the block: projected, or else with every other pixel and channels of zeros on both sides."""
        if self.shape.shortcut:
            projected: Tensor = self.get_submodule(self.shape.shortcut.partition(".")[0])(x)
            return projected
        added = self.shape.channels[-1] - self.shape.channels[0]
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, added // 2, added - added // 2)) if added else x


class Residual(nn.Module):
    """Stem, stages of blocks, global mean, one linear layer; modules are named as their weights are."""

    def __init__(self, blocks: dict[str, Block], stem: nn.Conv2d, norm: nn.BatchNorm2d | None, head: str, classes: int):
        super().__init__()
        self.conv1 = stem
        width = next(reversed(blocks.values())).shape.channels[-1]
        self.places = tuple(blocks)
        for place, block in blocks.items():
            parent: nn.Module = self
            *path, last = place.split(".")
            for part in path:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(last, block)
        if norm is not None:
            self.bn1 = norm
        self.normed = "" if norm is None else "stem" if norm.num_features == stem.out_channels else "end"
        self.head = head
        self.add_module(head, nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K) logits."""
        x = self.conv1(x)
        if self.normed == "stem":
            x = F.relu(self.bn1(x))
        for place in self.places:
            x = self.get_submodule(place)(x)
        if self.normed == "end":
            x = F.relu(self.bn1(x))
        scores: Tensor = self.get_submodule(self.head)(x.mean((2, 3)))
        return scores


def _residual(state: StateDict) -> tuple[str, nn.Module] | None:
    places = sorted(
        (match.group(1), int(match.group(2))) for name in state if (match := _STAGE.fullmatch(name)) is not None
    )
    head = next((name for name in _HEADS if f"{name}.weight" in state), None)
    stem = state.get("conv1.weight")
    if not places or head is None or stem is None or stem.shape[2:] != (3, 3):
        return None
    stages = sorted({stage for stage, _ in places})
    shapes = {place: _block_shape(state, ".".join((place[0], str(place[1])))) for place in places}
    if len(stages) >= TORCHVISION_STAGES and any(shape.shortcut.startswith("downsample") for shape in shapes.values()):
        return None
    telling = [shape for shape in shapes.values() if shape.channels[0] != shape.channels[1]]
    pre_activated = _one_of([shape.pre_activated for shape in telling])
    blocks = {
        f"{stage}.{number}": Block(
            _Shape(shape.channels, shape.kernels, pre_activated, shape.shortcut, shape.normed_shortcut),
            stride=2 if number == 0 and stage != stages[0] else 1,
        )
        for (stage, number), shape in shapes.items()
    }
    norm = state.get("bn1.weight")
    first = nn.Conv2d(stem.shape[1], stem.shape[0], 3, padding=1, bias=False)
    network = Residual(
        blocks, first, nn.BatchNorm2d(len(norm)) if norm is not None else None, head, len(state[f"{head}.weight"])
    )
    kind = "WideResNet" if stages[0].startswith("block") else "pre-activation ResNet" if pre_activated else "ResNet"
    convolutions = 1 + sum(len(shape.kernels) for shape in shapes.values())
    return f"{kind} of {convolutions + 1} layers for small images", network


def _block_shape(state: StateDict, place: str) -> _Shape:
    """Raises KeyError where something that every block has is missing."""
    convolutions = [state[f"{place}.conv{i}.weight"] for i in (1, 2, 3) if i < 3 or f"{place}.conv3.weight" in state]
    channels = (convolutions[0].shape[1], *(len(weight) for weight in convolutions))
    shortcut = next((name for name in _SHORTCUTS if f"{place}.{name}.weight" in state), "")
    return _Shape(
        channels=channels,
        kernels=tuple(int(weight.shape[2]) for weight in convolutions),
        pre_activated=len(state[f"{place}.bn1.weight"]) == channels[0],
        shortcut=shortcut,
        normed_shortcut=f"{place}.{shortcut.partition('.')[0]}.1.weight" in state,
    )


def _one_of(values: list[bool]) -> bool:
    """What all say; raises ValueError where they say both or nothing."""
    (value,) = set(values)
    return value


def _channels(state: StateDict) -> int:
    """Of the images: what the first convolution takes."""
    return next(tensor.shape[1] for tensor in state.values() if tensor.dim() == 4)


def _vgg(state: StateDict) -> tuple[str, nn.Module] | None:
    """Convolution, batch norm and ReLU at three numbers in a row; a number left out is a pool, and so is the last."""
    numbers = sorted(int(name.split(".")[1]) for name, tensor in state.items() if _is_convolution(name, tensor))
    if not numbers or numbers[0] != 0 or "classifier.weight" not in state:
        return None
    layers: list[nn.Module] = []
    for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 4], strict=True):
        weight = state[f"features.{number}.weight"]
        layers += [nn.Conv2d(weight.shape[1], len(weight), 3, padding=1), nn.BatchNorm2d(len(weight)), nn.ReLU()]
        if following - number not in (3, 4) or weight.shape[2:] != (3, 3):
            return None
        layers += [nn.MaxPool2d(2)] * (following - number - 3)
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("flatten", nn.Flatten())
    classes, width = state["classifier.weight"].shape
    network.add_module("classifier", nn.Linear(width, classes))
    return f"VGG of {len(numbers) + 1} layers for small images", network


def _is_convolution(name: str, tensor: Tensor) -> bool:
    return re.fullmatch(r"features\.\d+\.weight", name) is not None and tensor.dim() == 4
