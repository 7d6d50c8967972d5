"""CLIP's text tower: a causal transformer over byte pairs.

Radford et al. (2021), https://arxiv.org/abs/2103.00020, section 2.4: the features of a
text are the last layer's at its end-of-text token, normalised and projected to the
space that images are projected to.
"""

from dataclasses import KW_ONLY, dataclass

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from model_zoo.layers import initializers as init
from model_zoo.layers.attention import attend
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.mlp import Mlp
from model_zoo.layers.norms import LayerNorm


@dataclass(frozen=True)
class TextArchitecture:
    """Dimensions of a text tower.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads; `width` is a multiple of it.
        hidden_width: Channels inside a block's MLP.
        activation: Name of the MLP's activation: OpenAI's weights and some of their
            followers' want "quick_gelu".
        vocabulary_size: Tokens known; the last is the end of a text.
        context_length: Tokens of the longest text, its two ends included.

    Raises:
        ValueError: If the width is not a multiple of the heads.
    """

    width: int
    depth: int
    num_heads: int
    _: KW_ONLY
    hidden_width: int
    activation: str = "gelu"
    vocabulary_size: int = 49408
    context_length: int = 77

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"TextArchitecture: width {self.width} is not a multiple of num_heads "
                f"{self.num_heads}"
            )

    def init_rules(self) -> tuple[Rule, ...]:
        """As OpenAI's code starts it."""
        width, depth = self.width, self.depth
        return (
            Rule("token_embedding", init.normal(0.02)),
            Rule("positional_embedding", init.normal(0.01)),
            Rule(r".*\.qkv\.kernel|projection", init.normal(width**-0.5)),
            Rule(r".*\.fc1\.kernel", init.normal((2 * width) ** -0.5)),
            Rule(r".*\.kernel", init.normal((2 * width * depth) ** -0.5)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class TextTower(nnx.Module):
    """Embeddings, causal blocks, norm, projection of the end-of-text token."""

    def __init__(
        self, config: TextArchitecture, num_out: int, dtype: DTypeLike
    ) -> None:
        self.token_embedding = parameter(config.vocabulary_size, config.width)
        self.positional_embedding = parameter(config.context_length, config.width)
        self.blocks = nnx.List(TextBlock(config, dtype) for _ in range(config.depth))
        self.norm = LayerNorm(config.width, epsilon=1e-5, dtype=jnp.float32)
        self.projection = parameter(config.width, num_out)
        self.dtype = dtype

    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n d"]:
        """Encodes texts; t may be less than the context if every text's end is there.

        Tokens see what is before them alone, so that what pads a text behind its end
        changes nothing.
        """
        n, length = tokens.shape
        positions = self.positional_embedding[...][None, :length]
        x = (self.token_embedding[...][tokens] + positions).astype(self.dtype)
        seen = jnp.tril(jnp.ones((length, length), bool))
        bias = jnp.where(seen, 0.0, -jnp.inf)[None, None]
        for block in self.blocks:
            x = block(x, bias)
        # The end of a text is the token with the largest number, and the first such.
        ends = x[jnp.arange(n), tokens.argmax(-1)]
        return self.norm(ends) @ self.projection[...]


class TextBlock(nnx.Module):
    """Causal attention and MLP, each normalised before and added to the stream."""

    def __init__(self, config: TextArchitecture, dtype: DTypeLike) -> None:
        width = config.width
        self.norm1 = LayerNorm(width, epsilon=1e-5, dtype=dtype)
        self.attn = TextAttention(width, config.num_heads, dtype)
        self.norm2 = LayerNorm(width, epsilon=1e-5, dtype=dtype)
        self.mlp = Mlp(
            width, config.hidden_width, activation=config.activation, dtype=dtype
        )

    def __call__(
        self, x: Float[Array, "n t d"], bias: Float[Array, "1 1 t t"]
    ) -> Float[Array, "n t d"]:
        """Applies the block; bias is added to the scores of every head."""
        x = x + self.attn(self.norm1(x), bias)
        return x + self.mlp(self.norm2(x))


class TextAttention(nnx.Module):
    """Multi-head self-attention: https://arxiv.org/abs/1706.03762, section 3.2."""

    def __init__(self, width: int, num_heads: int, dtype: DTypeLike) -> None:
        self.qkv = Linear(width, 3 * width, dtype=dtype)
        self.proj = Linear(width, width, dtype=dtype)
        self.num_heads = num_heads

    def __call__(
        self, x: Float[Array, "n t d"], bias: Float[Array, "1 1 t t"]
    ) -> Float[Array, "n t d"]:
        """Mixes tokens; softmax in float32."""
        n, length, width = x.shape
        query, key, value = (
            part.reshape(n, length, self.num_heads, -1)
            for part in jnp.split(self.qkv(x), 3, axis=-1)
        )
        mixed = attend(query, key, value, bias=bias)
        return self.proj(mixed.reshape(n, length, width))
