"""ConvNeXt: depthwise convolution, norm, inverted bottleneck, layer scale.

Liu et al. (2022), https://arxiv.org/abs/2201.03545, and its second version, Woo et al.
(2023), https://arxiv.org/abs/2301.00808, which has global response normalisation in
place of the layer scale. The sizes below tiny, overlapping stems and other norms are
timm's, and so are the leaves' names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv, Linear, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import LayerNorm, RmsNorm
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates


@dataclass(frozen=True)
class ConvNeXtArchitecture:
    """Dimensions of a ConvNeXt.

    Attributes:
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage.
        conv_mlp: Whether timm stores the MLPs as 1x1 convolutions.
        patch_size: Side and stride of the stem's convolution in pixels; 1 is a 3x3
            convolution of stride 1, for images of 32 pixels.
        kernel_size: Side of the depthwise convolutions in pixels, odd; or of each
            stage's.
        layer_scale: Initial value of the scale that ends each branch; 0 or None is no
            scale.
        stem_width: Channels between two overlapping 3x3 convolutions of stride 2 that
            stand for the stem's one of `patch_size` 4; None is the one.
        stem_activation: Whether the activation stands between those two.
        response_norm: Whether MLPs normalise the response of their hidden channels.
        norm: "layer", "rms" (root mean square) or "simple" (standard deviation; the
            mean stays).
        epsilon: Of the norms.
        activation: Name of the activation.
        norm_first: Whether the last norm comes before the pooling.
        head_width: Channels of a hidden layer between the last norm and the head; 0 is
            none.

    Raises:
        ValueError: If options exclude one another, or sides are as many as no stages.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    conv_mlp: bool = False
    patch_size: int = 4
    kernel_size: int | tuple[int, ...] = 7
    layer_scale: float | None = 1e-6
    stem_width: int | None = None
    stem_activation: bool = False
    response_norm: bool = False
    norm: Literal["layer", "rms", "simple"] = "layer"
    epsilon: float = 1e-6
    activation: str = "gelu"
    norm_first: bool = False
    head_width: int = 0

    def __post_init__(self) -> None:
        if self.stem_width and self.patch_size != 4:
            raise ValueError(
                f"stem_width={self.stem_width} is for patch_size 4, got "
                f"{self.patch_size}"
            )
        if self.norm_first and self.head_width:
            raise ValueError("norm_first and head_width exclude one another")
        if len(self.kernel_sizes) != len(self.depths):
            raise ValueError(
                f"kernel_size={self.kernel_size} gives {len(self.kernel_sizes)} sides "
                f"for {len(self.depths)} stages; wanted one, or one a stage"
            )

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Side of each stage's depthwise convolutions."""
        if isinstance(self.kernel_size, int):
            return (self.kernel_size,) * len(self.depths)
        return self.kernel_size

    @property
    def num_features(self) -> int:
        """Channels of the last layer's input."""
        return self.head_width or self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """One pixel must be left after the stem and every halving."""
        smallest = self.patch_size * 2 ** (len(self.depths) - 1)
        # Overlapping convolutions round up where patches are cut off.
        smallest -= 3 if self.stem_width else 0
        return architecture.at_least(size, smallest)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ConvNeXt(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal 0.02 kernels, zero biases, small layer scales, no response norm."""
        return (
            Rule(r".*\.gamma", init.constant(self.layer_scale or 0.0)),
            Rule(r".*\.mlp\.norm\..*", init.zeros),
            Rule(r".*\.kernel", init.normal(0.02)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class ConvNeXt(nnx.Module):
    """Stem, stages, global average and norm, linear head."""

    def __init__(self, config: ConvNeXtArchitecture, settings: Settings) -> None:
        self.stem = nnx.List(_stem(config, settings))
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.stages = nnx.List()
        for i, depth in enumerate(config.depths):
            stage_rates = [next(rates) for _ in range(depth)]
            self.stages.append(Stage(config, i, stage_rates, settings))
        self.norm_pre = nnx.data(None)
        if config.norm_first:
            self.norm_pre = _norm(config, config.widths[-1], settings.dtype)
        self.head = Head(config, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layer in self.stem:
            x = layer(x)
        for stage in self.stages:
            x = stage(x, rngs)
        return self.head(x if self.norm_pre is None else self.norm_pre(x), rngs)


class Stage(nnx.Module):
    """Norm and strided convolution where the shape changes, then blocks."""

    def __init__(
        self,
        config: ConvNeXtArchitecture,
        index: int,
        rates: list[float],
        settings: Settings,
    ) -> None:
        width, dtype = config.widths[index], settings.dtype
        self.downsample = nnx.List()
        if index > 0:
            before = config.widths[index - 1]
            self.downsample.append(_norm(config, before, dtype))
            self.downsample.append(Conv(before, width, 2, stride=2, dtype=dtype))
        self.blocks = nnx.List(Block(config, index, rate, settings) for rate in rates)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the stage."""
        for layer in self.downsample:
            x = layer(x)
        for block in self.blocks:
            x = block(x, rngs)
        return x


class Block(nnx.Module):
    """Depthwise convolution, norm, MLP, layer scale, added to the stream."""

    def __init__(
        self,
        config: ConvNeXtArchitecture,
        stage: int,
        rate: float,
        settings: Settings,
    ) -> None:
        width, dtype = config.widths[stage], settings.dtype
        side = config.kernel_sizes[stage]
        self.dtype = dtype
        self.conv_dw = Conv(
            width, width, side, padding=side // 2, groups=width, dtype=dtype
        )
        self.norm = _norm(config, width, dtype)
        self.mlp = Mlp(
            width,
            4 * width,
            activation=config.activation,
            use_conv=config.conv_mlp,
            norm=ResponseNorm(4 * width, dtype=dtype) if config.response_norm else None,
            dtype=dtype,
        )
        scaled = bool(config.layer_scale)
        self.gamma = nnx.data(parameter(width) if scaled else None)
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n h w d"]:
        """Applies the block."""
        y = self.mlp(self.norm(self.conv_dw(x)))
        if self.gamma is not None:
            y = y * self.gamma[...].astype(self.dtype).reshape(1, 1, 1, -1)
        return self.drop_path.add(x, y, rngs)


class Head(nnx.Module):
    """Global average, norm and hidden layer where there are such, linear layer."""

    def __init__(self, config: ConvNeXtArchitecture, settings: Settings) -> None:
        width = config.widths[-1]
        self.norm, self.pre_logits = nnx.data(None), nnx.data(None)
        if not config.norm_first:
            self.norm = _norm(config, width, jnp.float32)
        if config.head_width:
            self.pre_logits = Linear(width, config.head_width, dtype=jnp.float32)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(config.num_features, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies feature maps."""
        features = global_average(x)
        if self.norm is not None:
            features = self.norm(features)
        if self.pre_logits is not None:
            features = ACTIVATIONS["gelu"](self.pre_logits(features))
        return architecture.classify(features, self.dropout, self.fc, rngs)


class ResponseNorm(nnx.Module):
    """Global response normalisation: arXiv 2301.00808, section 3.

    Channels are weighed by their norm over the image relative to the mean of all, and
    the result is scaled, shifted and added; in float32.
    """

    def __init__(self, num_features: int, *, dtype: DTypeLike) -> None:
        self.scale = parameter(num_features)
        self.bias = parameter(num_features)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w d"]) -> Float[Array, "n h w d"]:
        """Weighs every channel."""
        x = x.astype(jnp.float32)
        power = jnp.square(x).sum((1, 2), keepdims=True)
        # A channel that is zero everywhere has no gradient to give through its root.
        silent = power == 0
        norm = jnp.where(silent, 0.0, jnp.sqrt(jnp.where(silent, 1.0, power)))
        weights = norm / (norm.mean(-1, keepdims=True) + 1e-6)
        scale, bias = (p[...].reshape(1, 1, 1, -1) for p in (self.scale, self.bias))
        return (x + bias + scale * (x * weights)).astype(self.dtype)


class SimpleNorm(nnx.Module):
    """Division by the unbiased standard deviation of the last axis; the mean stays."""

    def __init__(
        self, num_features: int, *, epsilon: float = 1e-6, dtype: DTypeLike
    ) -> None:
        self.scale = parameter(num_features)
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Divides every row."""
        x = x.astype(jnp.float32)
        variance = x.var(-1, keepdims=True, ddof=1)
        scale = self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))
        return (x / jnp.sqrt(variance + self.epsilon) * scale).astype(self.dtype)


