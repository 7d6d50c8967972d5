"""RegNet: networks of grouped bottlenecks whose widths grow by one rule.

Radosavovic et al. (2020), https://arxiv.org/abs/2003.13678: X is the plain block, Y has
squeeze-and-excitation; Z (https://arxiv.org/abs/2103.06877) has inverted bottlenecks
with linear outputs; V is timm's pre-activation Y. The paper's rule gives the widths and
depths once and for all, so an architecture holds those. Leaves carry timm's names.
"""

from dataclasses import dataclass
from typing import Literal

from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.channel_attention import SqueezeExcite
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm, GroupNorm
from model_zoo.layers.pooling import avg_pool, global_average
from model_zoo.layers.stochastic import DropPath, linear_rates

_NORM_GROUP_WIDTH = 16


@dataclass(frozen=True)
class RegNetArchitecture:
    """Dimensions of a RegNet.

    Attributes:
        depths: Blocks of each stage; every stage halves the image.
        widths: Channels of each stage.
        group_width: Channels of a group of the 3x3 convolutions; a stage with fewer
            channels is one group.
        stem_width: Channels of the first convolution, which halves the image too.
        bottleneck_ratio: Channels of the 3x3 convolutions over the stage's.
        squeeze_ratio: Channels of a block's squeeze over those that enter the block; 0
            for no squeeze-and-excitation.
        shortcut: What a shortcut does where the shape changes: "conv" is a strided 1x1
            convolution, "avg" an average pool before one, and "none" no shortcut.
        pre_activation: Whether norms and activations come before the convolutions.
        linear_out: Whether a block's output passes no activation.
        head_width: Channels of a 1x1 convolution before the pooling; 0 is none.
        activation: Name of the activation.
        norm: "batch" or "group", the latter in groups of 16 channels.
        zero_init_last: Whether each branch starts at zero; pre-activated ones never do.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_width: int
    stem_width: int = 32
    bottleneck_ratio: float = 1.0
    squeeze_ratio: float = 0.0
    shortcut: Literal["conv", "avg", "none"] = "conv"
    pre_activation: bool = False
    linear_out: bool = False
    head_width: int = 0
    activation: str = "relu"
    norm: Literal["batch", "group"] = "batch"
    zero_init_last: bool = True

    @property
    def num_features(self) -> int:
        """Channels of the last convolution."""
        return self.head_width or self.widths[-1]

    def groups(self, stage: int) -> tuple[int, int]:
        """Channels of a stage's 3x3 convolutions and of a group of them."""
        width = round(self.widths[stage] * self.bottleneck_ratio)
        return width, min(self.group_width, width)

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do: padded convolutions never run out of pixels."""
        return architecture.at_least(size, 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return RegNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal convolutions by their fan-out within a group."""
        last_scale = init.zeros if self.zero_init_last else init.ones
        grouped = tuple(
            Rule(
                rf"s{stage + 1}\..*\.conv2(\.conv)?\.kernel",
                init.normal((2 / (9 * self.groups(stage)[1])) ** 0.5),
            )
            for stage in range(len(self.widths))
        )
        return (
            Rule(r"head\.fc\.kernel", init.normal(0.01)),
            *grouped,
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(r".*\.conv3\.bn\.scale", last_scale),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class RegNet(nnx.Module):
    """Strided convolution, stages, global average, linear head."""

    def __init__(self, config: RegNetArchitecture, settings: Settings) -> None:
        width = config.stem_width
        if config.pre_activation:
            self.stem = _conv(3, width, 3, settings, stride=2)
        else:
            self.stem = ConvNorm(config, 3, width, 3, settings, stride=2)
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.num_stages = len(config.depths)
        for i, depth in enumerate(config.depths):
            stage_rates = [next(rates) for _ in range(depth)]
            setattr(self, f"s{i + 1}", Stage(config, i, width, stage_rates, settings))
            width = config.widths[i]
        self.final_conv = nnx.data(None)
        if config.head_width:
            self.final_conv = ConvNorm(config, width, config.head_width, 1, settings)
        # Blocks that end without an activation leave one to do.
        activate = config.linear_out or config.pre_activation
        activate = activate and not config.head_width
        self.activation = config.activation if activate else "identity"
        self.head = Head(config.num_features, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.stem(images)
        for stage in range(self.num_stages):
            x = getattr(self, f"s{stage + 1}")(x, rngs)
        if self.final_conv is not None:
            x = self.final_conv(x)
        return self.head(ACTIVATIONS[self.activation](x), rngs)


class Stage(nnx.Module):
    """Blocks of one width, the first of stride 2; named b1, b2 and so on."""

    def __init__(
        self,
        config: RegNetArchitecture,
        index: int,
        num_in: int,
        rates: list[float],
        settings: Settings,
    ) -> None:
        make_block = PreBottleneck if config.pre_activation else Bottleneck
        self.depth = len(rates)
        for i, rate in enumerate(rates):
            stride = 2 if i == 0 else 1
            block = make_block(config, index, num_in, stride, rate, settings)
            setattr(self, f"b{i + 1}", block)
            num_in = config.widths[index]

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the stage."""
        for i in range(self.depth):
            x = getattr(self, f"b{i + 1}")(x, rngs)
        return x


class ConvNorm(nnx.Module):
    """Convolution, norm and, where wanted, the architecture's activation."""

    def __init__(
        self,
        config: RegNetArchitecture,
        num_in: int,
        num_out: int,
        kernel_size: int,
        settings: Settings,
        *,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        self.conv = _conv(
            num_in, num_out, kernel_size, settings, stride=stride, groups=groups
        )
        self.bn = _norm(config, num_out, settings)
        self.activation = config.activation if activate else "identity"

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Applies them."""
        return ACTIVATIONS[self.activation](self.bn(self.conv(x)))


class Bottleneck(nnx.Module):
    """1x1, grouped 3x3, gate, 1x1, beside a shortcut; norms after convolutions."""

    def __init__(
        self,
        config: RegNetArchitecture,
        stage: int,
        num_in: int,
        stride: int,
        rate: float,
        settings: Settings,
    ) -> None:
        num_out = config.widths[stage]
        width, group_width = config.groups(stage)
        groups = width // group_width
        self.conv1 = ConvNorm(config, num_in, width, 1, settings)
        self.conv2 = ConvNorm(
            config, width, width, 3, settings, stride=stride, groups=groups
        )
        self.se = nnx.data(_gate(config, num_in, width, settings))
        self.conv3 = ConvNorm(config, width, num_out, 1, settings, activate=False)
        self.activation = "identity" if config.linear_out else config.activation
        self.has_shortcut = stride == 1 or config.shortcut != "none"
        self.downsample = nnx.List(
            _downsample(config, num_in, num_out, stride, settings)
        )
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        y = self.conv2(self.conv1(x))
        y = self.conv3(y if self.se is None else self.se(y))
        if self.has_shortcut:
            for layer in self.downsample:
                x = layer(x)
            y = self.drop_path(y, rngs) + x
        return ACTIVATIONS[self.activation](y)


class PreBottleneck(nnx.Module):
    """The same with norms before convolutions; the shortcut starts after the first."""

    def __init__(
        self,
        config: RegNetArchitecture,
        stage: int,
        num_in: int,
        stride: int,
        rate: float,
        settings: Settings,
    ) -> None:
        num_out = config.widths[stage]
        width, group_width = config.groups(stage)
        groups = width // group_width
        self.norm1 = _norm(config, num_in, settings)
        self.conv1 = _conv(num_in, width, 1, settings)
        self.norm2 = _norm(config, width, settings)
        self.conv2 = _conv(width, width, 3, settings, stride=stride, groups=groups)
        self.se = nnx.data(_gate(config, num_in, width, settings))
        self.norm3 = _norm(config, width, settings)
        self.conv3 = _conv(width, num_out, 1, settings)
        self.activation = config.activation
        self.has_shortcut = stride == 1 or config.shortcut != "none"
        self.downsample = nnx.List(
            _downsample(config, num_in, num_out, stride, settings)
        )
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        activation = ACTIVATIONS[self.activation]
        x = activation(self.norm1(x))
        y = activation(self.norm2(self.conv1(x)))
        y = self.conv2(y)
        y = activation(self.norm3(y if self.se is None else self.se(y)))
        y = self.conv3(y)
        if self.has_shortcut:
            for layer in self.downsample:
                x = layer(x)
            y = self.drop_path(y, rngs) + x
        return y


class AveragePool(nnx.Module):
    """Means of 2x2 pixels; at an odd border, of those that there are."""

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n p q c"]:
        """Halves height and width, rounding up."""
        return avg_pool(x, 2, 2, ceil_mode=True, count_include_pad=False)


def _conv(
    num_in: int,
    num_out: int,
    kernel_size: int,
    settings: Settings,
    *,
    stride: int = 1,
    groups: int = 1,
) -> Conv:
    return Conv(
        num_in,
        num_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        use_bias=False,
        dtype=settings.dtype,
    )


def _norm(
    config: RegNetArchitecture, width: int, settings: Settings
) -> BatchNorm | GroupNorm:
    if config.norm == "group":
        return GroupNorm(width // _NORM_GROUP_WIDTH, width, dtype=settings.dtype)
    return BatchNorm(width, dtype=settings.dtype)


def _gate(
    config: RegNetArchitecture, num_in: int, width: int, settings: Settings
) -> SqueezeExcite | None:
    if not config.squeeze_ratio:
        return None
    squeezed = round(num_in * config.squeeze_ratio)
    return SqueezeExcite(
        width, squeezed, activation=config.activation, dtype=settings.dtype
    )


def _downsample(
    config: RegNetArchitecture,
    num_in: int,
    num_out: int,
    stride: int,
    settings: Settings,
) -> list[AveragePool | Conv | ConvNorm]:
    """What a shortcut passes through: nothing within a stage."""
    if stride == 1 or config.shortcut == "none":
        return []
    pooled = config.shortcut == "avg"
    conv_stride = 1 if pooled else stride
    if config.pre_activation:
        project = _conv(num_in, num_out, 1, settings, stride=conv_stride)
    else:
        project = ConvNorm(
            config, num_in, num_out, 1, settings, stride=conv_stride, activate=False
        )
    return [AveragePool(), project] if pooled else [project]


class Head(nnx.Module):
    """Global average, dropout, linear layer."""

    def __init__(self, width: int, settings: Settings) -> None:
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(width, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies feature maps."""
        return architecture.classify(global_average(x), self.dropout, self.fc, rngs)


ARCHITECTURE = RegNetArchitecture
