"""ResNet and its kin, post-activation, with the stride in the 3x3 convolution.

He et al. (2016), https://arxiv.org/abs/1512.03385; the stride sits where torchvision
and timm have it ("v1.5"), and each branch's last norm starts at zero (Goyal et al.
2017, https://arxiv.org/abs/1706.02677). Options make it, among others:

- ResNeXt, https://arxiv.org/abs/1611.05431, and Wide ResNet,
  https://arxiv.org/abs/1605.07146 (`cardinality`, `base_width`);
- ResNet-C and -D, https://arxiv.org/abs/1812.01187, -S and -T (`stem`, `avg_down`);
- SE-ResNet and SENet-154, https://arxiv.org/abs/1709.01507, ECA-ResNet,
  https://arxiv.org/abs/1910.03151 (`attention`);
- anti-aliased, https://arxiv.org/abs/1904.11486, with group normalisation,
  https://arxiv.org/abs/1803.08494, and ResNet-RS, https://arxiv.org/abs/2103.07579.

Leaves carry timm's names: `layer1.0.conv1.kernel` is `layer1.0.conv1.weight` there.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.backbones.resnet_blocks import (
    EXPANSION,
    AntiAlias,
    BlockShape,
    Kind,
    block,
    conv,
    halve,
    norm,
)
from model_zoo.layers import initializers as init
from model_zoo.layers.channel_attention import efficient_kernel_size
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.pooling import global_average, max_pool
from model_zoo.layers.stochastic import linear_rates


@dataclass(frozen=True)
class ResNetArchitecture:
    """Dimensions and options of a ResNet.

    Attributes:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1), or one
            for each stage.
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage's 3x3 convolutions, before `base_width`.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a pool, "deep" three 3x3
            convolutions in its place, "deep_tiered" three of growing width, "small"
            one 3x3 convolution of stride 1, for images of 64 pixels or less.
        stem_width: Channels that leave the stem; None is the first stage's width.
        stem_pool: "max", or "conv" for a 3x3 convolution of stride 2.
        cardinality: Groups of a bottleneck's 3x3 convolution.
        base_width: Channels of each such group in a stage of width 64.
        reduce_first: What a block's first convolution has fewer channels by.
        down_kernel_size: Side of the shortcuts' kernels where a stage halves.
        avg_down: Whether shortcuts halve by an average pool before a 1x1 convolution.
        anti_alias: What halves after a convolution of stride 1, in place of stride 2:
            a 2x2 average or a blur. None leaves the strides.
        attention: What weighs the channels that end a branch: squeeze-and-excitation,
            efficient channel attention or nothing.
        squeeze_ratio: Inner channels of squeeze-and-excitation over those outside.
        norm_groups: Groups of group normalisation; None is batch normalisation.
        pruned_inner: Channels of each bottleneck's first two convolutions where
            pruning left odd numbers, one pair a block; None is what `widths` say.
        pruned_outputs: Channels that leave each stage, likewise.
        zero_init_last: Whether each branch starts at zero.
    """

    block: Kind | tuple[Kind, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Literal["imagenet", "deep", "deep_tiered", "small"] = "imagenet"
    stem_width: int | None = None
    stem_pool: Literal["max", "conv"] = "max"
    cardinality: int = 1
    base_width: int = 64
    reduce_first: int = 1
    down_kernel_size: int = 1
    avg_down: bool = False
    anti_alias: AntiAlias | None = None
    attention: Literal["se", "eca"] | None = None
    squeeze_ratio: float = 1 / 16
    norm_groups: int | None = None
    pruned_inner: tuple[tuple[int, int], ...] | None = None
    pruned_outputs: tuple[int, ...] | None = None
    zero_init_last: bool = True

    def __post_init__(self) -> None:
        if not len(self.kinds) == len(self.depths) == len(self.widths):
            raise ValueError(
                f"got {len(self.kinds)} blocks, {len(self.depths)} depths and "
                f"{len(self.widths)} widths; wanted one of each a stage"
            )
        for name, given, wanted in (
            ("pruned_inner", self.pruned_inner, sum(self.depths)),
            ("pruned_outputs", self.pruned_outputs, len(self.depths)),
        ):
            if given is not None and len(given) != wanted:
                raise ValueError(f"{name} has {len(given)} entries; wanted {wanted}")
        if "basic" in self.kinds and (self.cardinality, self.base_width) != (1, 64):
            raise ValueError(
                f"cardinality={self.cardinality} and base_width={self.base_width} are "
                "for bottlenecks; wanted 1 and 64 with basic blocks"
            )
        if self.stem_pool == "conv" and (self.anti_alias or self.stem == "small"):
            raise ValueError(
                "stem_pool='conv' halves by its own stride; wanted no anti_alias and a "
                "stem that pools"
            )

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Each stage's block."""
        if isinstance(self.block, tuple):
            return self.block
        return (self.block,) * len(self.depths)

    @property
    def stage_outputs(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        if self.pruned_outputs is not None:
            return self.pruned_outputs
        return self._nominal_outputs

    @property
    def _nominal_outputs(self) -> tuple[int, ...]:
        """Those that would leave without pruning."""
        stages = zip(self.kinds, self.widths, strict=True)
        return tuple(width * EXPANSION[kind] for kind, width in stages)

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.stage_outputs[-1]

    @property
    def stem_output(self) -> int:
        """Channels that leave the stem."""
        return self.stem_width or self.widths[0]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do, but for what the anti-aliasing filters ask.

        The mean of a pair needs both, where the shortcut beside it takes an odd last
        pixel too, and the blur's mirrored border needs two pixels.
        """
        halvings = len(self.depths) - 1
        if self.anti_alias == "avg":
            sides = size
            if self.stem != "small":
                sides = tuple((side + 1) // 2 // 2 for side in size)
            if all(side and side % 2**halvings == 0 for side in sides):
                return None
            multiple = 2 ** (halvings if self.stem == "small" else halvings + 2)
            return f"height and width that halve evenly: multiples of {multiple}"
        if self.anti_alias == "blur":
            before = halvings - 1 if self.stem == "small" else halvings + 1
            return architecture.at_least(size, 2 ** max(before, 0) + 1)
        return architecture.at_least(size, 1)

    def block_shapes(self, drop_path_rate: float = 0.0) -> list[list[BlockShape]]:
        """Every block of every stage."""
        rates = iter(linear_rates(drop_path_rate, sum(self.depths)))
        pruned = iter(self.pruned_inner or ())
        num_in, stages = self.stem_output, []
        nominal = pairwise((self.stem_output, *self._nominal_outputs))
        for stage, (before, after) in enumerate(nominal):
            stages.append([])
            for i in range(self.depths[stage]):
                stride = 2 if stage > 0 and i == 0 else 1
                shape = BlockShape(
                    kind=self.kinds[stage],
                    num_in=num_in,
                    inner=next(pruned, self._inner(stage)),
                    num_out=self.stage_outputs[stage],
                    stride=stride,
                    project=i == 0 and (stride > 1 or before != after),
                    rate=next(rates),
                    groups=self.cardinality,
                    down_kernel_size=self.down_kernel_size,
                    avg_down=self.avg_down,
                    anti_alias=self.anti_alias,
                    attention=self.attention,
                    attention_size=self._attention_size(stage),
                    norm_groups=self.norm_groups,
                )
                stages[stage].append(shape)
                num_in = shape.num_out
        return stages

    def _inner(self, stage: int) -> tuple[int, int]:
        width = self.widths[stage]
        if self.kinds[stage] == "basic":
            return width // self.reduce_first, width
        width = width * self.base_width // 64 * self.cardinality
        return width // self.reduce_first, width

    def _attention_size(self, stage: int) -> int:
        num_out = self._nominal_outputs[stage]
        if self.attention == "eca":
            return efficient_kernel_size(num_out)
        # To the nearest multiple of eight, halves up, at least one.
        return max(int(num_out * self.squeeze_ratio + 4) // 8 * 8, 8)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ResNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Kaiming-normal convolutions; the rest as torch starts it."""
        rules = [Rule(r"fc\.(kernel|bias)", init.uniform(self.num_features**-0.5))]
        for stage, kind in enumerate(self.kinds):
            name = rf"layer{stage + 1}\.\d+\."
            size = self._attention_size(stage)
            outer = self.stage_outputs[stage]
            last = "bn3" if kind == "bottleneck" else "bn2"
            scale = init.zeros if self.zero_init_last else init.ones
            rules += [
                Rule(name + r"se\.kernel", init.uniform(size**-0.5)),
                Rule(name + r"se\.fc1\.bias", init.uniform(outer**-0.5)),
                Rule(name + r"se\.fc2\.bias", init.uniform(size**-0.5)),
                Rule(name + last + r"\.scale", scale),
            ]
        return (
            *rules,
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class ResNet(nnx.Module):
    """Stem, stages, global average, linear head."""

    def __init__(self, config: ResNetArchitecture, settings: Settings) -> None:
        dtype = settings.dtype
        width, groups = config.stem_output, config.norm_groups
        self.stem = config.stem
        self.anti_alias: AntiAlias | None = config.anti_alias
        stem = _stem(config, dtype=dtype)
        self.conv1 = stem[0] if len(stem) == 1 else nnx.List(stem)
        self.bn1 = norm(width, groups, dtype=dtype)
        self.maxpool = nnx.List()
        if config.stem_pool == "conv":
            halving = conv(width, width, 3, 2, dtype=dtype)
            self.maxpool = nnx.List([halving, norm(width, groups, dtype=dtype)])
        stages = config.block_shapes(settings.drop_path_rate)
        self.num_stages = len(stages)
        for stage, shapes in enumerate(stages):
            blocks = nnx.List(block(shape, dtype=dtype) for shape in shapes)
            setattr(self, f"layer{stage + 1}", blocks)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layer in (self.conv1,) if isinstance(self.conv1, Conv) else self.conv1:
            x = layer(x)
        x = self._pool(jax.nn.relu(self.bn1(x)))
        for stage in range(self.num_stages):
            for layer in getattr(self, f"layer{stage + 1}"):
                x = layer(x, rngs)
        return architecture.classify(global_average(x), self.dropout, self.fc, rngs)

    def _pool(self, x: Array) -> Array:
        if self.stem == "small":
            return x
        if self.maxpool:
            for layer in self.maxpool:
                x = layer(x)
            return jax.nn.relu(x)
        if self.anti_alias == "blur":
            x = max_pool(x, 3, 1, padding=1)
        elif self.anti_alias is None:
            return max_pool(x, 3, 2, padding=1)
        return halve(x, self.anti_alias)


def _stem(config: ResNetArchitecture, *, dtype: DTypeLike) -> list:
    """What comes before the first norm."""
    width = config.stem_output
    if config.stem == "imagenet":
        return [conv(3, width, 7, 2, dtype=dtype)]
    if config.stem == "small":
        return [conv(3, width, 3, dtype=dtype)]
    first = second = width // 2
    if config.stem == "deep_tiered":
        first = 3 * (second // 4)
    return [
        conv(3, first, 3, 2, dtype=dtype),
        norm(first, config.norm_groups, dtype=dtype),
        nnx.static(jax.nn.relu),
        conv(first, second, 3, dtype=dtype),
        norm(second, config.norm_groups, dtype=dtype),
        nnx.static(jax.nn.relu),
        conv(second, width, 3, dtype=dtype),
    ]


ARCHITECTURE = ResNetArchitecture
