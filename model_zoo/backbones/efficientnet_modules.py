"""The blocks of EfficientNet and its kin as modules; leaves carry timm's names."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.backbones.efficientnet_blocks import Block
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.channel_attention import GlobalContext, SqueezeExcite
from model_zoo.layers.linear import Conv, Linear, parameter
from model_zoo.layers.norms import BatchNorm, GroupNorm, LayerNorm
from model_zoo.layers.pooling import avg_pool, blur_pool, global_average
from model_zoo.layers.stochastic import DropPath

Images = Float[Array, "n h w i"]
Maps = Float[Array, "n p q o"]
Norm = BatchNorm | GroupNorm | LayerNorm


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """What all blocks of a network share.

    Attributes:
        activation: Name of the activation of the stem, of the head and of blocks whose
            strings name none.
        padding: "symmetric" as torch pads, or "SAME" as TensorFlow does, which differs
            where a stride meets an even side.
        norm: "batch", "group" (groups of `norm_group_size` channels) or "layer".
        norm_epsilon: Added to the variance.
        norm_momentum: Share of the old running statistics at a training step.
        norm_group_size: Channels of a group.
        gate: What a gate sees of a channel: its average ("squeeze", squeeze-and-
            excitation) or one weighted by a softmax over pixels ("context").
        gate_activation: Name of the activation that ends a gate.
        squeeze_activation: Name of the activation within a gate; None is the block's.
        anti_alias: What does a block's stride in the convolution's stead: "none", an
            "average" of 2x2 pixels, or a "blur".
        layer_scale: Initial value of the scales that end universal bottlenecks and
            attention; None leaves these out.
    """

    activation: str = "silu"
    padding: Literal["symmetric", "SAME"] = "symmetric"
    norm: Literal["batch", "group", "layer"] = "batch"
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    norm_group_size: int = 8
    gate: Literal["squeeze", "context"] = "squeeze"
    gate_activation: str = "sigmoid"
    squeeze_activation: str | None = None
    anti_alias: Literal["none", "average", "blur"] = "none"
    layer_scale: float | None = None


class MixedConv(nnx.Module):
    """Convolutions of different kernels, each of its share of the channels.

    Tan and Le (2019), https://arxiv.org/abs/1907.09595. The first takes what an even
    split leaves over.
    """

    def __init__(self, convs: list[Conv], shares: list[int]) -> None:
        for i, conv in enumerate(convs):
            setattr(self, str(i), conv)
        self.shares = tuple(shares)

    def __call__(self, x: Images) -> Maps:
        """Convolves every share and joins them again."""
        parts, start = [], 0
        for i, share in enumerate(self.shares):
            parts.append(getattr(self, str(i))(x[..., start : start + share]))
            start += share
        return jnp.concatenate(parts, axis=-1)


class ConditionalConv(Conv):
    """A convolution whose kernel each image mixes from those of experts.

    Yang et al. (2019), https://arxiv.org/abs/1904.04971.
    """

    def __init__(
        self,
        num_experts: int,
        num_in: int,
        num_out: int,
        kernel_size: int,
        *,
        groups: int,
        **options: Any,
    ) -> None:
        super().__init__(num_in, num_out, kernel_size, groups=groups, **options)
        sides = self.kernel_size
        self.kernel = parameter(num_experts, *sides, num_in // groups, num_out)

    def mixed(self, x: Images, routing: Float[Array, "n e"]) -> Maps:
        """Convolves each image with its mixture of the kernels."""
        kernels = jnp.einsum(
            "ne,ehwio->nhwio",
            routing.astype(self.dtype),
            self.kernel[...].astype(self.dtype),
        )

        def convolve(image: Array, kernel: Array) -> Array:
            return self._convolve(image[None], kernel, None)[0]

        return jax.vmap(convolve)(x.astype(self.dtype), kernels)


def make_conv(
    config: BlockOptions,
    num_in: int,
    num_out: int,
    kernel_sizes: tuple[int, ...] = (1,),
    *,
    stride: int = 1,
    groups: int = 1,
    num_experts: int = 0,
    dtype: DTypeLike,
) -> Conv | MixedConv:
    """A convolution without a bias, padded so that only the stride shrinks.

    Several kernel sizes share the channels; such a convolution is depthwise if it has
    as many groups as channels, and dense otherwise.
    """

    def one(num_in: int, num_out: int, kernel_size: int, groups: int) -> Conv:
        # An even kernel has no padding that is the same on both sides.
        same = config.padding == "SAME" or kernel_size % 2 == 0
        options: dict[str, Any] = {
            "stride": stride,
            "padding": "SAME" if same else kernel_size // 2,
            "use_bias": False,
            "dtype": dtype,
        }
        if num_experts:
            return ConditionalConv(
                num_experts, num_in, num_out, kernel_size, groups=groups, **options
            )
        return Conv(num_in, num_out, kernel_size, groups=groups, **options)

    if len(kernel_sizes) == 1:
        return one(num_in, num_out, kernel_sizes[0], groups)
    ins, outs = (_shares(width, len(kernel_sizes)) for width in (num_in, num_out))
    depthwise = groups == num_in
    convs = [
        one(i, o, size, i if depthwise else 1)
        for i, o, size in zip(ins, outs, kernel_sizes, strict=True)
    ]
    return MixedConv(convs, ins)


def make_norm(config: BlockOptions, width: int, dtype: DTypeLike) -> Norm:
    """The norm that the architecture names."""
    epsilon = config.norm_epsilon
    if config.norm == "group":
        num_groups = width // config.norm_group_size
        return GroupNorm(num_groups, width, epsilon=epsilon, dtype=dtype)
    if config.norm == "layer":
        return LayerNorm(width, epsilon=epsilon, dtype=dtype)
    momentum = config.norm_momentum
    return BatchNorm(width, momentum=momentum, epsilon=epsilon, dtype=dtype)


class Residual(nnx.Module):
    """What blocks share: an activation, a gate, anti-aliasing, a shortcut."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        self.activation = block.activation
        self.anti_alias = config.anti_alias if block.stride > 1 else "none"
        # Anti-aliasing takes the stride over from the convolution before it.
        self.stride = 1 if self.anti_alias != "none" else block.stride
        self.se = nnx.data(_make_gate(config, block, dtype))
        self.skip = block.skip
        self.drop_path = DropPath(rate)

    def act(self, x: Maps) -> Maps:
        """Applies the block's activation."""
        return ACTIVATIONS[self.activation](x)

    def shrink(self, x: Images) -> Maps:
        """Does the stride, where anti-aliasing took it over."""
        if self.anti_alias == "average":
            return avg_pool(x, 2, 2)
        return blur_pool(x, border="zeros") if self.anti_alias == "blur" else x

    def weigh(self, x: Maps) -> Maps:
        """Weighs the channels, where the block has a gate."""
        return x if self.se is None else self.se(x)

    def join(self, x: Images, y: Maps, rngs: nnx.Rngs | None) -> Maps:
        """Adds the shortcut, if there is one."""
        return self.drop_path.add(x, y, rngs) if self.skip else y


