"""Small networks and their exports, built once a session."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

Export = Callable[..., Path]


def perturb(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and batch-norm statistics, so that a converter that drops one of them shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.5 / fan_in) ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def images(count: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def small_cnn(activation: nn.Module | None = None, pool: nn.Module | None = None, classes: int = 10) -> nn.Module:
    """1×12×12 images; convolution, batch norm, activation, pool, twice; linear head."""
    activation = activation or nn.ReLU()
    pool = pool or nn.MaxPool2d(2)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        activation,
        pool,
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        activation,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12, classes),
    )
    return perturb(network)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """``export(network, images, dynamic=True, dynamo=True)`` → path of the ONNX file."""

    def write(
        network: nn.Module, example: Tensor, *, dynamic: bool = True, dynamo: bool = True, **options: object
    ) -> Path:
        path = tmp_path_factory.mktemp("onnx") / "model.onnx"
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if dynamo:
                    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
                    torch.onnx.export(
                        network,
                        (example,),
                        path,
                        dynamo=True,
                        verbose=False,
                        dynamic_shapes=shapes,
                        **options,
                    )
                else:
                    axes = {"input": {0: "batch"}} if dynamic else None
                    torch.onnx.export(
                        network,
                        (example,),
                        path,
                        dynamo=False,
                        input_names=["input"],
                        dynamic_axes=axes,
                        **options,
                    )
        finally:
            logging.disable(logging.NOTSET)
        return path

    return write
