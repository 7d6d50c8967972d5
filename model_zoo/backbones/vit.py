"""Vision Transformer: pre-norm encoder over patches and a class token.

Dosovitskiy et al. (2021), https://arxiv.org/abs/2010.11929, with timm's details: one
fused qkv projection (rows in the order q, k, v; heads within each), exact GELU, epsilon
1e-6, and the class token after the last norm as features. Leaves carry timm's names.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.input_spec import HALF, InputSpec
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.patch_embed import PatchEmbed, num_patches
from model_zoo.layers.stochastic import DropPath, linear_rates

_IMAGENET = InputSpec(crop_fraction=0.9, mean=HALF, std=HALF)
_MICRO = InputSpec(size=(8, 8), crop_fraction=1.0, mean=HALF, std=HALF)
_MINI = InputSpec(size=(32, 32), crop_fraction=1.0, mean=HALF, std=HALF)


@dataclass(frozen=True)
class ViTArchitecture:
    """Dimensions of a Vision Transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads; `width` is a multiple of it.
        patch_size: Side of a patch in pixels.
        mlp_ratio: Hidden channels of the MLP over `width`.
        init_std: Standard deviation of initial kernels and position embeddings. timm's
            0.02 is 0.55 / sqrt(768); narrow variants take the same multiple of theirs.
        input_spec: The input that the variant was made for.
    """

    width: int
    depth: int
    num_heads: int
    patch_size: int
    mlp_ratio: int = 4
    init_std: float = 0.02
    input_spec: InputSpec = _IMAGENET

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.width

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Whole patches only."""
        return architecture.divisible(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ViT(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As timm starts it: normal kernels, torch's default for the patches."""
        patch_limit = (3 * self.patch_size**2) ** -0.5
        return (
            Rule(r"patch_embed\..*", init.uniform(patch_limit)),
            Rule(r"cls_token", init.normal(1e-6)),
            Rule(r"pos_embed|.*\.kernel", init.normal(self.init_std)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class ViT(nnx.Module):
    """Patches, blocks, norm, linear head on the class token."""

    def __init__(self, config: ViTArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.dtype = dtype
        self.patch_embed = PatchEmbed(config.patch_size, width, dtype=dtype)
        self.cls_token = parameter(1, 1, width)
        tokens = 1 + num_patches(settings.size, config.patch_size)
        self.pos_embed = parameter(1, tokens, width)
        self.blocks = nnx.List(
            Block(config, rate, settings)
            for rate in linear_rates(settings.drop_path_rate, config.depth)
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(width, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.patch_embed(images)
        first = self.cls_token[...].astype(self.dtype)
        first = jnp.broadcast_to(first, (x.shape[0], 1, x.shape[2]))
        x = jnp.concatenate([first, x], axis=1)
        x = x + self.pos_embed[...].astype(self.dtype)
        for block in self.blocks:
            x = block(x, rngs)
        features = self.norm(x[:, 0])
        return architecture.classify(features, self.dropout, self.head, rngs)


class Block(nnx.Module):
    """Attention and MLP, each normalised before and added to the stream."""

    def __init__(
        self, config: ViTArchitecture, rate: float, settings: Settings
    ) -> None:
        width, dtype = config.width, settings.dtype
        self.norm1 = LayerNorm(width, dtype=dtype)
        self.attn = Attention(width, config.num_heads, settings)
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, config.mlp_ratio * width, dtype=dtype)
        self.drop_path = DropPath(rate)

    def __call__(
        self, x: Float[Array, "n t d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n t d"]:
        """Applies the block."""
        x = x + self.drop_path(self.attn(self.norm1(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class Attention(nnx.Module):
    """Multi-head self-attention: https://arxiv.org/abs/1706.03762, section 3.2."""

    def __init__(self, width: int, num_heads: int, settings: Settings) -> None:
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width, dtype=settings.dtype)
        self.proj = Linear(width, width, dtype=settings.dtype)

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """Mixes tokens; softmax in float32."""
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.num_heads, -1)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        query = query * (width // self.num_heads) ** -0.5
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key)
        weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, value)
        return self.proj(mixed.reshape(n, tokens, width))


VARIANTS: dict[str, ViTArchitecture] = {
    "vit_micro": ViTArchitecture(
        48, 2, 4, patch_size=2, mlp_ratio=2, init_std=0.08, input_spec=_MICRO
    ),
    "vit_mini": ViTArchitecture(
        128, 4, 4, patch_size=4, mlp_ratio=2, init_std=0.05, input_spec=_MINI
    ),
    "vit_tiny_patch16_224": ViTArchitecture(192, 12, 3, patch_size=16),
    "vit_tiny_patch32_224": ViTArchitecture(192, 12, 3, patch_size=32),
    "vit_small_patch16_224": ViTArchitecture(384, 12, 6, patch_size=16),
    "vit_small_patch32_224": ViTArchitecture(384, 12, 6, patch_size=32),
    "vit_base_patch16_224": ViTArchitecture(768, 12, 12, patch_size=16),
    "vit_base_patch32_224": ViTArchitecture(768, 12, 12, patch_size=32),
    "vit_large_patch16_224": ViTArchitecture(1024, 24, 16, patch_size=16),
    "vit_large_patch32_224": ViTArchitecture(1024, 24, 16, patch_size=32),
}
