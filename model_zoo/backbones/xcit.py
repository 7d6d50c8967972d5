"""XCiT: attention between channels, then a class token that looks at all tokens.

El-Nouby et al. (2021), https://arxiv.org/abs/2106.09681, with timm's details: exact
GELU, epsilon 1e-6, and among a block's three branches the local one before the MLP.
Leaves carry timm's names.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.attention import attend
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv, Linear, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import BatchNorm, LayerNorm
from model_zoo.layers.stochastic import DropPath

_MLP_RATIO = 4
_CLASS_DEPTH = 2
_POSITION_FEATURES = 32


@dataclass(frozen=True)
class XCiTArchitecture:
    """Dimensions of an XCiT.

    Attributes:
        width: Channels of a token, a multiple of 8.
        depth: Blocks of attention between channels; two of class attention follow.
        num_heads: Attention heads; `width` is a multiple of it.
        patch_size: Side of a patch in pixels: each convolution of the stem halves it.
        layer_scale: Initial value of the scale that ends each branch.
        norm_tokens: Whether class attention's second norm applies to all tokens, or to
            the class token alone.
    """

    width: int
    depth: int
    num_heads: int
    patch_size: Literal[8, 16] = 16
    layer_scale: float = 1.0
    norm_tokens: bool = True

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.width

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Channels into the stem's first convolution and out of each."""
        steps = self.patch_size.bit_length() - 1
        return (3, *(self.width // 2**i for i in reversed(range(steps))))

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Whole patches only."""
        return architecture.divisible(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return XCiT(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As timm starts it: normal linear layers, torch's default for convolutions."""
        stem = tuple(
            Rule(rf"patch_embed\.proj\.{i}\.0\.kernel", init.uniform((9 * n) ** -0.5))
            for i, n in enumerate(self.stem_widths[:-1])
        )
        positions = init.uniform((2 * _POSITION_FEATURES) ** -0.5)
        return (
            *stem,
            Rule(r"pos_embed\..*", positions),
            Rule(r".*\.local_mp\.conv\d\.(kernel|bias)", init.uniform(1 / 3)),
            Rule(r"cls_token|.*\.kernel", init.normal(0.02)),
            Rule(r".*\.gamma\d", init.constant(self.layer_scale)),
            Rule(r".*\.(scale|var|temperature)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class XCiT(nnx.Module):
    """Convolutional patches, positions, blocks, class attention, norm, linear head."""

    def __init__(self, config: XCiTArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.dtype = dtype
        self.patch_embed = ConvPatchEmbed(config, settings)
        self.pos_embed = FourierPositions(width, settings)
        self.cls_token = parameter(1, 1, width)
        self.blocks = nnx.List(Block(config, settings) for _ in range(config.depth))
        self.cls_attn_blocks = nnx.List(
            ClassBlock(config, settings) for _ in range(_CLASS_DEPTH)
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(width, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.patch_embed(images)
        x = x + self.pos_embed(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x, rngs)
        first = self.cls_token[...].astype(self.dtype)
        first = jnp.broadcast_to(first, (x.shape[0], 1, x.shape[3]))
        x = jnp.concatenate([first, x.reshape(x.shape[0], -1, x.shape[3])], axis=1)
        for block in self.cls_attn_blocks:
            x = block(x)
        features = self.norm(x[:, 0])
        return architecture.classify(features, self.dropout, self.head, rngs)


class ConvPatchEmbed(nnx.Module):
    """3x3 convolutions of stride 2 with norms, and activations between them."""

    def __init__(self, config: XCiTArchitecture, settings: Settings) -> None:
        dtype, widths = settings.dtype, config.stem_widths
        self.proj = nnx.List()
        for num_in, num_out in pairwise(widths):
            conv = Conv(
                num_in, num_out, 3, stride=2, padding=1, use_bias=False, dtype=dtype
            )
            self.proj.append(nnx.List([conv, BatchNorm(num_out, dtype=dtype)]))

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p q d"]:
        """Gives a grid of tokens."""
        x = images
        for i, (conv, norm) in enumerate(self.proj):
            x = norm(conv(x if i == 0 else ACTIVATIONS["gelu"](x)))
        return x


class FourierPositions(nnx.Module):
    """Sines and cosines of a token's row and column, projected to its width.

    Rows and columns count from 1 and are divided by their number, so that the encoding
    fits every image size.
    """

    def __init__(self, width: int, settings: Settings) -> None:
        self.token_projection = Conv(
            2 * _POSITION_FEATURES, width, 1, dtype=settings.dtype
        )

    def __call__(self, height: int, width: int) -> Float[Array, "1 {height} {width} d"]:
        """Encodes a grid of tokens."""
        shape = (height, width, _POSITION_FEATURES)
        rows = np.broadcast_to(_waves(height)[:, None], shape)
        columns = np.broadcast_to(_waves(width)[None], shape)
        waves = np.concatenate([rows, columns], axis=-1)[None]
        return self.token_projection(jnp.asarray(waves, jnp.float32))


def _waves(count: int) -> np.ndarray:
    """Sines and cosines in turn of 1 to `count`, at 16 frequencies."""
    places = np.arange(1, count + 1)[:, None] / (count + 1e-6) * 2 * np.pi
    channels = np.arange(_POSITION_FEATURES)
    angles = places / 10000 ** (2 * (channels // 2) / _POSITION_FEATURES)
    return np.where(channels % 2, np.cos(angles), np.sin(angles))


class Block(nnx.Module):
    """Channel attention, local convolutions and MLP, each normalised and added.

    Stochastic depth drops every branch of every block at the same rate, as timm does.
    """

    def __init__(self, config: XCiTArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.dtype = dtype
        self.norm1 = LayerNorm(width, dtype=dtype)
        self.attn = ChannelAttention(width, config.num_heads, settings)
        self.gamma1 = parameter(width)
        self.norm3 = LayerNorm(width, dtype=dtype)
        self.local_mp = LocalInteraction(width, settings)
        self.gamma3 = parameter(width)
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, _MLP_RATIO * width, dtype=dtype)
        self.gamma2 = parameter(width)
        self.drop_path = DropPath(settings.drop_path_rate)

    def __call__(
        self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n h w d"]:
        """Applies the block to a grid of tokens."""
        gamma1, gamma2, gamma3 = (
            gamma[...].astype(self.dtype).reshape(1, 1, 1, -1)
            for gamma in (self.gamma1, self.gamma2, self.gamma3)
        )
        x = self.drop_path.add(x, gamma1 * self.attn(self.norm1(x)), rngs)
        x = self.drop_path.add(x, gamma3 * self.local_mp(self.norm3(x)), rngs)
        return self.drop_path.add(x, gamma2 * self.mlp(self.norm2(x)), rngs)


class ChannelAttention(nnx.Module):
    """Attention whose tokens are channels: section 3.1 of the paper.

    Queries and keys are vectors over the image, of length one; their products are
    cosines, which a learned temperature sharpens.
    """

    def __init__(self, width: int, num_heads: int, settings: Settings) -> None:
        self.temperature = parameter(num_heads, 1, 1)
        self.qkv = Linear(width, 3 * width, dtype=settings.dtype)
        self.proj = Linear(width, width, dtype=settings.dtype)
        self.num_heads = num_heads

    def __call__(self, x: Float[Array, "n h w d"]) -> Float[Array, "n h w d"]:
        """Mixes the channels of each head; softmax in float32."""
        depth = x.shape[-1] // self.num_heads
        qkv = self.qkv(x).reshape(x.shape[0], -1, 3, self.num_heads, depth)
        query, key = _unit_length(qkv[:, :, 0]), _unit_length(qkv[:, :, 1])
        scores = jnp.einsum("nthi,nthj->nhij", query, key).astype(jnp.float32)
        weights = jax.nn.softmax(scores * self.temperature[...][None])
        mixed = jnp.einsum("nhij,nthj->nthi", weights.astype(x.dtype), qkv[:, :, 2])
        return self.proj(mixed.reshape(x.shape))


def _unit_length(x: Float[Array, "n t h d"]) -> Float[Array, "n t h d"]:
    """Divides every channel by its Euclidean length over the tokens, in float32."""
    wide = x.astype(jnp.float32)
    power = jnp.square(wide).sum(1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(power, 1e-24))).astype(x.dtype)


class LocalInteraction(nnx.Module):
    """Two depthwise 3x3 convolutions by which neighbouring tokens meet."""

    def __init__(self, width: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.conv1 = Conv(width, width, 3, padding=1, groups=width, dtype=dtype)
        self.bn = BatchNorm(width, dtype=dtype)
        self.conv2 = Conv(width, width, 3, padding=1, groups=width, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w d"]) -> Float[Array, "n h w d"]:
        """Mixes a grid of tokens; the norm follows the activation."""
        return self.conv2(self.bn(ACTIVATIONS["gelu"](self.conv1(x))))


class ClassBlock(nnx.Module):
    """Class attention and an MLP of the class token: https://arxiv.org/abs/2103.17239.

    As in the authors' code, other tokens are normalised and added to themselves where
    the class token gets a branch; stochastic depth spares these blocks.
    """

    def __init__(self, config: XCiTArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.dtype = dtype
        self.norm1 = LayerNorm(width, dtype=dtype)
        self.attn = ClassAttention(width, config.num_heads, settings)
        self.gamma1 = parameter(width)
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, _MLP_RATIO * width, dtype=dtype)
        self.gamma2 = parameter(width)
        self.norm_tokens = config.norm_tokens

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """Applies the block; the class token is the first."""
        gamma1, gamma2 = (
            gamma[...].astype(self.dtype).reshape(1, 1, -1)
            for gamma in (self.gamma1, self.gamma2)
        )
        y = self.norm1(x)
        x = x + gamma1 * jnp.concatenate([self.attn(y), y[:, 1:]], axis=1)
        first, rest = x[:, :1], x[:, 1:]
        first = self.norm2(first)
        if self.norm_tokens:
            rest = self.norm2(rest)
        first = first + gamma2 * self.mlp(first)
        return jnp.concatenate([first, rest + rest], axis=1)


class ClassAttention(nnx.Module):
    """Attention of the class token to itself and all others."""

    def __init__(self, width: int, num_heads: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.q = Linear(width, width, dtype=dtype)
        self.k = Linear(width, width, dtype=dtype)
        self.v = Linear(width, width, dtype=dtype)
        self.proj = Linear(width, width, dtype=dtype)
        self.num_heads = num_heads

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n 1 d"]:
        """Gives the class token's average of values."""
        query, key, value = (
            layer(tokens).reshape(*tokens.shape[:2], self.num_heads, -1)
            for layer, tokens in ((self.q, x[:, :1]), (self.k, x), (self.v, x))
        )
        mixed = attend(query, key, value)
        return self.proj(mixed.reshape(x.shape[0], 1, x.shape[2]))


ARCHITECTURE = XCiTArchitecture
