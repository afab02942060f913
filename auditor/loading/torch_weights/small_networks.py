"""Networks for small images, put together by the names and shapes of their weights.

torchvision has none of the networks that CIFAR-10 and its like are trained on; their code is copied from project to
project, and with it the names. Residual networks: ResNet-20 to 110 (He et al., 2016a, section 4.2; shortcuts padded
with zeros or projected), ResNet-18 to 152 with a 3×3 stem and pre-activation ones (2016b), WideResNet (Zagoruyko and
Komodakis, 2016). VGG (Simonyan and Zisserman, 2015), with batch norm or none, one linear layer or several. Depth,
width, kind of block and of shortcut are read off the shapes; whatever has a tensor more or less is something else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

StateDict = dict[str, Tensor]

_STAGE = re.compile(r"(layer\d+|block\d+\.layer|conv\d+_x)\.(\d+)\.(?:conv1|residual_function\.0)\.weight")
_STEMS = (("conv1", "bn1"), ("conv1.0", "conv1.1"))
_LAYERS = (
    tuple((f"conv{i}", f"bn{i}") for i in (1, 2, 3)),
    tuple((f"residual_function.{i}", f"residual_function.{i + 1}") for i in (0, 3, 6)),
)
"""how a block's convolutions and their batch norms are called"""
_HEADS = ("linear", "fc")
_SHORTCUTS = ("shortcut.0", "downsample.0", "convShortcut")
_COUNTER = "num_batches_tracked"

SIDE = 32
"""of the images that these networks are made for"""

TORCHVISION_STAGES = 4
"""stages of a network with torchvision's names, whose pool behind the stem some leave out for small images"""

UNPOOLED, POOLED = 1.1, 1.25
"""how many times the mean of the stem's maps what follows was trained on, at most without a pool and at least with one;
measured are 0.78 to 0.94, and 1.41 to 1.58"""


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


