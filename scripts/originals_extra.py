"""Originals outside timm, made small enough for goldens.

`make_goldens.py` calls them as "originals_extra:NAME".
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

from functools import partial
from typing import Any

import timm.layers
import torch
from timm.models import _efficientnet_blocks, efficientnet, mobilenetv3
from timm.models._efficientnet_builder import decode_arch_def
from torchvision.models import AlexNet, MobileNetV3
from torchvision.models.mobilenetv3 import InvertedResidualConfig


def alexnet(
    num_classes: int, widths: list[int], hidden_widths: list[int]
) -> torch.nn.Module:
    """The AlexNet of torchvision with other widths."""
    with torch.device("meta"):
        model = AlexNet(num_classes=num_classes)
    num_in = 3
    chosen = iter(widths)
    for index, layer in enumerate(model.features):
        if isinstance(layer, torch.nn.Conv2d):
            width = next(chosen)
            model.features[index] = torch.nn.Conv2d(
                num_in, width, layer.kernel_size, layer.stride, layer.padding
            )
            num_in = width
    first, second = hidden_widths
    model.classifier[1] = torch.nn.Linear(num_in * 36, first)
    model.classifier[4] = torch.nn.Linear(first, second)
    model.classifier[6] = torch.nn.Linear(second, num_classes)
    return model


def mobile_network(
    num_classes: int,
    strings: list[list[str]],
    *,
    pool_first: bool = False,
    activation: str = "silu",
    norm: dict[str, Any] | None = None,
    squeeze: dict[str, Any] | str | None = None,
    **options: Any,
) -> torch.nn.Module:
    """EfficientNet of timm, or MobileNetV3 where it pools first, of these blocks."""
    create = mobilenetv3._create_mnv3 if pool_first else efficientnet._create_effnet
    norms = {"type": "BatchNorm2d", **(norm or {})}
    layer = getattr(timm.layers, norms["type"], None) or torch.nn.BatchNorm2d
    gate: Any = squeeze
    if isinstance(squeeze, dict):
        gate = partial(_efficientnet_blocks.SqueezeExcite, **squeeze)
    return create(
        "efficientnet_b0" if create is efficientnet._create_effnet else "lcnet_050",
        block_args=decode_arch_def(strings),
        act_layer=timm.layers.get_act_layer(activation),
        norm_layer=partial(layer, **{k: v for k, v in norms.items() if k != "type"}),
        se_layer=gate,
        num_classes=num_classes,
        **options,
    )


def torchvision_mobilenet_v3(
    num_classes: int, blocks: list[list[Any]], last_channel: int
) -> torch.nn.Module:
    """The MobileNetV3 of torchvision with other blocks.

    Args:
        num_classes: Number of logits.
        blocks: Of each block the channels in, the kernel's side, channels expanded and
            out, whether it has a gate, "RE" or "HS", the stride and the dilation.
        last_channel: Features.
    """
    settings = [InvertedResidualConfig(*block, width_mult=1.0) for block in blocks]
    return MobileNetV3(settings, last_channel, num_classes=num_classes)
