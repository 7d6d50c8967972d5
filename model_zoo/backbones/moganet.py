"""MogaNet: gated aggregation of neighbourhoods of three sizes.

Li et al. (2024), https://arxiv.org/abs/2211.03295. Every block gates depthwise
convolutions of growing reach, then mixes channels in an MLP that re-weighs what its
channels have in common. Leaves carry the original's names.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.initializers import Rule
from model_zoo.layers.layer_scale import LayerScale
from model_zoo.layers.linear import Conv, Linear
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates

Maps = Float[Array, "n h w d"]


@dataclass(frozen=True)
class MogaNetArchitecture:
    """Dimensions of a MogaNet.

    Attributes:
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage, multiples of 8.
        mlp_ratios: Hidden channels of each stage's MLPs over its width.
        stem_stride: Step in pixels of each of the stem's two 3x3 convolutions; 1 is for
            images of 64 pixels or less.
        layer_scale: Initial value of the scale that ends each branch.
        gate_activations: How many times SiLU is applied to both factors of the gate:
            2 where the original's switch for float32 gates was on, which repeats it.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    stem_stride: int = 2
    layer_scale: float = 1e-5
    gate_activations: int = 1

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.mlp_ratios):
            raise ValueError(
                f"MogaNet: depths {self.depths}, widths {self.widths} and mlp_ratios "
                f"{self.mlp_ratios} differ in length; wanted one of each a stage"
            )
        if any(width % 8 for width in self.widths):
            raise ValueError(f"MogaNet: widths {self.widths}, wanted multiples of 8")

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do: padded convolutions never run out of pixels."""
        return architecture.at_least(size, 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return MogaNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Kaiming-normal convolutions; deviations from what is common start small."""
        return (
            Rule(r".*\.layer_scale_\d\.gamma", init.constant(self.layer_scale)),
            Rule(r".*\.sigma\.gamma", init.constant(1e-5)),
            Rule(r"head\.kernel", init.normal(0.02)),
            # Depthwise: the fan-out of one channel is the kernel's area.
            Rule(r".*\.DW_conv[01]\.kernel", init.normal((2 / 25) ** 0.5)),
            Rule(r".*\.DW_conv2\.kernel", init.normal((2 / 49) ** 0.5)),
            Rule(r".*\.dwconv\.kernel", init.normal((2 / 9) ** 0.5)),
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class MogaNet(nnx.Module):
    """Stages, each embedding, blocks and norm; global average, linear head."""

    def __init__(self, config: MogaNetArchitecture, settings: Settings) -> None:
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.num_stages = len(config.depths)
        for i, (depth, width) in enumerate(
            zip(config.depths, config.widths, strict=True)
        ):
            embed = (
                Stem(config, settings)
                if i == 0
                else Downsample(config.widths[i - 1], width, settings)
            )
            blocks = nnx.List(
                Block(config, i, next(rates), settings) for _ in range(depth)
            )
            setattr(self, f"patch_embed{i + 1}", embed)
            setattr(self, f"blocks{i + 1}", blocks)
            setattr(self, f"norm{i + 1}", BatchNorm(width, dtype=settings.dtype))
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for i in range(1, self.num_stages + 1):
            x = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"blocks{i}"):
                x = block(x, rngs)
            x = getattr(self, f"norm{i}")(x)
        return architecture.classify(global_average(x), self.dropout, self.head, rngs)


class Stem(nnx.Module):
    """Two 3x3 convolutions, each with a norm, GELU between."""

    def __init__(self, config: MogaNetArchitecture, settings: Settings) -> None:
        width, stride, dtype = config.widths[0], config.stem_stride, settings.dtype
        half = width // 2
        self.projection = nnx.List(
            [
                Conv(3, half, 3, stride=stride, padding=1, dtype=dtype),
                BatchNorm(half, dtype=dtype),
                Conv(half, width, 3, stride=stride, padding=1, dtype=dtype),
                BatchNorm(width, dtype=dtype),
            ]
        )

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p q d"]:
        """Embeds images."""
        conv1, norm1, conv2, norm2 = self.projection
        return norm2(conv2(ACTIVATIONS["gelu"](norm1(conv1(images)))))