def put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Add a module at a dotted path, with what is missing on the way."""
    *way, last = path.split(".")
    for part in way:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


@dataclass(frozen=True)
class _Shape:
    """What one block of a residual network is made of."""

    layers: tuple[tuple[str, str], ...]
    """names of its convolutions, in their order, and of each one's batch norm"""
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
        for i, (conv, norm) in enumerate(shape.layers):
            given, made, kernel = shape.channels[i], shape.channels[i + 1], shape.kernels[i]
            put(self, conv, nn.Conv2d(given, made, kernel, stride if i == strided else 1, kernel // 2, bias=False))
            put(self, norm, nn.BatchNorm2d(given if shape.pre_activated else made))
        name, _, inner = shape.shortcut.partition(".")
        if name:
            projection: nn.Module = nn.Conv2d(shape.channels[0], shape.channels[-1], 1, stride, bias=False)
            normed = [nn.BatchNorm2d(shape.channels[-1])] if shape.normed_shortcut else []
            self.add_module(name, nn.Sequential(projection, *normed) if inner else projection)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        pairs = [(self.get_submodule(conv), self.get_submodule(norm)) for conv, norm in self.shape.layers]
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


@dataclass(frozen=True)
class _Names:
    """Of a residual network's other layers; ``norm`` is the one beside stem and stages, whether it is there or not."""

    stem: str
    norm: str
    head: str


class Residual(nn.Module):
    """Stem, a pool or none, stages of blocks, global mean, one linear layer; modules are named as their weights are."""

    def __init__(
        self, blocks: dict[str, Block], stem: nn.Conv2d, norm: nn.BatchNorm2d | None, names: _Names, classes: int
    ) -> None:
        super().__init__()
        self.names, self.places, self.pooled = names, tuple(blocks), False
        put(self, names.stem, stem)
        for place, block in blocks.items():
            put(self, place, block)
        if norm is not None:
            put(self, names.norm, norm)
        self.normed = "" if norm is None else "stem" if norm.num_features == stem.out_channels else "end"
        width = next(reversed(blocks.values())).shape.channels[-1]
        put(self, names.head, nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K) logits."""
        norm = self.get_submodule(self.names.norm) if self.normed else nn.Identity()
        x = self.get_submodule(self.names.stem)(x)
        if self.normed == "stem":
            x = F.relu(norm(x))
        if self.pooled:
            x = F.max_pool2d(x, 3, 2, 1)
        for place in self.places:
            x = self.get_submodule(place)(x)
        if self.normed == "end":
            x = F.relu(norm(x))
        scores: Tensor = self.get_submodule(self.names.head)(x.mean((2, 3)))
        return scores


def _residual(state: StateDict) -> tuple[str, nn.Module] | None:
    places = sorted(
        (match.group(1), int(match.group(2))) for name in state if (match := _STAGE.fullmatch(name)) is not None
    )
    head = next((name for name in _HEADS if f"{name}.weight" in state), None)
    named = next((names for names in _STEMS if f"{names[0]}.weight" in state), None)
    if not places or head is None or named is None:
        return None
    names = _Names(*named, head)
    stem, norm = state[f"{names.stem}.weight"], state.get(f"{names.norm}.weight")
    if stem.shape[2:] != (3, 3):
        return None
    stages = sorted({stage for stage, _ in places})
    shapes = {place: _block_shape(state, ".".join((place[0], str(place[1])))) for place in places}
    pooled = False
    if len(stages) >= TORCHVISION_STAGES and any(shape.shortcut.startswith("downsample") for shape in shapes.values()):
        told = _is_pooled(state, names)
        if told is None:
            return None
        pooled = told
    telling = [shape for shape in shapes.values() if shape.channels[0] != shape.channels[1]]
    pre_activated = _one_of([shape.pre_activated for shape in telling])
    blocks = {
        f"{stage}.{number}": Block(
            replace(shape, pre_activated=pre_activated),
            stride=2 if number == 0 and stage != stages[0] else 1,
        )
        for (stage, number), shape in shapes.items()
    }
    first = nn.Conv2d(stem.shape[1], stem.shape[0], 3, padding=1, bias=False)
    network = Residual(
        blocks, first, nn.BatchNorm2d(len(norm)) if norm is not None else None, names, len(state[f"{head}.weight"])
    )
    network.pooled = pooled
    kind = "WideResNet" if stages[0].startswith("block") else "pre-activation ResNet" if pre_activated else "ResNet"
    convolutions = 1 + sum(len(shape.kernels) for shape in shapes.values())
    return f"{kind} of {convolutions + 1} layers for small images" + ", with a pool" * pooled, network


def _is_pooled(state: StateDict, names: _Names) -> bool | None:
    """Whether a pool follows the stem, by what the first block's batch norm remembers; None where that does not tell.

    The stem's maps are normal numbers of known mean and spread before the ReLU, so their mean after it is known, and
    with it that of what the first convolution makes of them. Of the largest of nine neighbours the mean is larger.
    """
    place = "layer1.0"
    weight, remembered = state[f"{place}.conv1.weight"].sum((2, 3)), state[f"{place}.bn1.running_mean"]
    shift, scale = state[f"{names.norm}.bias"], state[f"{names.norm}.weight"].abs().clamp_min(1e-6)
    above = shift / scale
    told = weight @ (shift * torch.special.ndtr(above) + scale * (-above.square() / 2).exp() / math.sqrt(2 * math.pi))
    ratio = float(told @ remembered / (told @ told).clamp_min(1e-12))
    return None if not (0.5 < ratio <= UNPOOLED or POOLED <= ratio < 3) else ratio >= POOLED


def _block_shape(state: StateDict, place: str) -> _Shape:
    """Raises KeyError where something that every block has is missing."""
    layers = next(layers for layers in _LAYERS if f"{place}.{layers[0][0]}.weight" in state)
    layers = tuple(one for number, one in enumerate(layers) if number < 2 or f"{place}.{one[0]}.weight" in state)
    convolutions = [state[f"{place}.{conv}.weight"] for conv, _ in layers]
    channels = (convolutions[0].shape[1], *(len(weight) for weight in convolutions))
    shortcut = next((name for name in _SHORTCUTS if f"{place}.{name}.weight" in state), "")
    return _Shape(
        layers=layers,
        channels=channels,
        kernels=tuple(int(weight.shape[2]) for weight in convolutions),
        pre_activated=len(state[f"{place}.{layers[0][1]}.weight"]) == channels[0],
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
    """Numbered layers: convolution, batch norm if there is any, ReLU; a number left out is a pool, and so is the last.

    The classifier is one linear layer, or several with a ReLU (and a dropout, which does nothing here) between them.
    """
    numbers = sorted(int(name.split(".")[1]) for name in state if re.fullmatch(r"features\.\d+\.weight", name))
    convolutions = [number for number in numbers if state[f"features.{number}.weight"].dim() == 4]
    linear = sorted(name.removesuffix(".weight") for name in state if re.fullmatch(r"classifier(\.\d)?\.weight", name))
    if not convolutions or convolutions[0] != 0 or not linear:
        return None
    apart = 3 if "features.1.weight" in state else 2
    layers: list[nn.Module] = []
    for number, following in zip(convolutions, [*convolutions[1:], convolutions[-1] + apart + 1], strict=True):
        weight = state[f"features.{number}.weight"]
        if following - number not in (apart, apart + 1) or weight.shape[2:] != (3, 3):
            return None
        norm = [nn.BatchNorm2d(len(weight))] if apart == 3 else []
        pool = [nn.MaxPool2d(2)] if following - number > apart else []
        layers += [nn.Conv2d(weight.shape[1], len(weight), 3, padding=1), *norm, nn.ReLU(), *pool]
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", _classifier({name: state[f"{name}.weight"].shape for name in linear}))
    return f"VGG of {len(convolutions) + len(linear)} layers for small images", network


def _classifier(shapes: dict[str, torch.Size]) -> nn.Module:
    """Linear layers by their names and (made, given), a ReLU before each but the first."""
    if list(shapes) == ["classifier"]:
        made, given = shapes["classifier"]
        return nn.Linear(given, made)
    layers = nn.Sequential()
    for name, (made, given) in shapes.items():
        number = int(name.rpartition(".")[2])
        if layers:
            layers.add_module(str(number - 1), nn.ReLU())
        layers.add_module(str(number), nn.Linear(given, made))
    return layers
