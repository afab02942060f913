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


def parameters(architecture: str) -> int:
    """Weights of torchvision's pretrained network of that name; 0 for what is not torchvision's."""
    package, _, name = architecture.partition(":")
    if package != "torchvision":
        return 0
    from torchvision import models

    weights = next(iter(models.get_model_weights(name)))
    return int(weights.meta["num_params"])


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
    randomise(network, seed)
    settle(network, images(8, image_size(architecture), seed=3), seed)
    return network.eval()


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> None:
    """Fill the weights so that none of them can be dropped unseen.

    Matrices and filters are normal with variance 1.5 / fan-in, which keeps the scale through ReLU networks; vectors
    (biases, norms' weights) are moved by 0.1 normal.
    """
    rng = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, (1.5 / parameter[0].numel()) ** 0.5, generator=rng)
        else:
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.1)


_GAIN = 0.4
"""Deviation and mean of what batch norms give: around 0 with deviation 1, activations bend so often that networks of 50
blocks amplify rounding a thousandfold."""


@torch.no_grad()
def settle(network: nn.Module, pixels: Tensor, seed: int = 0) -> None:
    """Give batch norms the statistics of their inputs, perturbed: means by 0.2 deviations, variances by a half.

    With statistics that have nothing to do with the activations, deep networks either forget the image or amplify
    rounding; either would make a comparison worthless.
    """
    rng = torch.Generator().manual_seed(seed)

    def measure(norm: nn.modules.batchnorm._BatchNorm, inputs: tuple[Tensor]) -> None:
        axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
        variance, mean = torch.var_mean(inputs[0], axes)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean + 0.2 * variance.sqrt() * torch.randn(norm.num_features, generator=rng))
        norm.running_var.copy_(variance * (0.5 + torch.rand(norm.num_features, generator=rng)) + 1e-3)
        norm.weight.mul_(_GAIN)
        norm.bias.add_(_GAIN)

    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    network.eval()
    network(pixels)
    for hook in hooks:
        hook.remove()


def images(count: int, size: int, seed: int = 1) -> Tensor:
    """(count, 3, size, size) normal noise, as preprocessing leaves images."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
