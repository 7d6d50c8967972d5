"""Blocks of vision transformers: attention and perceptrons in the orders in use."""

from dataclasses import KW_ONLY, dataclass
from math import exp
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.attention import attend
from model_zoo.layers.fusion import joined
from model_zoo.layers.layer_scale import LayerScale
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.mlp import GluMlp, Mlp
from model_zoo.layers.norms import LayerNorm, RmsNorm
from model_zoo.layers.stochastic import DropPath

Tokens = Float[Array, "n t d"]


@dataclass(frozen=True)
class EncoderArchitecture:
    """What the blocks of a transformer are made of.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads; `width` is a multiple of it.
        mlp_ratio: Hidden channels of the MLP over `width`.
        block: "serial" is attention, then MLP, each normalised before; "post_norm"
            normalises each at its end (arXiv 2111.09883); "parallel" adds attention and
            MLP of the same norm (arXiv 2302.05442); "double" adds two attentions, then
            two MLPs (arXiv 2203.09795).
        attention: "plain", or "differential", the difference of two softmaxes (arXiv
            2410.05258).
        mlp: "plain"; "glu" is gated (arXiv 2002.05202); "glu_packed" is gated with gate
            and gated in one layer, and `mlp_ratio` counts both.
        activation: Name of the MLP's activation.
        norm: "layer" or "rms".
        epsilon: Added to the variance by every norm.
        qkv_bias: Whether queries, keys and values have biases.
        proj_bias: Whether the other layers of a block have biases.
        qk_norm: Whether the queries and keys of each head are normalised.
        inner_norm: Whether the last layers of attention and of the MLP have norms
            before them (arXiv 2210.06423).
        layer_scale: Initial value of the scales that end the branches, in a "post_norm"
            block of its norms' scales; None has none.

    Raises:
        ValueError: If options do not go together.
    """

    width: int
    depth: int
    num_heads: int
    _: KW_ONLY
    mlp_ratio: int | float = 4
    block: Literal["serial", "post_norm", "parallel", "double"] = "serial"
    attention: Literal["plain", "differential"] = "plain"
    mlp: Literal["plain", "glu", "glu_packed"] = "plain"
    activation: str = "gelu"
    norm: Literal["layer", "rms"] = "layer"
    epsilon: float = 1e-6
    qkv_bias: bool = True
    proj_bias: bool = True
    qk_norm: bool = False
    inner_norm: bool = False
    layer_scale: float | None = None

    def __post_init__(self) -> None:
        plain = self.mlp == "plain" and not self.inner_norm
        problems = {
            "width is not a multiple of num_heads": self.width % self.num_heads != 0,
            "a parallel block has a plain MLP and no inner norm": (
                self.block == "parallel" and not plain
            ),
        }
        wrong = [problem for problem, holds in problems.items() if holds]
        if wrong:
            raise ValueError(f"{type(self).__name__}: {'; '.join(wrong)}")

    @property
    def mlp_width(self) -> int:
        """Hidden channels of the MLP."""
        return int(self.width * self.mlp_ratio)

    def make_block(self, index: int, rate: float, dtype: DTypeLike) -> nnx.Module:
        """Makes block `index`, whose branches are dropped at `rate` in training."""
        kinds = {
            "serial": Block,
            "post_norm": PostNormBlock,
            "parallel": ParallelBlock,
            "double": DoubleBlock,
        }
        return kinds[self.block](self, index, rate, dtype)

    def make_norm(self, num_features: int, dtype: DTypeLike) -> LayerNorm | RmsNorm:
        """Makes a norm of the encoder's kind."""
        kind = LayerNorm if self.norm == "layer" else RmsNorm
        return kind(num_features, epsilon=self.epsilon, dtype=dtype)

    def make_mlp(self, dtype: DTypeLike) -> Mlp | GluMlp:
        """Makes an MLP of the encoder's kind."""
        packed = self.mlp == "glu_packed"
        hidden = self.mlp_width // 2 if packed else self.mlp_width
        norm = self.make_norm(hidden, dtype) if self.inner_norm else None
        kind = Mlp if self.mlp == "plain" else GluMlp
        layout = {} if self.mlp == "plain" else {"packed": packed}
        return kind(
            self.width,
            hidden,
            activation=self.activation,
            use_bias=self.proj_bias,
            norm=norm,
            dtype=dtype,
            **layout,
        )

    def make_scale(self) -> LayerScale | None:
        """Makes the scale that ends a branch, where there is one."""
        return None if self.layer_scale is None else LayerScale(self.width)