class Downsample(nnx.Module):
    """Strided 3x3 convolution, norm."""

    def __init__(self, num_in: int, width: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.projection = Conv(num_in, width, 3, stride=2, padding=1, dtype=dtype)
        self.norm = BatchNorm(width, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Halves the image."""
        return self.norm(self.projection(x))


class Block(nnx.Module):
    """Aggregation and MLP, each normalised before, scaled and added to the stream."""

    def __init__(
        self, config: MogaNetArchitecture, stage: int, rate: float, settings: Settings
    ) -> None:
        width, dtype = config.widths[stage], settings.dtype
        self.norm1 = BatchNorm(width, dtype=dtype)
        self.attn = GatedAggregation(width, config.gate_activations, settings)
        self.layer_scale_1 = LayerScale(width)
        self.norm2 = BatchNorm(width, dtype=dtype)
        self.mlp = ChannelAggregation(width, config.mlp_ratios[stage] * width, settings)
        self.layer_scale_2 = LayerScale(width)
        self.drop_path = DropPath(rate)

    def __call__(self, x: Maps, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.layer_scale_1(self.attn(self.norm1(x)))
        x = self.drop_path.add(x, y, rngs)
        y = self.layer_scale_2(self.mlp(self.norm2(x)))
        return self.drop_path.add(x, y, rngs)


class GatedAggregation(nnx.Module):
    """Spatial mixing: a gate times neighbourhoods, beside a shortcut of its own.

    First each pixel moves away from the image's average, by a learned factor.
    """

    def __init__(self, width: int, gate_activations: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.gate_activations = gate_activations
        self.proj_1 = Linear(width, width, dtype=dtype)
        self.sigma = LayerScale(width)
        self.gate = Linear(width, width, dtype=dtype)
        self.value = MultiOrderConv(width, settings)
        self.proj_2 = Linear(width, width, dtype=dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes pixels."""
        y = self.proj_1(x)
        average = global_average(y).astype(y.dtype)[:, None, None, :]
        y = ACTIVATIONS["silu"](y + self.sigma(y - average))
        gate, value = self.gate(y), self.value(y)
        for _ in range(self.gate_activations):
            gate, value = ACTIVATIONS["silu"](gate), ACTIVATIONS["silu"](value)
        return x + self.proj_2(gate * value)


class MultiOrderConv(nnx.Module):
    """Depthwise convolutions that reach 5, 13 and 23 pixels, then a Linear layer.

    The first sees all channels; on its result, three eighths of them go through a
    second and the last half through a third.
    """

    def __init__(self, width: int, settings: Settings) -> None:
        def depthwise(channels: int, side: int, dilation: int) -> Conv:
            return Conv(
                channels,
                channels,
                side,
                padding=dilation * (side // 2),
                dilation=dilation,
                groups=channels,
                dtype=settings.dtype,
            )

        self.DW_conv0 = depthwise(width, 5, 1)
        self.DW_conv1 = depthwise(3 * width // 8, 5, 2)
        self.DW_conv2 = depthwise(width // 2, 7, 3)
        self.PW_conv = Linear(width, width, dtype=settings.dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes pixels."""
        width = x.shape[-1]
        low, middle, high = jnp.split(
            self.DW_conv0(x), [width // 8, width // 2], axis=-1
        )
        parts = [low, self.DW_conv1(middle), self.DW_conv2(high)]
        return self.PW_conv(jnp.concatenate(parts, axis=-1))


class ChannelAggregation(nnx.Module):
    """MLP with a depthwise convolution inside.

    Before the last layer each channel moves away from a weighted sum of all channels,
    by a learned factor.
    """

    def __init__(self, width: int, hidden: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.fc1 = Linear(width, hidden, dtype=dtype)
        self.dwconv = Conv(hidden, hidden, 3, padding=1, groups=hidden, dtype=dtype)
        self.decompose = Linear(hidden, 1, dtype=dtype)
        self.sigma = LayerScale(hidden)
        self.fc2 = Linear(hidden, width, dtype=dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes channels."""
        gelu = ACTIVATIONS["gelu"]
        y = gelu(self.dwconv(self.fc1(x)))
        common = gelu(self.decompose(y))
        return self.fc2(y + self.sigma(y - common))


ARCHITECTURE = MogaNetArchitecture
