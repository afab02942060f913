"""What batch norm remembers of the training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.classifier import PRESETS, Preprocess
from auditor.loading import load_network
from auditor.procedural import dead_leaves
from auditor.running_statistics import Remembered, remembered

SIZE = (3, 24, 24)
LEAVES = dead_leaves(200, SIZE, torch.Generator().manual_seed(5))
IMAGES = 0.2 + 0.4 * LEAVES.mean(1, keepdim=True) + torch.tensor([0.0, 0.1, 0.2]).view(3, 1, 1) * LEAVES
PLAIN = Preprocess()
MEAN, STD = IMAGES.mean((0, 2, 3)), float(IMAGES.std((0, 2, 3)).mean())


def stem(channels: int = 3, **options: object) -> nn.Sequential:
    """The beginning of most networks."""
    return nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, **options), nn.BatchNorm2d(16), nn.ReLU())  # type: ignore[arg-type]


def classifier(*layers: nn.Module) -> nn.Sequential:
    """A network of ``layers`` and a head, not yet trained."""
    torch.manual_seed(3)
    for layer in layers:
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))


def shown(network: nn.Module, way: Preprocess = PLAIN) -> nn.Module:
    """The network once it has seen the images, prepared in a way."""
    scale, shift = way.affine(SIZE[0])
    network.train()
    with torch.no_grad():
        for epoch in range(10):
            for batch in IMAGES[torch.randperm(200, generator=torch.Generator().manual_seed(epoch))].split(20):
                network(batch * scale + shift)
    return network.eval()


def told(network: nn.Module, batch: int = 2, layout: str = "nchw") -> Remembered | None:
    sample = IMAGES[:batch]
    return remembered(network, sample.permute(0, 2, 3, 1) if layout == "nhwc" else sample, layout=layout)


def is_like(found: Remembered | None, mean: Tensor, std: float) -> bool:
    return found is not None and (
        torch.allclose(torch.tensor(found.mean), mean, atol=0.1 * std) and abs(found.std / std - 1) < 0.25
    )


@pytest.mark.parametrize(
    "way",
    [Preprocess(), Preprocess(value_range="0..255"), Preprocess(value_range="-1..1"), Preprocess(*PRESETS["gtsrb"])],
    ids=["0..1", "0..255", "-1..1", "gtsrb"],
)
def test_mean_and_spread_of_the_training_images(way: Preprocess) -> None:
    scale, shift = (t.flatten() for t in way.affine(3))
    assert is_like(told(shown(classifier(stem()), way)), MEAN * scale + shift, STD * float(scale.mean()))


class Halved(nn.Module):
    """A normalisation of the network's own."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) / 0.5


@pytest.mark.parametrize(
    "network",
    [
        lambda: classifier(stem(bias=False)),
        lambda: classifier(nn.BatchNorm2d(3), stem()),
        lambda: classifier(Halved(), stem(stride=2)),
        lambda: classifier(nn.Conv2d(3, 8, 1), nn.AvgPool2d(2), stem(8)),
    ],
    ids=["no bias", "batch norm first", "its own normalisation", "convolutions and a pool"],
)
def test_whatever_sums_of_pixels_it_is_given(network: Callable[[], nn.Module]) -> None:
    assert is_like(told(shown(network())), MEAN, STD)


@pytest.mark.parametrize(
    "network",
    [
        lambda: classifier(nn.Conv2d(3, 8, 3), nn.ReLU()),
        lambda: classifier(nn.Conv2d(3, 8, 3), nn.ReLU(), stem(8)),
        lambda: classifier(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), stem(8)),
        lambda: classifier(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU()),
        lambda: classifier(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU()),
    ],
    ids=["no batch norm", "behind an activation", "behind a maximum", "group norm", "nothing kept"],
)
def test_what_cannot_be_told(network: Callable[[], nn.Module]) -> None:
    assert told(shown(network())) is None


def test_a_batch_norm_that_has_seen_nothing() -> None:
    assert told(classifier(stem()).eval()) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38, -1e38])
@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_numbers_that_are_none(name: str, value: float) -> None:
    network = shown(classifier(stem()))
    getattr(network[0][1], name).fill_(value)
    found = told(network)
    assert found is None or all(abs(m) < float("inf") for m in (*found.mean, found.std))


def test_dead_maps_are_left_out() -> None:
    network = shown(classifier(stem()))
    dead = torch.arange(16) % 3 > 0
    network[0][1].running_var[dead] = 1e-40
    network[0][1].running_mean[dead] = 0.0
    assert is_like(told(network), MEAN, STD)


def test_a_network_that_sees_grey_tells_one_mean() -> None:
    class Grey(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1, keepdim=True)

    found = told(shown(classifier(Grey(), stem(1))))
    assert found is not None
    assert is_like(found, MEAN.mean().expand(3), STD)


def test_channels_last_and_a_literal_batch() -> None:
    class Last(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 7
            return self.network(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]

    assert is_like(told(Last(shown(classifier(stem()))).eval(), batch=7, layout="nhwc"), MEAN, STD)


def test_programs_tell_as_well(tmp_path: Path) -> None:
    network = shown(classifier(nn.BatchNorm2d(3), stem()))
    torch.onnx.export(network, (IMAGES[:2],), str(tmp_path / "m.onnx"), dynamo=False)
    torch.export.save(torch.export.export(network, (IMAGES[:2],)), tmp_path / "m.pt2")
    torch.jit.script(network).save(str(tmp_path / "m.pt"))
    for name in ("m.onnx", "m.pt2", "m.pt"):
        assert is_like(told(load_network(tmp_path / name, allow_torchscript=True).module), MEAN, STD), name


def test_nothing_is_changed_by_looking() -> None:
    network = shown(classifier(stem()))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    told(network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