class Mixing(nnx.Module):
    """Multi-head attention of projected tokens, plain or differential.

    Differential attention halves each head's queries and keys, and subtracts the second
    half's softmax, times a learned lambda, from the first's.
    """

    def __init__(
        self, config: EncoderArchitecture, index: int, dtype: DTypeLike
    ) -> None:
        self.num_heads = config.num_heads
        self.differential = config.attention == "differential"
        width = config.width // config.num_heads
        if self.differential:
            width //= 2
            self.lambda_q1 = parameter(width)
            self.lambda_k1 = parameter(width)
            self.lambda_q2 = parameter(width)
            self.lambda_k2 = parameter(width)
            self.lambda_start = 0.8 - 0.6 * exp(-0.3 * index)
            self.sub_norm = RmsNorm(2 * width, epsilon=1e-5, dtype=dtype)
        self.q_norm = config.make_norm(width, dtype) if config.qk_norm else None
        self.k_norm = config.make_norm(width, dtype) if config.qk_norm else None

    def mix(self, query: Tokens, key: Tokens, value: Tokens) -> Tokens:
        """Averages values by the likeness of queries and keys."""
        n, tokens, width = value.shape
        halves = 2 if self.differential else 1
        heads = (n, tokens, self.num_heads * halves, -1)
        query, key = query.reshape(heads), key.reshape(heads)
        value = value.reshape(n, tokens, self.num_heads, -1)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if self.differential:
            mixed = self._mix_difference(query, key, value)
        else:
            mixed = attend(query, key, value)
        return mixed.reshape(n, tokens, width)

    def _mix_difference(
        self,
        query: Float[Array, "n t g d"],
        key: Float[Array, "n t g d"],
        value: Float[Array, "n t h e"],
    ) -> Float[Array, "n t h e"]:
        """Subtracts before averaging values, which saves a product per block."""
        query = query * query.shape[-1] ** -0.5
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key).astype(jnp.float32)
        weights = jax.nn.softmax(scores)
        weights = weights[:, 0::2] - self._lambda() * weights[:, 1::2]
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights.astype(value.dtype), value)
        return self.sub_norm(mixed) * (1 - self.lambda_start)

    def _lambda(self) -> Float[Array, ""]:
        plus = jnp.exp(jnp.sum(self.lambda_q1[...] * self.lambda_k1[...]))
        minus = jnp.exp(jnp.sum(self.lambda_q2[...] * self.lambda_k2[...]))
        return plus - minus + self.lambda_start


class Attention(Mixing):
    """Multi-head self-attention: https://arxiv.org/abs/1706.03762, section 3.2."""

    def __init__(
        self, config: EncoderArchitecture, index: int, dtype: DTypeLike
    ) -> None:
        super().__init__(config, index, dtype)
        width = config.width
        self.qkv = Linear(width, 3 * width, use_bias=config.qkv_bias, dtype=dtype)
        self.norm = config.make_norm(width, dtype) if config.inner_norm else None
        self.proj = Linear(width, width, use_bias=config.proj_bias, dtype=dtype)

    def __call__(self, x: Tokens) -> Tokens:
        """Mixes tokens; softmax in float32."""
        mixed = self.mix(*jnp.split(self.qkv(x), 3, axis=-1))
        return self.proj(mixed if self.norm is None else self.norm(mixed))