class Activation(nnx.Module):
    """An activation as a layer of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, x: Float[Array, "n h w d"]) -> Float[Array, "n h w d"]:
        """Applies it."""
        return ACTIVATIONS[self.name](x)


_NORMS = {"layer": LayerNorm, "rms": RmsNorm, "simple": SimpleNorm}


def _norm(
    config: ConvNeXtArchitecture, width: int, dtype: DTypeLike
) -> LayerNorm | RmsNorm | SimpleNorm:
    return _NORMS[config.norm](width, epsilon=config.epsilon, dtype=dtype)


def _stem(
    config: ConvNeXtArchitecture, settings: Settings
) -> list[Callable[[Array], Array]]:
    """One convolution of patches, or two that overlap; then a norm."""
    width, dtype, stride = config.widths[0], settings.dtype, config.patch_size
    side, padding = (3, 1) if stride == 1 else (stride, 0)
    norm = _norm(config, width, dtype)
    if config.stem_width is None:
        conv = Conv(3, width, side, stride=stride, padding=padding, dtype=dtype)
        return [conv, norm]
    layers = [
        Conv(3, config.stem_width, 3, stride=2, padding=1, dtype=dtype),
        Activation(config.activation),
        Conv(config.stem_width, width, 3, stride=2, padding=1, dtype=dtype),
        norm,
    ]
    return layers if config.stem_activation else [layers[0], *layers[2:]]


ARCHITECTURE = ConvNeXtArchitecture