class ConvBlock(Residual):
    """One convolution, norm, activation."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        num_in, num_out = block.num_in, block.num_out
        groups = groups_of(block, num_in)
        make = partial(make_conv, config, stride=self.stride, dtype=dtype)
        self.conv = make(num_in, num_out, block.kernel_size, groups=groups)
        self.bn1 = make_norm(config, num_out, dtype)

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.act(self.bn1(self.conv(x)))
        return self.join(x, self.shrink(y), rngs)


class DepthwiseSeparable(Residual):
    """Depthwise convolution, gate, 1x1: https://arxiv.org/abs/1704.04861."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        width, num_out, kernel_size = (
            block.num_expanded,
            block.num_out,
            block.kernel_size,
        )
        make = partial(make_conv, config, dtype=dtype)
        self.conv_s2d, self.bn_s2d = nnx.data(None), nnx.data(None)
        if block.space_to_depth:
            self.conv_s2d = make(block.num_in, width, (2,), stride=2)
            self.bn_s2d = make_norm(config, width, dtype)
            # The pixels are twice as large by now.
            kernel_size = tuple((size + 1) // 2 for size in kernel_size)
        groups = groups_of(block, width)
        self.conv_dw = make(
            width, width, kernel_size, stride=self.stride, groups=groups
        )
        self.bn1 = make_norm(config, width, dtype)
        self.conv_pw = make(width, num_out, block.project_kernel)
        self.bn2 = make_norm(config, num_out, dtype)
        self.last_activation = block.activation if block.kind == "dsa" else "identity"

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = x
        if self.conv_s2d is not None and self.bn_s2d is not None:
            y = self.act(self.bn_s2d(self.conv_s2d(y)))
        y = self.weigh(self.shrink(self.act(self.bn1(self.conv_dw(y)))))
        y = ACTIVATIONS[self.last_activation](self.bn2(self.conv_pw(y)))
        return self.join(x, y, rngs)


class InvertedResidual(Residual):
    """1x1 to expand, depthwise, gate, 1x1: https://arxiv.org/abs/1801.04381."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        num_in, width, num_out = block.num_in, block.num_expanded, block.num_out
        experts = block.num_experts
        make = partial(make_conv, config, num_experts=experts, dtype=dtype)
        self.routing_fn = nnx.data(
            Linear(num_in, experts, dtype=jnp.float32) if experts else None
        )
        self.conv_pw = make(num_in, width, block.expand_kernel)
        self.bn1 = make_norm(config, width, dtype)
        groups = groups_of(block, width)
        self.conv_dw = make(
            width, width, block.kernel_size, stride=self.stride, groups=groups
        )
        self.bn2 = make_norm(config, width, dtype)
        self.conv_pwl = make(width, num_out, block.project_kernel)
        self.bn3 = make_norm(config, num_out, dtype)

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        routing = None
        if self.routing_fn is not None:
            routing = jax.nn.sigmoid(self.routing_fn(global_average(x)))
        y = self.act(self.bn1(_convolve(self.conv_pw, x, routing)))
        y = self.act(self.bn2(_convolve(self.conv_dw, y, routing)))
        y = _convolve(self.conv_pwl, self.weigh(self.shrink(y)), routing)
        return self.join(x, self.bn3(y), rngs)


class FusedResidual(Residual):
    """A convolution that expands, gate, 1x1: https://arxiv.org/abs/2104.00298."""

    def __init__(
        self, config: BlockOptions, block: Block, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, block, rate, dtype)
        num_in, width, num_out = block.num_in, block.num_expanded, block.num_out
        make = partial(make_conv, config, dtype=dtype)
        groups = groups_of(block, width)
        self.conv_exp = make(
            num_in, width, block.kernel_size, stride=self.stride, groups=groups
        )
        self.bn1 = make_norm(config, width, dtype)
        self.conv_pwl = make(width, num_out, block.project_kernel)
        self.bn2 = make_norm(config, num_out, dtype)

    def __call__(self, x: Images, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.weigh(self.shrink(self.act(self.bn1(self.conv_exp(x)))))
        return self.join(x, self.bn2(self.conv_pwl(y)), rngs)


def groups_of(block: Block, width: int) -> int:
    """Groups of a block's convolution over so many channels."""
    return width // block.group_size if block.group_size else 1


def _shares(width: int, count: int) -> list[int]:
    share = width // count
    return [width - share * (count - 1)] + [share] * (count - 1)


def _convolve(conv: Conv | MixedConv, x: Array, routing: Array | None) -> Array:
    if routing is not None and isinstance(conv, ConditionalConv):
        return conv.mixed(x, routing)
    return conv(x)


def _make_gate(
    config: BlockOptions, block: Block, dtype: DTypeLike
) -> SqueezeExcite | GlobalContext | None:
    if not block.num_squeezed:
        return None
    make = GlobalContext if config.gate == "context" else SqueezeExcite
    return make(
        block.num_expanded,
        block.num_squeezed,
        activation=config.squeeze_activation or block.activation,
        gate=config.gate_activation,
        dtype=dtype,
    )