class Block(nnx.Module):
    """Attention and MLP, each normalised before and added to the stream."""

    def __init__(
        self, config: EncoderArchitecture, index: int, rate: float, dtype: DTypeLike
    ) -> None:
        self.norm1 = config.make_norm(config.width, dtype)
        self.attn = Attention(config, index, dtype)
        self.ls1 = config.make_scale()
        self.norm2 = config.make_norm(config.width, dtype)
        self.mlp = config.make_mlp(dtype)
        self.ls2 = config.make_scale()
        self.drop_path = DropPath(rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        y = _scaled(self.attn(self.norm1(x)), self.ls1)
        x = self.drop_path.add(x, y, rngs)
        y = _scaled(self.mlp(self.norm2(x)), self.ls2)
        return self.drop_path.add(x, y, rngs)


class PostNormBlock(nnx.Module):
    """Attention and MLP, each normalised after and added to the stream."""

    def __init__(
        self, config: EncoderArchitecture, index: int, rate: float, dtype: DTypeLike
    ) -> None:
        self.attn = Attention(config, index, dtype)
        self.norm1 = config.make_norm(config.width, dtype)
        self.mlp = config.make_mlp(dtype)
        self.norm2 = config.make_norm(config.width, dtype)
        self.drop_path = DropPath(rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        x = self.drop_path.add(x, self.norm1(self.attn(x)), rngs)
        return self.drop_path.add(x, self.norm2(self.mlp(x)), rngs)


class ParallelBlock(Mixing):
    """Attention and MLP side by side, from one norm and one projection.

    Without biases of queries, keys and values the MLP's first bias is a leaf of its
    own. Differential attention shares its last projection with the MLP.
    """

    def __init__(
        self, config: EncoderArchitecture, index: int, rate: float, dtype: DTypeLike
    ) -> None:
        super().__init__(config, index, dtype)
        width, hidden = config.width, config.mlp_width
        self.in_norm = config.make_norm(width, dtype)
        self.in_proj = Linear(
            width, hidden + 3 * width, use_bias=config.qkv_bias, dtype=dtype
        )
        self.mlp_bias = nnx.data(None if config.qkv_bias else parameter(hidden))

        def last(num_in: int) -> Linear:
            return Linear(num_in, width, use_bias=config.proj_bias, dtype=dtype)

        if self.differential:
            self.out_proj = last(width + hidden)
        else:
            self.attn_out_proj, self.mlp_out_proj = last(width), last(hidden)
        self.ls = config.make_scale()
        self.drop_path = DropPath(rate)
        self.activation = config.activation
        self.splits = (hidden, hidden + width, hidden + 2 * width)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        y = self.in_proj(self.in_norm(x))
        hidden, query, key, value = jnp.split(y, self.splits, axis=-1)
        if self.mlp_bias is not None:
            bias = self.mlp_bias[...].astype(hidden.dtype)
            hidden = hidden + bias.reshape(1, 1, -1)
        hidden = ACTIVATIONS[self.activation](hidden)
        mixed = self.mix(query, key, value)
        if self.differential:
            y = self.out_proj(jnp.concatenate([mixed, hidden], axis=-1))
        else:
            y = self.attn_out_proj(mixed) + self.mlp_out_proj(hidden)
        return self.drop_path.add(x, _scaled(y, self.ls), rngs)


class DoubleBlock(nnx.Module):
    """The sum of two attentions, then the sum of two MLPs, added to the stream."""

    def __init__(
        self, config: EncoderArchitecture, index: int, rate: float, dtype: DTypeLike
    ) -> None:
        self.attns = nnx.List(
            Branch(config, Attention(config, index, dtype), dtype) for _ in range(2)
        )
        self.ffns = nnx.List(
            Branch(config, config.make_mlp(dtype), dtype) for _ in range(2)
        )
        self.drop_path = DropPath(rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block; each branch is dropped by itself."""
        for branches in (self.attns, self.ffns):
            first, second = (self.drop_path(branch(x), rngs) for branch in branches)
            x = joined(x + (first + second), rngs)
        return x


class Branch(nnx.Module):
    """A norm, a layer and a scale."""

    def __init__(
        self,
        config: EncoderArchitecture,
        layer: Attention | Mlp | GluMlp,
        dtype: DTypeLike,
    ) -> None:
        self.norm = config.make_norm(config.width, dtype)
        self.layer = layer
        self.ls = config.make_scale()

    def __call__(self, x: Tokens) -> Tokens:
        """Applies the branch."""
        return _scaled(self.layer(self.norm(x)), self.ls)


class AttentionPool(nnx.Module):
    """One learned query attends to all tokens, and an MLP follows.

    Zhai et al. (2022), https://arxiv.org/abs/2106.04560, appendix.
    """

    def __init__(self, config: EncoderArchitecture, dtype: DTypeLike) -> None:
        width = config.width
        self.num_heads = config.num_heads
        self.latent = parameter(1, 1, width)
        self.q = Linear(width, width, dtype=dtype)
        self.kv = Linear(width, 2 * width, dtype=dtype)
        self.proj = Linear(width, width, dtype=dtype)
        self.norm = config.make_norm(width, dtype)
        self.mlp = Mlp(
            width, config.mlp_width, activation=config.activation, dtype=dtype
        )

    def __call__(self, x: Tokens) -> Float[Array, "n d"]:
        """Pools tokens."""
        n, tokens, width = x.shape
        latent = jnp.broadcast_to(self.latent[...], (n, 1, width))
        query = self.q(latent).reshape(n, 1, self.num_heads, -1)
        key, value = (
            part.reshape(n, tokens, self.num_heads, -1)
            for part in jnp.split(self.kv(x), 2, axis=-1)
        )
        y = self.proj(attend(query, key, value).reshape(n, 1, width))
        return (y + self.mlp(self.norm(y)))[:, 0]


def _scaled(branch: Tokens, scale: LayerScale | None) -> Tokens:
    return branch if scale is None else scale(branch)
