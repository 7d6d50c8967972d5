"""ConvNeXt: depthwise convolution, layer norm, inverted bottleneck, layer scale.

Liu et al. (2022), https://arxiv.org/abs/2201.03545; the sizes below tiny are timm's.
Exact GELU, epsilon 1e-6, pool before the last norm. Leaves carry timm's names.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.input_spec import InputSpec
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.stochastic import DropPath, linear_rates

_IMAGENET = InputSpec()
_MICRO = InputSpec(size=(8, 8), crop_fraction=1.0)
_MINI = InputSpec(size=(32, 32), crop_fraction=1.0)


@dataclass(frozen=True)
class ConvNeXtArchitecture:
    """Dimensions of a ConvNeXt.

    Attributes:
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage.
        conv_mlp: Whether timm stores the MLPs as 1x1 convolutions.
        patch_size: Side and stride of the stem's convolution in pixels.
        kernel_size: Side of the depthwise convolutions in pixels, odd.
        layer_scale: Initial value of the scale that ends each branch.
        input_spec: The input that the variant was made for.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    conv_mlp: bool = False
    patch_size: int = 4
    kernel_size: int = 7
    layer_scale: float = 1e-6
    input_spec: InputSpec = _IMAGENET

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """One pixel must be left after the stem and every halving."""
        smallest = self.patch_size * 2 ** (len(self.depths) - 1)
        return architecture.at_least(size, smallest)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ConvNeXt(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal 0.02 kernels, zero biases, small layer scales."""
        return (
            Rule(r".*\.gamma", init.constant(self.layer_scale)),
            Rule(r".*\.kernel", init.normal(0.02)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class ConvNeXt(nnx.Module):
    """Patch stem, stages, global average, norm, linear head."""

    def __init__(self, config: ConvNeXtArchitecture, settings: Settings) -> None:
        width, dtype = config.widths[0], settings.dtype
        self.stem = nnx.List(
            [
                Conv(
                    3, width, config.patch_size, stride=config.patch_size, dtype=dtype
                ),
                LayerNorm(width, dtype=dtype),
            ]
        )
        rates = linear_rates(settings.drop_path_rate, sum(config.depths))
        self.stages = nnx.List()
        for i, depth in enumerate(config.depths):
            first = sum(config.depths[:i])
            stage_rates = rates[first : first + depth]
            self.stages.append(Stage(config, i, stage_rates, settings))
        self.head = Head(config.num_features, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layer in self.stem:
            x = layer(x)
        for stage in self.stages:
            x = stage(x, rngs)
        return self.head(x, rngs)


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
            self.downsample.append(LayerNorm(before, dtype=dtype))
            self.downsample.append(Conv(before, width, 2, stride=2, dtype=dtype))
        self.blocks = nnx.List(Block(config, width, rate, settings) for rate in rates)

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
        width: int,
        rate: float,
        settings: Settings,
    ) -> None:
        dtype = settings.dtype
        self.dtype = dtype
        self.conv_dw = Conv(
            width,
            width,
            config.kernel_size,
            padding=config.kernel_size // 2,
            groups=width,
            dtype=dtype,
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, 4 * width, use_conv=config.conv_mlp, dtype=dtype)
        self.gamma = parameter(width)
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n h w d"]:
        """Applies the block."""
        y = self.mlp(self.norm(self.conv_dw(x)))
        y = y * self.gamma[...].astype(self.dtype).reshape(1, 1, 1, -1)
        return x + self.drop_path(y, rngs)


class Head(nnx.Module):
    """Global average, norm, dropout, linear layer."""

    def __init__(self, width: int, settings: Settings) -> None:
        self.norm = LayerNorm(width, dtype=jnp.float32)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(width, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies feature maps."""
        features = self.norm(x.astype(jnp.float32).mean((1, 2)))
        return architecture.classify(features, self.dropout, self.fc, rngs)


_SMALL_DEPTHS = (2, 2, 6, 2)

VARIANTS: dict[str, ConvNeXtArchitecture] = {
    # Layer scale 1e-6 steadies deep networks; shallow ones only learn later for it.
    "convnext_micro": ConvNeXtArchitecture(
        (1, 1),
        (32, 48),
        patch_size=2,
        kernel_size=3,
        layer_scale=0.1,
        input_spec=_MICRO,
    ),
    "convnext_mini": ConvNeXtArchitecture(
        (1, 1, 2),
        (40, 80, 160),
        patch_size=4,
        kernel_size=3,
        layer_scale=0.1,
        input_spec=_MINI,
    ),
    "convnext_atto": ConvNeXtArchitecture(_SMALL_DEPTHS, (40, 80, 160, 320), True),
    "convnext_femto": ConvNeXtArchitecture(_SMALL_DEPTHS, (48, 96, 192, 384), True),
    "convnext_pico": ConvNeXtArchitecture(_SMALL_DEPTHS, (64, 128, 256, 512), True),
    "convnext_nano": ConvNeXtArchitecture((2, 2, 8, 2), (80, 160, 320, 640), True),
    "convnext_tiny": ConvNeXtArchitecture((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ConvNeXtArchitecture((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ConvNeXtArchitecture((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": ConvNeXtArchitecture((3, 3, 27, 3), (192, 384, 768, 1536)),
}
