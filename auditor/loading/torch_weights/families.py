"""Which torchvision architectures a state dict can be, by names that only one family has."""

from __future__ import annotations

_RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2",
    "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2",
)  # fmt: skip
_VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
_EFFICIENTNETS = tuple(f"efficientnet_b{index}" for index in range(8))
_REGNETS = ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("layer1.0.conv1.weight", _RESNETS),
    ("classifier.6.weight", ("alexnet", *_VGGS)),
    ("features.10.weight", ("alexnet", *(name for name in _VGGS if not name.startswith("vgg11")))),
    ("features.11.weight", ("vgg11", "vgg11_bn")),
    (
        "features.denseblock1.denselayer1.norm1.weight",
        ("densenet121", "densenet169", "densenet201", "densenet161"),
    ),
    ("features.1.conv.0.0.weight", ("mobilenet_v2",)),
    ("features.1.block.0.0.weight", ("mobilenet_v3_small", "mobilenet_v3_large")),
    (
        "features.1.0.block.0.0.weight",
        (*_EFFICIENTNETS, "efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
    ),
    ("features.1.0.layer_scale", ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")),
    (
        "features.1.0.attn.relative_position_bias_table",
        ("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b"),
    ),
    ("features.1.0.attn.logit_scale", ("swin_v2_t", "swin_v2_s", "swin_v2_b")),
    ("features.3.squeeze.weight", ("squeezenet1_0", "squeezenet1_1")),
    ("features.4.squeeze.weight", ("squeezenet1_0", "squeezenet1_1")),
    ("stage2.0.branch1.0.weight", tuple(f"shufflenet_v2_x{size}" for size in ("0_5", "1_0", "1_5", "2_0"))),
    ("inception3a.branch1.conv.weight", ("googlenet",)),
    ("Conv2d_1a_3x3.conv.weight", ("inception_v3",)),
    ("layers.8.0.layers.0.weight", tuple(f"mnasnet{size}" for size in ("0_5", "0_75", "1_0", "1_3"))),
    (
        "trunk_output.block1.block1-0.f.a.0.weight",
        (*(f"regnet_{kind}_{size}" for kind in "xy" for size in _REGNETS), "regnet_y_128gf"),
    ),
    (
        "encoder.layers.encoder_layer_0.ln_1.weight",
        ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
    ),
    ("blocks.0.layers.0.layers.MBconv.layers.pre_norm.weight", ("maxvit_t",)),
)
"""A name that identifies the family, and its members from small to large."""


def candidates(names: list[str]) -> list[str]:
    """Members of the first family whose identifying name is present; none for a state dict of no known
    family."""
    present = set(names)
    for identifying, members in FAMILIES:
        if identifying in present:
            return list(members)
    return []
