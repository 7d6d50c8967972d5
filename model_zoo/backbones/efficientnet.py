"""EfficientNet and its kin: networks written as strings of mobile blocks.

Tan and Le (2019), https://arxiv.org/abs/1905.11946, and v2 (2021),
https://arxiv.org/abs/2104.00298. The same strings write MobileNetV1
(https://arxiv.org/abs/1704.04861), V2 (https://arxiv.org/abs/1801.04381), V3
(https://arxiv.org/abs/1905.02244) and V4 (https://arxiv.org/abs/2404.10518), MnasNet
(https://arxiv.org/abs/1807.11626), MixNet (https://arxiv.org/abs/1907.09595), FBNet
(https://arxiv.org/abs/1812.03443) and V3 (https://arxiv.org/abs/2006.02049),
single-path NAS (https://arxiv.org/abs/1904.02877), TinyNet
(https://arxiv.org/abs/2010.14819), LCNet (https://arxiv.org/abs/2109.15099) and
HardCoRe-NAS (https://arxiv.org/abs/2102.11646).

`efficientnet_blocks` says how the strings are read. Leaves carry timm's names, but for
those of squeeze-and-excitation: `se.fc1` is `se.conv_reduce` there.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.backbones.efficientnet_blocks import Block, decode
from model_zoo.backbones.efficientnet_modules import (
    BlockOptions,
    ConvBlock,
    DepthwiseSeparable,
    FusedResidual,
    InvertedResidual,
    Residual,
    groups_of,
    make_conv,
    make_norm,
)
from model_zoo.backbones.efficientnet_universal import (
    AttentionBlock,
    UniversalBottleneck,
)
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.initializers import Initializer, Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.pooling import global_average

_MODULES: dict[str, type[Residual]] = {
    "cn": ConvBlock,
    "ds": DepthwiseSeparable,
    "dsa": DepthwiseSeparable,
    "er": FusedResidual,
    "ir": InvertedResidual,
    "mqa": AttentionBlock,
    "uir": UniversalBottleneck,
}


@dataclass(frozen=True)
class EfficientNetArchitecture(BlockOptions):
    """Dimensions of an EfficientNet or one of its kin; `BlockOptions` has the others.

    Attributes:
        stages: Block strings of each stage; see `efficientnet_blocks`.
        stem_width: Channels of the first convolution, which has stride 2.
        stem_kernel_size: Side of its kernel in pixels.
        head_width: Channels of the last convolution, a 1x1; 0 is none.
        head: What stands between the blocks and the features: "conv_norm_pool" is the
            last convolution, a norm, the activation and the global average;
            "pool_conv" averages before the convolution and the activation, without a
            norm, "pool_conv_bias" has a bias too, and "pool_conv_norm" has a norm.
    """

    stages: tuple[tuple[str, ...], ...]
    stem_width: int = 32
    stem_kernel_size: int = 3
    head_width: int = 1280
    head: Literal["conv_norm_pool", "pool_conv", "pool_conv_bias", "pool_conv_norm"] = (
        "conv_norm_pool"
    )

    def __post_init__(self) -> None:
        if self.head != "conv_norm_pool" and not self.head_width:
            raise ValueError(
                f"head={self.head!r} with head_width=0; wanted a positive width, or "
                "head='conv_norm_pool'"
            )
        if not self.blocks or not all(self.blocks):
            raise ValueError(f"stages={self.stages}, wanted a block in each")

    @cached_property
    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each stage."""
        return decode(self.stages, self.stem_width, self.activation)

    @property
    def num_features(self) -> int:
        """Channels of the last convolution."""
        return self.head_width or self.blocks[-1][-1].num_out

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Padded convolutions never run out of pixels; means of 2x2 may."""
        halvings = sum(block.stride > 1 for stage in self.blocks for block in stage)
        averaged = self.anti_alias == "average"
        return architecture.at_least(size, 2 ** (halvings + 1) - 1 if averaged else 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return EfficientNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal convolutions by their fan-out within a group, as in TensorFlow's."""
        grouped = tuple(
            Rule(rf"blocks\.{i}\.{j}\.conv(_exp)?\.kernel", _fan_out_normal(groups))
            for i, stage in enumerate(self.blocks)
            for j, block in enumerate(stage)
            if (groups := _dense_groups(block)) > 1
        )
        return (
            Rule(r"classifier\.kernel", _uniform_of_outputs),
            Rule(r".*\.routing_fn\.kernel", _uniform_of_both),
            Rule(r".*\.attn\..*\.kernel", init.xavier_uniform),
            Rule(r".*\.(conv_dw(\.\d+)?|dw_\w+\.conv)\.kernel", _depthwise_normal),
            *grouped,
            Rule(r".*\.?kernel", _fan_out_normal(1)),
            Rule(r".*\.gamma", init.constant(self.layer_scale or 0.0)),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class EfficientNet(nnx.Module):
    """Strided convolution, stages of blocks, head, linear layer."""

    def __init__(self, config: EfficientNetArchitecture, settings: Settings) -> None:
        dtype, width = settings.dtype, config.stem_width
        kernel_size = (config.stem_kernel_size,)
        self.conv_stem = make_conv(config, 3, width, kernel_size, stride=2, dtype=dtype)
        self.bn1 = make_norm(config, width, dtype)
        self.activation = config.activation
        depth = sum(map(len, config.blocks))
        # Over all blocks, not all but one: the last block's rate stays below the one
        # that was asked for, as in timm and in TensorFlow.
        rates = (settings.drop_path_rate * i / depth for i in range(depth))
        self.blocks = nnx.List(
            nnx.List(
                _MODULES[block.kind](config, block, next(rates), dtype)
                for block in stage
            )
            for stage in config.blocks
        )
        self.pool_first = config.head != "conv_norm_pool"
        self.conv_head, self.bn2, self.norm_head = (nnx.data(None) for _ in range(3))
        if width := config.head_width:
            use_bias = config.head == "pool_conv_bias"
            num_in = config.blocks[-1][-1].num_out
            self.conv_head = Conv(num_in, width, 1, use_bias=use_bias, dtype=dtype)
            if config.head == "conv_norm_pool":
                self.bn2 = make_norm(config, width, dtype)
            elif config.head == "pool_conv_norm":
                self.norm_head = make_norm(config, width, dtype)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.classifier = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        act = ACTIVATIONS[self.activation]
        x = act(self.bn1(self.conv_stem(images)))
        for stage in self.blocks:
            for block in stage:
                x = block(x, rngs)
        if self.pool_first:
            x = global_average(x)[:, None, None]
        if self.conv_head is not None:
            x = self.conv_head(x)
            for norm in (self.bn2, self.norm_head):
                x = x if norm is None else norm(x)
            x = act(x)
        features = global_average(x)
        return architecture.classify(features, self.dropout, self.classifier, rngs)


def _dense_groups(block: Block) -> int:
    """Groups of a convolution that is not depthwise."""
    if block.kind not in ("cn", "er"):
        return 1
    return groups_of(block, block.num_in if block.kind == "cn" else block.num_expanded)


def _fan_out_normal(groups: int) -> Initializer:
    """Normal with variance 2 / fan-out, the outputs of one group counted."""

    def initializer(generator: np.random.Generator, shape: tuple[int, ...]):
        fan_out = prod(shape[-4:-2]) * shape[-1] / groups
        return init.normal((2 / fan_out) ** 0.5)(generator, shape)

    return initializer


def _depthwise_normal(generator: np.random.Generator, shape: tuple[int, ...]):
    """The same where groups have as many outputs as inputs."""
    return init.normal((2 / prod(shape[-4:-1])) ** 0.5)(generator, shape)


def _uniform_of_outputs(generator: np.random.Generator, shape: tuple[int, ...]):
    """Uniform within 1 / sqrt(number of outputs)."""
    return init.uniform(max(shape[-1], 1) ** -0.5)(generator, shape)


def _uniform_of_both(generator: np.random.Generator, shape: tuple[int, ...]):
    """Uniform within 1 / sqrt(number of inputs and outputs)."""
    return init.uniform(sum(shape[-2:]) ** -0.5)(generator, shape)


ARCHITECTURE = EfficientNetArchitecture
