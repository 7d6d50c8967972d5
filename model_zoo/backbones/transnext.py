"""TransNeXt: attention to neighbours and to the pooled image, convolutional gates.

Shi (2024), https://arxiv.org/abs/2311.17132. Written without the original's CUDA
kernel; the numbers are those of its plain version. Leaves carry the original's names.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.backbones.transnext_blocks import AggregatedAttention, Attention
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv, Linear
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates

Maps = Float[Array, "n h w d"]


@dataclass(frozen=True)
class TransNeXtArchitecture:
    """Dimensions of a TransNeXt.

    Every stage pools the image to the size of the last stage's map, where attention is
    global.

    Attributes:
        depths: Blocks of each stage; every stage after the first halves the image.
        widths: Channels of each stage.
        num_heads: Attention heads of each stage; the width is a multiple of it.
        mlp_ratios: Hidden channels of each stage's MLPs over its width; two thirds of
            them are kept, twice.
        window_size: Side of the attention's neighbourhood in pixels, odd.
        patch_size: Step of the stem in pixels; its kernel is 2 * patch_size - 1 wide.
        pretrain_size: Side of the images in pixels by which positions are measured;
            None for the size of the image.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    num_heads: tuple[int, ...]
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    window_size: int = 3
    patch_size: int = 4
    pretrain_size: int | None = None

    def __post_init__(self) -> None:
        lengths = {
            len(values)
            for values in (self.depths, self.widths, self.num_heads, self.mlp_ratios)
        }
        if len(lengths) > 1:
            raise ValueError(
                f"TransNeXt: depths {self.depths}, widths {self.widths}, num_heads "
                f"{self.num_heads} and mlp_ratios {self.mlp_ratios} differ in length; "
                "wanted one of each a stage"
            )
        for width, heads in zip(self.widths, self.num_heads, strict=True):
            if width % heads:
                raise ValueError(
                    f"TransNeXt: width {width} is not a multiple of num_heads {heads}"
                )

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def stride(self) -> int:
        """Pixels of the image to a pixel of the last stage."""
        return self.patch_size * 2 ** (len(self.depths) - 1)

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Whole regions, and at least two of them to measure distances by."""
        whole = all(side % self.stride == 0 for side in size)
        if whole and (min(size) > self.stride or self.pretrain_size is not None):
            return None
        return (
            f"height and width that are multiples of {self.stride}, two times or more"
        )

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return TransNeXt(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As the original starts it: small matrices, temperatures of 1 / 0.24."""
        small = init.normal(0.02)
        return (
            # Its softplus is 1 / 0.24.
            Rule(r".*\.temperature", init.constant(math.log(math.expm1(1 / 0.24)))),
            Rule(r".*\.relative_pos_bias_local", init.normal(0.0004)),
            Rule(r".*\.learnable_bias", init.zeros),
            Rule(r".*\.(query_embedding|learnable_tokens)", small),
            # Depthwise: the fan-out of one channel is the kernel's area.
            Rule(r".*\.dwconv\.kernel", init.normal((2 / 9) ** 0.5)),
            Rule(r"patch_embed\d\.proj\.kernel|.*\.sr\.kernel", init.he_normal_fan_out),
            Rule(r".*\.kernel", small),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class TransNeXt(nnx.Module):
    """Stages, each embedding, blocks and norm; global average, linear head."""

    def __init__(self, config: TransNeXtArchitecture, settings: Settings) -> None:
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.num_stages = len(config.depths)
        for i, width in enumerate(config.widths):
            blocks = nnx.List(
                Block(config, i, next(rates), settings) for _ in range(config.depths[i])
            )
            setattr(self, f"patch_embed{i + 1}", PatchEmbed(config, i, settings))
            setattr(self, f"block{i + 1}", blocks)
            setattr(self, f"norm{i + 1}", LayerNorm(width, dtype=settings.dtype))
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for i in range(1, self.num_stages + 1):
            x = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"block{i}"):
                x = block(x, rngs)
            x = getattr(self, f"norm{i}")(x)
        return architecture.classify(global_average(x), self.dropout, self.head, rngs)


class PatchEmbed(nnx.Module):
    """Overlapping patches, norm."""

    def __init__(
        self, config: TransNeXtArchitecture, stage: int, settings: Settings
    ) -> None:
        num_in = 3 if stage == 0 else config.widths[stage - 1]
        stride = config.patch_size if stage == 0 else 2
        self.proj = Conv(
            num_in,
            config.widths[stage],
            2 * stride - 1,
            stride=stride,
            padding=stride - 1,
            dtype=settings.dtype,
        )
        self.norm = LayerNorm(config.widths[stage], epsilon=1e-5, dtype=settings.dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Embeds patches."""
        return self.norm(self.proj(x))


class Block(nnx.Module):
    """Attention and MLP, each normalised before and added to the stream."""

    def __init__(
        self,
        config: TransNeXtArchitecture,
        stage: int,
        rate: float,
        settings: Settings,
    ) -> None:
        width, heads = config.widths[stage], config.num_heads[stage]
        measured = config.pretrain_size
        size = settings.size if measured is None else (measured, measured)
        step = config.patch_size * 2**stage
        reference = size[0] // step, size[1] // step
        ratio = config.stride // step
        self.norm1 = LayerNorm(width, dtype=settings.dtype)
        self.attn = (
            Attention(width, heads, reference, settings)
            if ratio == 1
            else AggregatedAttention(
                width, heads, config.window_size, ratio, reference, settings
            )
        )
        self.norm2 = LayerNorm(width, dtype=settings.dtype)
        hidden = 2 * config.mlp_ratios[stage] * width // 3
        self.mlp = ConvolutionalGate(width, hidden, settings)
        self.drop_path = DropPath(rate)

    def __call__(self, x: Maps, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        x = self.drop_path.add(x, self.attn(self.norm1(x)), rngs)
        return self.drop_path.add(x, self.mlp(self.norm2(x)), rngs)


class ConvolutionalGate(nnx.Module):
    """Gated MLP whose gate looks at its neighbours through a depthwise convolution."""

    def __init__(self, width: int, hidden: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.fc1 = Linear(width, 2 * hidden, dtype=dtype)
        self.dwconv = Conv(hidden, hidden, 3, padding=1, groups=hidden, dtype=dtype)
        self.fc2 = Linear(hidden, width, dtype=dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes channels."""
        gate, value = jnp.split(self.fc1(x), 2, axis=-1)
        return self.fc2(ACTIVATIONS["gelu"](self.dwconv(gate)) * value)


ARCHITECTURE = TransNeXtArchitecture
