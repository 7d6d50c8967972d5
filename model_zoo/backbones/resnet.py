"""ResNet, post-activation, with the stride in the 3x3 convolution.

He et al. (2016), https://arxiv.org/abs/1512.03385; the stride sits where torchvision
and timm have it ("v1.5"), and each branch's last batch-norm scale starts at zero
(Goyal et al. 2017, https://arxiv.org/abs/1706.02677). Leaves carry timm's names:
`layer1.0.conv1.kernel` is `layer1.0.conv1.weight` there.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.input_spec import InputSpec
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.stochastic import DropPath, linear_rates

_IMAGENET = InputSpec(interpolation="bilinear")
_CIFAR = InputSpec(size=(32, 32), crop_fraction=1.0, interpolation="bilinear")
_MICRO = InputSpec(size=(8, 8), crop_fraction=1.0, interpolation="bilinear")


@dataclass(frozen=True)
class ResNetArchitecture:
    """Dimensions of a ResNet.

    Attributes:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage's 3x3 convolutions.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a max pool, "small" one
            3x3 convolution of stride 1, for images of 64 pixels or less.
        zero_init_last: Whether each branch starts at zero.
        input_spec: The input that the variant was made for.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Literal["imagenet", "small"] = "imagenet"
    zero_init_last: bool = True
    input_spec: InputSpec = _IMAGENET

    @property
    def expansion(self) -> int:
        """Channels of a block's output over the width of its 3x3 convolution."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1] * self.expansion

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do: padded convolutions never run out of pixels."""
        return architecture.at_least(size, 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ResNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Kaiming-normal convolutions; the rest as torch starts it."""
        last_norm = "bn3" if self.block == "bottleneck" else "bn2"
        last_scale = init.zeros if self.zero_init_last else init.ones
        return (
            Rule(r"fc\.(kernel|bias)", init.uniform(self.num_features**-0.5)),
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(rf"layer\d+\.\d+\.{last_norm}\.scale", last_scale),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class ResNet(nnx.Module):
    """Stem, stages, global average, linear head."""

    def __init__(self, config: ResNetArchitecture, settings: Settings) -> None:
        dtype = settings.dtype
        self.stem = config.stem
        width = config.widths[0]
        kernel, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
        self.conv1 = _conv(3, width, kernel, stride, settings)
        self.bn1 = BatchNorm(width, dtype=dtype)
        self.num_stages = len(config.depths)
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        num_in = width
        make_block = Bottleneck if config.block == "bottleneck" else BasicBlock
        for stage, (depth, width) in enumerate(
            zip(config.depths, config.widths, strict=True)
        ):
            blocks = nnx.List()
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(make_block(num_in, width, stride, next(rates), settings))
                num_in = width * config.expansion
            setattr(self, f"layer{stage + 1}", blocks)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(num_in, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = jax.nn.relu(self.bn1(self.conv1(images)))
        if self.stem == "imagenet":
            x = _max_pool(x)
        for stage in range(self.num_stages):
            for block in getattr(self, f"layer{stage + 1}"):
                x = block(x, rngs)
        features = x.astype(jnp.float32).mean((1, 2))
        return architecture.classify(features, self.dropout, self.fc, rngs)


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self, num_in: int, width: int, stride: int, rate: float, settings: Settings
    ) -> None:
        self.conv1 = _conv(num_in, width, 3, stride, settings)
        self.bn1 = BatchNorm(width, dtype=settings.dtype)
        self.conv2 = _conv(width, width, 3, 1, settings)
        self.bn2 = BatchNorm(width, dtype=settings.dtype)
        self.downsample = nnx.List(_shortcut(num_in, width, stride, settings))
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return jax.nn.relu(self.drop_path(y, rngs) + x)


class Bottleneck(nnx.Module):
    """1x1 to reduce, 3x3, 1x1 to expand fourfold, beside a shortcut."""

    def __init__(
        self, num_in: int, width: int, stride: int, rate: float, settings: Settings
    ) -> None:
        self.conv1 = _conv(num_in, width, 1, 1, settings)
        self.bn1 = BatchNorm(width, dtype=settings.dtype)
        self.conv2 = _conv(width, width, 3, stride, settings)
        self.bn2 = BatchNorm(width, dtype=settings.dtype)
        self.conv3 = _conv(width, 4 * width, 1, 1, settings)
        self.bn3 = BatchNorm(4 * width, dtype=settings.dtype)
        self.downsample = nnx.List(_shortcut(num_in, 4 * width, stride, settings))
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = jax.nn.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        for layer in self.downsample:
            x = layer(x)
        return jax.nn.relu(self.drop_path(y, rngs) + x)


def _conv(
    num_in: int, num_out: int, kernel_size: int, stride: int, settings: Settings
) -> Conv:
    return Conv(
        num_in,
        num_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        use_bias=False,
        dtype=settings.dtype,
    )


def _max_pool(x: Array) -> Array:
    """3x3, stride 2; the border is -inf, so it never wins."""
    window, stride, border = (
        (1, 3, 3, 1),
        (1, 2, 2, 1),
        ((0, 0), (1, 1), (1, 1), (0, 0)),
    )
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, stride, border)


def _shortcut(
    num_in: int, num_out: int, stride: int, settings: Settings
) -> list[Conv | BatchNorm]:
    """A projection where the shape changes, else nothing."""
    if stride == 1 and num_in == num_out:
        return []
    conv = _conv(num_in, num_out, 1, stride, settings)
    return [conv, BatchNorm(num_out, dtype=settings.dtype)]


VARIANTS: dict[str, ResNetArchitecture] = {
    "resnet_micro": ResNetArchitecture(
        "basic", (1, 1), (16, 32), stem="small", input_spec=_MICRO
    ),
    "resnet_mini": ResNetArchitecture(
        "basic", (1, 1, 1, 1), (16, 32, 64, 128), stem="small", input_spec=_CIFAR
    ),
    "resnet18_cifar": ResNetArchitecture(
        "basic", (2, 2, 2, 2), stem="small", input_spec=_CIFAR
    ),
    "resnet50_cifar": ResNetArchitecture(
        "bottleneck", (3, 4, 6, 3), stem="small", input_spec=_CIFAR
    ),
    "resnet18": ResNetArchitecture("basic", (2, 2, 2, 2)),
    "resnet34": ResNetArchitecture("basic", (3, 4, 6, 3)),
    "resnet50": ResNetArchitecture("bottleneck", (3, 4, 6, 3)),
    "resnet101": ResNetArchitecture("bottleneck", (3, 4, 23, 3)),
    "resnet152": ResNetArchitecture("bottleneck", (3, 8, 36, 3)),
}
