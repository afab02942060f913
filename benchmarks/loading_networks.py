"""Networks to export: random weights under which every part of the network changes the scores."""

from __future__ import annotations

import fnmatch
import warnings
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10

_SIZES: tuple[tuple[str, int], ...] = (
    ("torchvision:alexnet", 224),
    ("torchvision:vgg*", 224),
    ("torchvision:inception_v3", 96),
    ("torchvision:maxvit_t", 224),
    ("torchvision:vit_*_16", 48),
    ("torchvision:vit_*_32", 96),
    ("torchvision:vit_h_14", 42),
    ("timm:levit*", 224),
    ("timm:mixer*", 224),
    ("timm:swin*", 224),
    ("timm:vit*", 224),
    ("timm:deit*", 224),
)
_DEFAULT_SIZE = 64


def image_size(architecture: str) -> int:
    """Height and width of the images that an architecture is exported for.

    64 pixels, at which every stage still has an image and Swin still shifts its windows. More only where needed:
    AlexNet and VGG pool to a fixed grid that must divide the last image (224); Inception has no image left below 75
    (96); MaxViT's grids are 7 wide after five halvings (224); ViT gets 3×3 patches.
    """
    return next((size for pattern, size in _SIZES if fnmatch.fnmatchcase(architecture, pattern)), _DEFAULT_SIZE)


def names(package: str) -> list[str]:
    """All of torchvision's classifiers as ``torchvision:name``, or a few typical ones of timm."""
    if package == "timm":
        return [f"timm:{name}" for name in TIMM]
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models(module=models)]


TIMM = (
    "resnet18",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "mobilenetv3_small_100",
    "regnety_002",
    "swin_tiny_patch4_window7_224",
    "mixer_s32_224",
    "deit_tiny_patch16_224",
    "resnetv2_50",
    "levit_128s",
    "ghostnet_100",
    "tf_efficientnetv2_b0",
)


def build(architecture: str, seed: int = 0) -> nn.Module:
    """A network of ``CLASSES`` classes in eval mode, weights random.

    Raises KeyError or ValueError for an unknown name, ImportError where the package is not installed.
    """
    package, _, name = architecture.partition(":")
    options: dict[str, Any] = {"num_classes": CLASSES}
    if package == "timm":
        import timm

        create, options["pretrained"] = timm.create_model, False
    else:
        from torchvision import models

        create, options["weights"] = models.get_model, None
        if name.startswith("vit_"):
            options["image_size"] = image_size(architecture)
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = False
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        network: nn.Module = create(name, **options)
    return randomise(network.eval(), seed)


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights and batch-norm statistics so that none of them can be dropped unseen.

    Matrices and filters are normal with variance 1.5 / fan-in, which keeps the scale through ReLU networks; vectors
    (biases, norms' weights) are moved by 0.1 normal; running means are 0.2 normal, running variances 0.5 to 1.5.
    """
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=rng))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=rng))
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, (1.5 / parameter[0].numel()) ** 0.5, generator=rng)
        else:
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.1)
    return network


def images(count: int, size: int, seed: int = 1) -> Tensor:
    """(count, 3, size, size) normal noise, as preprocessing leaves images."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
