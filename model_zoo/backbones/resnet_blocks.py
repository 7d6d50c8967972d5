"""Blocks of the ResNet family, and the layers that its options exchange."""

from functools import partial
from typing import Literal, NamedTuple

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from model_zoo.layers.linear import Conv
from model_zoo.layers.norms import BatchNorm, GroupNorm
from model_zoo.layers.pooling import avg_pool, blur_pool
from model_zoo.layers.stochastic import DropPath

Kind = Literal["basic", "bottleneck"]
AntiAlias = Literal["avg", "blur"]
EXPANSION: dict[Kind, int] = {"basic": 1, "bottleneck": 4}


class BlockShape(NamedTuple):
    """Dimensions and options of one block.

    Attributes:
        kind: Which block.
        num_in: Channels that come.
        inner: Channels of its first and, in a bottleneck, its second convolution.
        num_out: Channels that go.
        stride: 2 halves the image.
        project: Whether the shortcut is a projection.
        rate: Stochastic depth.
        groups: Groups of the bottleneck's 3x3 convolution.
        down_kernel_size: Side of the shortcut's kernel where the block halves.
        avg_down: Whether the shortcut halves by an average pool.
        anti_alias: What halves in place of a strided convolution.
        attention: What weighs the branch's channels.
        attention_size: Inner channels of squeeze-and-excitation ("se"), or how many
            neighbours efficient channel attention ("eca") sees.
        norm_groups: Groups of group normalisation; None is batch normalisation.
    """

    kind: Kind
    num_in: int
    inner: tuple[int, int]
    num_out: int
    stride: int
    project: bool
    rate: float
    groups: int
    down_kernel_size: int
    avg_down: bool
    anti_alias: AntiAlias | None
    attention: Literal["se", "eca"] | None
    attention_size: int
    norm_groups: int | None


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, shape: BlockShape, *, dtype: DTypeLike) -> None:
        width, num_out = shape.inner[0], shape.num_out
        filtered = shape.anti_alias is not None and shape.stride > 1
        self.anti_alias: AntiAlias | None = shape.anti_alias if filtered else None
        stride = 1 if filtered else shape.stride
        self.conv1 = conv(shape.num_in, width, 3, stride, dtype=dtype)
        self.bn1 = norm(width, shape.norm_groups, dtype=dtype)
        self.conv2 = conv(width, num_out, 3, dtype=dtype)
        self.bn2 = norm(num_out, shape.norm_groups, dtype=dtype)
        self.se = nnx.data(_attention(shape, dtype=dtype))
        self.downsample = nnx.List(_shortcut(shape, dtype=dtype))
        self.drop_path = DropPath(shape.rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = halve(y, self.anti_alias)
        y = self.bn2(self.conv2(y))
        if self.se is not None:
            y = self.se(y)
        for layer in self.downsample:
            x = layer(x)
        return jax.nn.relu(self.drop_path(y, rngs) + x)


class Bottleneck(nnx.Module):
    """1x1 to reduce, 3x3, 1x1 to expand fourfold, beside a shortcut."""

    def __init__(self, shape: BlockShape, *, dtype: DTypeLike) -> None:
        (first, second), num_out = shape.inner, shape.num_out
        filtered = shape.anti_alias is not None and shape.stride > 1
        self.anti_alias: AntiAlias | None = shape.anti_alias if filtered else None
        stride = 1 if filtered else shape.stride
        self.conv1 = conv(shape.num_in, first, 1, dtype=dtype)
        self.bn1 = norm(first, shape.norm_groups, dtype=dtype)
        self.conv2 = conv(first, second, 3, stride, groups=shape.groups, dtype=dtype)
        self.bn2 = norm(second, shape.norm_groups, dtype=dtype)
        self.conv3 = conv(second, num_out, 1, dtype=dtype)
        self.bn3 = norm(num_out, shape.norm_groups, dtype=dtype)
        self.se = nnx.data(_attention(shape, dtype=dtype))
        self.downsample = nnx.List(_shortcut(shape, dtype=dtype))
        self.drop_path = DropPath(shape.rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        y = jax.nn.relu(self.bn2(self.conv2(y)))
        y = halve(y, self.anti_alias)
        y = self.bn3(self.conv3(y))
        if self.se is not None:
            y = self.se(y)
        for layer in self.downsample:
            x = layer(x)
        return jax.nn.relu(self.drop_path(y, rngs) + x)


def block(shape: BlockShape, *, dtype: DTypeLike) -> BasicBlock | Bottleneck:
    """Makes a block of the kind that its shape names."""
    make = BasicBlock if shape.kind == "basic" else Bottleneck
    return make(shape, dtype=dtype)


def conv(
    num_in: int,
    num_out: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
    dtype: DTypeLike,
) -> Conv:
    """A convolution without bias that keeps the size, but for its stride."""
    return Conv(
        num_in,
        num_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        use_bias=False,
        dtype=dtype,
    )


def norm(
    num_features: int, norm_groups: int | None, *, dtype: DTypeLike
) -> BatchNorm | GroupNorm:
    """Batch normalisation, or group normalisation where groups are given."""
    if norm_groups is None:
        return BatchNorm(num_features, dtype=dtype)
    return GroupNorm(norm_groups, num_features, dtype=dtype)


def halve(
    x: Float[Array, "n h w c"], anti_alias: AntiAlias | None
) -> Float[Array, "n p q c"]:
    """Halves an image by the anti-aliasing filter; None leaves it."""
    if anti_alias is None:
        return x
    return blur_pool(x) if anti_alias == "blur" else avg_pool(x, 2, 2)


def _attention(
    shape: BlockShape, *, dtype: DTypeLike
) -> SqueezeExcite | EfficientChannelAttention | None:
    if shape.attention == "se":
        return SqueezeExcite(shape.num_out, shape.attention_size, dtype=dtype)
    if shape.attention == "eca":
        return EfficientChannelAttention(shape.attention_size)
    return None


def _shortcut(shape: BlockShape, *, dtype: DTypeLike) -> list:
    """The layers of a projection, none where the input goes on as it is."""
    if not shape.project:
        return []
    num_in, num_out, stride = shape.num_in, shape.num_out, shape.stride
    last = norm(num_out, shape.norm_groups, dtype=dtype)
    if shape.avg_down:
        pool = partial(
            avg_pool, size=2, stride=2, ceil_mode=True, count_include_pad=False
        )
        halving = pool if stride > 1 else _identity
        return [nnx.static(halving), conv(num_in, num_out, 1, dtype=dtype), last]
    side = shape.down_kernel_size if stride > 1 else 1
    return [conv(num_in, num_out, side, stride, dtype=dtype), last]


def _identity(x: Array) -> Array:
    return x
