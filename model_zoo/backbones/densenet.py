"""DenseNet-BC: every layer sees the outputs of all layers before it in its block.

Huang et al. (2017), https://arxiv.org/abs/1608.06993; norm and ReLU before each
convolution, 1x1 bottlenecks, and transitions that halve channels and image. Leaves
carry the names of timm and torchvision: `features.denseblock1.denselayer1.conv1.kernel`
is `...conv1.weight` there. No branch can be left out of a concatenation, so there is no
stochastic depth.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.pooling import avg_pool, blur_pool, global_average, max_pool


@dataclass(frozen=True)
class DenseNetArchitecture:
    """Dimensions of a DenseNet.

    Attributes:
        growth_rate: Channels that each layer adds; twice as many leave the stem.
        depths: Layers of each block; every block after the first has half the image.
        bottleneck_ratio: Channels between a layer's convolutions over `growth_rate`.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a max pool, "deep" three
            3x3 convolutions in its place, "small" one 3x3 convolution of stride 1
            without a norm, for images of 64 pixels or less.
        blur: Whether the stem's pool takes every maximum and blurs before it halves:
            https://arxiv.org/abs/1904.11486.
    """

    growth_rate: int = 32
    depths: tuple[int, ...] = (6, 12, 24, 16)
    bottleneck_ratio: int = 4
    stem: Literal["imagenet", "deep", "small"] = "imagenet"
    blur: bool = False

    def __post_init__(self) -> None:
        if self.blur and self.stem == "small":
            raise ValueError("blur=True is for a stem that pools; wanted no small stem")

    @property
    def num_features(self) -> int:
        """Channels of the last block's output."""
        width = 2 * self.growth_rate
        for depth in self.depths[:-1]:
            width = (width + depth * self.growth_rate) // 2
        return width + self.depths[-1] * self.growth_rate

    def check_size(self, size: tuple[int, int]) -> str | None:
        """One pixel must be left after the transitions, which drop odd ones."""
        smallest = 2 ** (len(self.depths) - 1)
        if self.blur:
            smallest = max(smallest, 2)
        if self.stem != "small":
            # The stem keeps odd pixels, twice.
            smallest = 4 * (smallest - 1) + 1
        return architecture.at_least(size, smallest)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network.

        Raises:
            ValueError: If stochastic depth is asked for.
        """
        if settings.drop_path_rate:
            raise ValueError(
                f"got drop_path_rate={settings.drop_path_rate}, but DenseNet adds no "
                "branches that could be dropped; wanted 0"
            )
        return DenseNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Kaiming-normal convolutions; the rest as torch starts it."""
        return (
            Rule(r"classifier\.kernel", init.uniform(self.num_features**-0.5)),
            Rule(r".*\.kernel", init.he_normal_fan_in),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class DenseNet(nnx.Module):
    """Stem, dense blocks and transitions, norm, global average, linear head."""

    def __init__(self, config: DenseNetArchitecture, settings: Settings) -> None:
        self.features = Features(config, dtype=settings.dtype)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.classifier = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        features = global_average(self.features(images))
        return architecture.classify(features, self.dropout, self.classifier, rngs)


class Features(nnx.Module):
    """All but the head."""

    def __init__(self, config: DenseNetArchitecture, *, dtype: DTypeLike) -> None:
        self.stem = config.stem
        self.blur = config.blur
        self.num_blocks = len(config.depths)
        growth, width = config.growth_rate, 2 * config.growth_rate
        if config.stem == "deep":
            self.conv0 = _conv(3, growth, 3, 2, dtype=dtype)
            self.norm0 = BatchNorm(growth, dtype=dtype)
            self.conv1 = _conv(growth, growth, 3, dtype=dtype)
            self.norm1 = BatchNorm(growth, dtype=dtype)
            self.conv2 = _conv(growth, width, 3, dtype=dtype)
            self.norm2 = BatchNorm(width, dtype=dtype)
        else:
            side, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
            self.conv0 = _conv(3, width, side, stride, dtype=dtype)
            if config.stem == "imagenet":
                self.norm0 = BatchNorm(width, dtype=dtype)
        for i, depth in enumerate(config.depths):
            if i > 0:
                transition = Transition(width, width // 2, dtype=dtype)
                setattr(self, f"transition{i}", transition)
                width //= 2
            block = DenseBlock(depth, width, config, dtype=dtype)
            setattr(self, f"denseblock{i + 1}", block)
            width += depth * growth
        self.norm5 = BatchNorm(width, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n p q o"]:
        """Computes the last feature maps."""
        x = self.conv0(x)
        if self.stem != "small":
            x = jax.nn.relu(self.norm0(x))
        if self.stem == "deep":
            x = jax.nn.relu(self.norm1(self.conv1(x)))
            x = jax.nn.relu(self.norm2(self.conv2(x)))
        if self.blur:
            x = blur_pool(max_pool(x, 3, 1, padding=1))
        elif self.stem != "small":
            x = max_pool(x, 3, 2, padding=1)
        for i in range(self.num_blocks):
            if i > 0:
                x = getattr(self, f"transition{i}")(x)
            x = getattr(self, f"denseblock{i + 1}")(x)
        return jax.nn.relu(self.norm5(x))


class DenseBlock(nnx.Module):
    """Layers whose outputs are appended to their inputs."""

    def __init__(
        self,
        depth: int,
        num_in: int,
        config: DenseNetArchitecture,
        *,
        dtype: DTypeLike,
    ) -> None:
        self.depth = depth
        for i in range(depth):
            width = num_in + i * config.growth_rate
            setattr(self, f"denselayer{i + 1}", DenseLayer(width, config, dtype=dtype))

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """Appends each layer's channels."""
        for i in range(self.depth):
            new = getattr(self, f"denselayer{i + 1}")(x)
            x = jnp.concatenate([x, new], axis=-1)
        return x


class DenseLayer(nnx.Module):
    """1x1 to a bottleneck, 3x3 to the growth rate, each after norm and ReLU."""

    def __init__(
        self, num_in: int, config: DenseNetArchitecture, *, dtype: DTypeLike
    ) -> None:
        inner = config.bottleneck_ratio * config.growth_rate
        self.norm1 = BatchNorm(num_in, dtype=dtype)
        self.conv1 = _conv(num_in, inner, 1, dtype=dtype)
        self.norm2 = BatchNorm(inner, dtype=dtype)
        self.conv2 = _conv(inner, config.growth_rate, 3, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """Computes the new channels."""
        x = self.conv1(jax.nn.relu(self.norm1(x)))
        return self.conv2(jax.nn.relu(self.norm2(x)))


class Transition(nnx.Module):
    """Norm, ReLU, 1x1 to fewer channels, average of 2x2."""

    def __init__(self, num_in: int, num_out: int, *, dtype: DTypeLike) -> None:
        self.norm = BatchNorm(num_in, dtype=dtype)
        self.conv = _conv(num_in, num_out, 1, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Halves image and channels."""
        return avg_pool(self.conv(jax.nn.relu(self.norm(x))), 2, 2)


def _conv(
    num_in: int, num_out: int, kernel_size: int, stride: int = 1, *, dtype: DTypeLike
) -> Conv:
    return Conv(
        num_in,
        num_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        use_bias=False,
        dtype=dtype,
    )


ARCHITECTURE = DenseNetArchitecture
