"""MobileNetV4's blocks: the universal inverted bottleneck and multi-query attention.

Qin et al. (2024), https://arxiv.org/abs/2404.10518. Leaves carry timm's names.
"""

from functools import partial

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.backbones.efficientnet_blocks import Block
from model_zoo.backbones.efficientnet_modules import (
    BlockOptions,
    Images,
    Maps,
    Residual,
    groups_of,
    make_conv,
    make_norm,
)
from model_zoo.layers.attention import attend
from model_zoo.layers.layer_scale import LayerScale


class UniversalBottleneck(Residual):
    """1x1 to expand and 1x1 to project, with depthwise convolutions round them.

    Each of the depthwise convolutions before, between and after the two may be absent;
    the stride is that of the one between, or else of the one that there is.
    """

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        num_in, width, num_out = block.num_in, block.num_expanded, block.num_out
        before, between, after = (
            sizes != (0,)
            for sizes in (block.expand_kernel, block.kernel_size, block.project_kernel)
        )
        make = partial(ConvNorm, config, dtype=dtype)
        stride = self.stride
        self.dw_start, self.dw_mid, self.dw_end = (nnx.data(None) for _ in range(3))
        if before:
            self.dw_start = make(
                num_in,
                num_in,
                block.expand_kernel,
                stride=1 if between else stride,
                groups=groups_of(block, num_in),
            )
        self.pw_exp = make(num_in, width)
        if between:
            self.dw_mid = make(
                width,
                width,
                block.kernel_size,
                stride=stride,
                groups=groups_of(block, width),
            )
        self.pw_proj = make(width, num_out)
        if after:
            self.dw_end = make(
                num_out,
                num_out,
                block.project_kernel,
                stride=1 if before or between else stride,
                groups=groups_of(block, num_out),
            )
        self.strided = "mid" if between else "start" if before else "end"
        self.layer_scale = nnx.data(_make_layer_scale(config, num_out))

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.shrink_at("start", x if self.dw_start is None else self.dw_start(x))
        y = self.act(self.pw_exp(y))
        if self.dw_mid is not None:
            y = self.shrink_at("mid", self.act(self.dw_mid(y)))
        y = self.pw_proj(self.weigh(y))
        if self.dw_end is not None:
            y = self.shrink_at("end", self.dw_end(y))
        if self.layer_scale is not None:
            y = self.layer_scale(y)
        return self.join(x, y, rngs)

    def shrink_at(self, place: str, x: Images) -> Maps:
        """Does the stride, where it is this convolution's and was taken over."""
        return self.shrink(x) if place == self.strided else x


class AttentionBlock(Residual):
    """Norm and multi-query attention of all pixels, beside a shortcut."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        self.norm = make_norm(config, block.num_in, dtype)
        self.attn = MultiQueryAttention(config, block, dtype)
        self.layer_scale = nnx.data(_make_layer_scale(config, block.num_out))

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.attn(self.norm(x))
        if self.layer_scale is not None:
            y = self.layer_scale(y)
        return self.join(x, y, rngs)


class MultiQueryAttention(nnx.Module):
    """Attention whose heads share keys and values: https://arxiv.org/abs/1911.02150."""

    def __init__(self, config: BlockOptions, block: Block, dtype: DTypeLike) -> None:
        num_in, width = block.num_in, block.head_width
        self.num_heads, self.width = block.num_heads, width
        make = partial(Projection, config, block, dtype=dtype)
        self.query = make(num_in, block.num_heads * width)
        self.key = make(num_in, width, stride=block.key_stride)
        self.value = make(num_in, width, stride=block.key_stride)
        self.output = make(block.num_heads * width, block.num_out)

    def __call__(self, x: Images) -> Float[Array, "n h w o"]:
        """Attends from every pixel to every one of the shrunken image."""
        n, height, width, _ = x.shape
        key, value = (
            layer(x).reshape(n, -1, 1, self.width) for layer in (self.key, self.value)
        )
        # As the heads share keys, they are but more queries.
        query = self.query(x).reshape(n, -1, 1, self.width)
        y = attend(query, key, value)
        return self.output(y.reshape(n, height, width, self.num_heads * self.width))


class Projection(nnx.Module):
    """1x1 convolution, after a depthwise one and a norm where it shrinks the image."""

    def __init__(
        self,
        config: BlockOptions,
        block: Block,
        num_in: int,
        num_out: int,
        *,
        stride: int = 1,
        dtype: DTypeLike,
    ) -> None:
        make = partial(make_conv, config, dtype=dtype)
        self.down_conv, self.norm = nnx.data(None), nnx.data(None)
        if stride > 1:
            self.down_conv = make(
                num_in, num_in, block.kernel_size, stride=stride, groups=num_in
            )
            self.norm = make_norm(config, num_in, dtype)
        self.proj = make(num_in, num_out)

    def __call__(self, x: Images) -> Maps:
        """Shrinks and projects."""
        if self.down_conv is not None and self.norm is not None:
            x = self.norm(self.down_conv(x))
        return self.proj(x)


class ConvNorm(nnx.Module):
    """Convolution, norm."""

    def __init__(
        self,
        config: BlockOptions,
        num_in: int,
        num_out: int,
        kernel_sizes: tuple[int, ...] = (1,),
        *,
        stride: int = 1,
        groups: int = 1,
        dtype: DTypeLike,
    ) -> None:
        self.conv = make_conv(
            config,
            num_in,
            num_out,
            kernel_sizes,
            stride=stride,
            groups=groups,
            dtype=dtype,
        )
        self.bn = make_norm(config, num_out, dtype)

    def __call__(self, x: Images) -> Maps:
        """Applies both."""
        return self.bn(self.conv(x))


def _make_layer_scale(config: BlockOptions, width: int) -> LayerScale | None:
    return None if config.layer_scale is None else LayerScale(width)
