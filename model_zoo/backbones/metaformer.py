"""MetaFormer: one block, many token mixers.

A block normalises, mixes tokens, adds, normalises, applies an MLP, adds; what the mixer
is hardly matters. Yu et al. (2022), https://arxiv.org/abs/2111.11418 (PoolFormer), and
Yu et al. (2022), https://arxiv.org/abs/2210.13452 (IdentityFormer, PoolFormerV2,
ConvFormer, CAFormer, StarReLU). Leaves carry timm's names.
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
from model_zoo.layers.attention import attend
from model_zoo.layers.fusion import joined
from model_zoo.layers.initializers import Rule
from model_zoo.layers.layer_scale import LayerScale
from model_zoo.layers.linear import Conv, Linear, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import GroupNorm, LayerNorm
from model_zoo.layers.pooling import avg_pool, global_average
from model_zoo.layers.stochastic import DropPath, linear_rates

TokenMixer = Literal["identity", "pooling", "sep_conv", "attention"]
Maps = Float[Array, "n h w d"]


@dataclass(frozen=True)
class MetaFormerArchitecture:
    """Dimensions of a MetaFormer.

    Attributes:
        depths: Blocks of each stage.
        widths: Channels of each stage; where they change, a strided convolution halves
            the image.
        token_mixers: What mixes tokens in each stage: "identity" nothing, "pooling" the
            mean of 3x3 neighbours less the token itself, "sep_conv" an inverted 7x7
            depthwise convolution, "attention" multi-head self-attention.
        norm: What normalises before each branch: "layer" each token, "group" the whole
            image.
        norm_bias: Whether those norms have biases; epsilon is 1e-5 with, 1e-6 without.
        downsample_norm: Whether the stem and the strided convolutions have norms.
        activation: Of the MLPs: "star_relu" is scale * relu(x)**2 + bias, both learned.
        mlp_bias: Whether the MLPs have biases.
        layer_scale: Initial value of the scale that ends each branch; None for none.
        num_res_scaled: How many of the last stages scale their shortcuts per channel.
        head_dim: Channels of an attention head.
        mlp_head: Whether the head has a hidden layer, of squared ReLU and a norm.
        patch_size: Side of the stem's kernel in pixels.
        patch_stride: Step of the stem in pixels.
        patch_padding: Zeros around the image in the stem, in pixels.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    token_mixers: tuple[TokenMixer, ...]
    norm: Literal["layer", "group"] = "layer"
    norm_bias: bool = False
    downsample_norm: bool = True
    activation: Literal["star_relu", "gelu"] = "star_relu"
    mlp_bias: bool = False
    layer_scale: float | None = None
    num_res_scaled: int = 2
    head_dim: int = 32
    mlp_head: bool = False
    patch_size: int = 7
    patch_stride: int = 4
    patch_padding: int = 2

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.token_mixers):
            raise ValueError(
                f"MetaFormer: depths {self.depths}, widths {self.widths} and "
                f"token_mixers {self.token_mixers} differ in length; wanted one of "
                "each a stage"
            )
        for width, mixer in zip(self.widths, self.token_mixers, strict=True):
            if mixer == "attention" and width % self.head_dim:
                raise ValueError(
                    f"MetaFormer: a stage with attention has width {width}, wanted a "
                    f"multiple of head_dim {self.head_dim}"
                )

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """The stem's kernel must fit; padded convolutions never run out of pixels."""
        return architecture.at_least(size, self.patch_size - 2 * self.patch_padding)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return MetaFormer(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal 0.02 kernels, zero biases, shortcuts that start unscaled."""
        return (
            Rule(r".*\.layer_scale\d\.gamma", init.constant(self.layer_scale or 0.0)),
            Rule(r".*\.res_scale\d\.gamma", init.ones),
            Rule(r".*\.kernel", init.normal(0.02)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class MetaFormer(nnx.Module):
    """Stem, stages, head."""

    def __init__(self, config: MetaFormerArchitecture, settings: Settings) -> None:
        self.stem = Stem(config, settings)
        rates = linear_rates(settings.drop_path_rate, sum(config.depths))
        self.stages = nnx.List()
        for i, depth in enumerate(config.depths):
            first = sum(config.depths[:i])
            stage_rates = rates[first : first + depth]
            self.stages.append(Stage(config, i, stage_rates, settings))
        self.head = Head(config, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x, rngs)
        return self.head(x, rngs)


class Stem(nnx.Module):
    """Overlapping patches, then a norm."""

    def __init__(self, config: MetaFormerArchitecture, settings: Settings) -> None:
        width = config.widths[0]
        self.conv = Conv(
            3,
            width,
            config.patch_size,
            stride=config.patch_stride,
            padding=config.patch_padding,
            dtype=settings.dtype,
        )
        self.norm = nnx.data(_downsample_norm(config, width, settings))

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p q d"]:
        """Embeds patches."""
        x = self.conv(images)
        return x if self.norm is None else self.norm(x)


class Downsample(nnx.Module):
    """A norm, then a strided convolution."""

    def __init__(
        self,
        config: MetaFormerArchitecture,
        num_in: int,
        width: int,
        settings: Settings,
    ) -> None:
        self.norm = nnx.data(_downsample_norm(config, num_in, settings))
        self.conv = Conv(num_in, width, 3, stride=2, padding=1, dtype=settings.dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Halves the image."""
        return self.conv(x if self.norm is None else self.norm(x))


class Stage(nnx.Module):
    """Downsampling where the width changes, then blocks."""

    def __init__(
        self,
        config: MetaFormerArchitecture,
        index: int,
        rates: list[float],
        settings: Settings,
    ) -> None:
        width, before = config.widths[index], config.widths[max(index - 1, 0)]
        changes = width != before
        self.downsample = nnx.data(
            Downsample(config, before, width, settings) if changes else None
        )
        self.blocks = nnx.List(Block(config, index, rate, settings) for rate in rates)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the stage."""
        if self.downsample is not None:
            x = self.downsample(x)
        for block in self.blocks:
            x = block(x, rngs)
        return x


class Block(nnx.Module):
    """Token mixer and MLP, each normalised before, scaled and added to the stream."""

    def __init__(
        self,
        config: MetaFormerArchitecture,
        index: int,
        rate: float,
        settings: Settings,
    ) -> None:
        width, dtype = config.widths[index], settings.dtype
        scales_branch = config.layer_scale is not None
        scales_shortcut = index >= len(config.depths) - config.num_res_scaled
        self.norm1 = _block_norm(config, width, settings)
        self.token_mixer = nnx.data(_token_mixer(config, index, settings))
        self.layer_scale1 = nnx.data(LayerScale(width) if scales_branch else None)
        self.res_scale1 = nnx.data(LayerScale(width) if scales_shortcut else None)
        self.norm2 = _block_norm(config, width, settings)
        make_mlp = StarMlp if config.activation == "star_relu" else Mlp
        self.mlp = make_mlp(width, 4 * width, use_bias=config.mlp_bias, dtype=dtype)
        self.layer_scale2 = nnx.data(LayerScale(width) if scales_branch else None)
        self.res_scale2 = nnx.data(LayerScale(width) if scales_shortcut else None)
        self.drop_path = DropPath(rate)

    def __call__(self, x: Maps, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.norm1(x)
        if self.token_mixer is not None:
            y = self.token_mixer(y)
        y = _scaled(self.drop_path(y, rngs), self.layer_scale1)
        x = joined(_scaled(x, self.res_scale1) + y, rngs)
        y = self.drop_path(self.mlp(self.norm2(x)), rngs)
        y = _scaled(y, self.layer_scale2)
        return joined(_scaled(x, self.res_scale2) + y, rngs)


class StarReLU(nnx.Module):
    """scale * relu(x)**2 + bias, both learned: arXiv 2210.13452, section 2.2."""

    def __init__(self) -> None:
        self.scale = parameter(1)
        self.bias = parameter(1)

    def __call__(self, x: Maps) -> Maps:
        """Applies the activation."""
        scale, bias = (
            p[...].astype(x.dtype).reshape((1,) * x.ndim)
            for p in (self.scale, self.bias)
        )
        return scale * jnp.square(jax.nn.relu(x)) + bias


class StarMlp(Mlp):
    """Linear, StarReLU, Linear."""

    def __init__(
        self, num_features: int, num_hidden: int, *, use_bias: bool, dtype: DTypeLike
    ) -> None:
        super().__init__(num_features, num_hidden, use_bias=use_bias, dtype=dtype)
        self.act = StarReLU()

    def __call__(self, x: Maps) -> Maps:
        """Maps the last axis."""
        return self.fc2(self.act(self.fc1(x)))


class Pooling(nnx.Module):
    """The mean of a token's neighbours within the image, less the token itself."""

    def __call__(self, x: Maps) -> Maps:
        """Mixes tokens."""
        return avg_pool(x, 3, 1, padding=1, count_include_pad=False) - x


class SepConv(nnx.Module):
    """Linear, StarReLU, depthwise 7x7 convolution, Linear, at twice the width."""

    def __init__(self, width: int, settings: Settings) -> None:
        hidden, dtype = 2 * width, settings.dtype
        self.pwconv1 = Linear(width, hidden, use_bias=False, dtype=dtype)
        self.act1 = StarReLU()
        self.dwconv = Conv(
            hidden, hidden, 7, padding=3, groups=hidden, use_bias=False, dtype=dtype
        )
        self.pwconv2 = Linear(hidden, width, use_bias=False, dtype=dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes tokens."""
        return self.pwconv2(self.dwconv(self.act1(self.pwconv1(x))))


class Attention(nnx.Module):
    """Multi-head self-attention over all pixels, without biases."""

    def __init__(self, width: int, head_dim: int, settings: Settings) -> None:
        self.head_dim = head_dim
        self.qkv = Linear(width, 3 * width, use_bias=False, dtype=settings.dtype)
        self.proj = Linear(width, width, use_bias=False, dtype=settings.dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes tokens."""
        n, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(n, height * width, 3, -1, self.head_dim)
        mixed = attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return self.proj(mixed.reshape(n, height, width, channels))


class Head(nnx.Module):
    """Global average, norm, dropout, classifier."""

    def __init__(self, config: MetaFormerArchitecture, settings: Settings) -> None:
        width = config.num_features
        self.norm = LayerNorm(width, dtype=jnp.float32)
        self.dropout = nnx.Dropout(settings.drop_rate)
        make_fc = MlpHead if config.mlp_head else head
        self.fc = make_fc(width, settings.num_classes)

    def __call__(self, x: Maps, rngs: nnx.Rngs | None) -> Outputs:
        """Classifies feature maps."""
        features = self.norm(global_average(x))
        return architecture.classify(features, self.dropout, self.fc, rngs)


class MlpHead(nnx.Module):
    """Linear, squared ReLU, norm, Linear, in float32."""

    def __init__(self, width: int, num_classes: int) -> None:
        self.fc1 = Linear(width, 4 * width, dtype=jnp.float32)
        self.norm = LayerNorm(4 * width, dtype=jnp.float32)
        self.fc2 = head(4 * width, num_classes)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """Gives logits."""
        return self.fc2(self.norm(jnp.square(jax.nn.relu(self.fc1(x)))))


def _scaled(x: Array, scale: LayerScale | None) -> Array:
    return x if scale is None else scale(x)


def _token_mixer(
    config: MetaFormerArchitecture, index: int, settings: Settings
) -> nnx.Module | None:
    width = config.widths[index]
    match config.token_mixers[index]:
        case "identity":
            return None
        case "pooling":
            return Pooling()
        case "sep_conv":
            return SepConv(width, settings)
        case "attention":
            return Attention(width, config.head_dim, settings)


def _block_norm(
    config: MetaFormerArchitecture, width: int, settings: Settings
) -> LayerNorm | GroupNorm:
    options = {
        "epsilon": 1e-5 if config.norm_bias else 1e-6,
        "use_bias": config.norm_bias,
        "dtype": settings.dtype,
    }
    if config.norm == "group":
        return GroupNorm(1, width, **options)
    return LayerNorm(width, **options)


def _downsample_norm(
    config: MetaFormerArchitecture, width: int, settings: Settings
) -> LayerNorm | None:
    if not config.downsample_norm:
        return None
    return LayerNorm(width, use_bias=False, dtype=settings.dtype)


ARCHITECTURE = MetaFormerArchitecture
