"""Attention of TransNeXt: every query sees its neighbours and the pooled image.

Keys and queries have unit length; scores grow with the logarithm of what a query sees,
so that one set of weights serves several image sizes. Shi (2024),
https://arxiv.org/abs/2311.17132, sections 3.1 to 3.3.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo.architecture import Settings
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.attention import attend
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.pooling import avg_pool

_HIDDEN = 512
Size = tuple[int, int]
Maps = Float[Array, "n h w d"]


class CosineAttention(nnx.Module):
    """What both kinds of attention have: queries, positions, a last layer.

    Args:
        width: Channels.
        num_heads: Attention heads; `width` is a multiple of it.
        reference: Height and width of the map that positions are measured by.
        settings: The user's choices.
    """

    def __init__(
        self, width: int, num_heads: int, reference: Size, settings: Settings
    ) -> None:
        self.num_heads = num_heads
        self.reference = reference
        self.temperature = parameter(num_heads, 1, 1)
        self.query_embedding = parameter(num_heads, 1, width // num_heads)
        # Positions are measured exactly: this MLP stays in float32.
        self.cpb_fc1 = Linear(2, _HIDDEN, dtype=jnp.float32)
        self.cpb_fc2 = Linear(_HIDDEN, num_heads, dtype=jnp.float32)
        self.proj = Linear(width, width, dtype=settings.dtype)

    def magnified(self, query: Array, lengths: np.ndarray) -> Array:
        """Queries moved by a learned vector, times temperature and log-length."""
        embedding = self.query_embedding[...].astype(query.dtype)
        moved = query + embedding.reshape(1, 1, *query.shape[2:])
        temperature = jax.nn.softplus(self.temperature[...]).reshape(1, 1, -1, 1)
        factor = temperature * jnp.asarray(lengths)[None, :, :, None]
        return moved * factor.astype(query.dtype)

    def position_bias(self, queries: Size, keys: Size) -> Array:
        """Scores [heads, queries, keys] from an MLP of the distances."""
        (rows, row_steps), (columns, column_steps) = (
            _distances(*lengths)
            for lengths in zip(queries, keys, self.reference, strict=True)
        )
        table = np.stack(np.meshgrid(row_steps, column_steps, indexing="ij"), axis=-1)
        scores = self.cpb_fc2(jax.nn.relu(self.cpb_fc1(jnp.asarray(table))))
        every = scores[rows[:, None, :, None], columns[None, :, None, :]]
        pairs = queries[0] * queries[1], keys[0] * keys[1]
        return every.reshape(*pairs, self.num_heads).transpose(2, 0, 1)


class Attention(CosineAttention):
    """Every query sees every pixel."""

    def __init__(
        self, width: int, num_heads: int, reference: Size, settings: Settings
    ) -> None:
        super().__init__(width, num_heads, reference, settings)
        self.qkv = Linear(width, 3 * width, dtype=settings.dtype)

    def __call__(self, x: Maps) -> Maps:
        """Mixes pixels."""
        n, height, width, channels = x.shape
        tokens = height * width
        qkv = self.qkv(x).reshape(n, tokens, 3, self.num_heads, -1)
        query, key = _unit(qkv[:, :, 0]), _unit(qkv[:, :, 1])
        lengths = np.full((tokens, 1), np.log(tokens), np.float32)
        bias = self.position_bias((height, width), (height, width))
        mixed = attend(
            self.magnified(query, lengths),
            key,
            qkv[:, :, 2],
            bias=bias[None],
            scale=1.0,
        )
        return self.proj(mixed.reshape(n, height, width, channels))


class AggregatedAttention(CosineAttention):
    """Every query sees its neighbours and averages over a grid of regions.

    Both share one softmax; to the neighbours' weights, learned ones are added, which
    the query alone decides.

    Args:
        width: Channels.
        num_heads: Attention heads; `width` is a multiple of it.
        window_size: Side of the neighbourhood in pixels, odd.
        pool_ratio: Side of a region in pixels; height and width are multiples of it.
        reference: Height and width of the map that positions are measured by.
        settings: The user's choices.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        window_size: int,
        pool_ratio: int,
        reference: Size,
        settings: Settings,
    ) -> None:
        dtype, area = settings.dtype, window_size**2
        super().__init__(width, num_heads, reference, settings)
        self.q = Linear(width, width, dtype=dtype)
        self.kv = Linear(width, 2 * width, dtype=dtype)
        self.sr = Linear(width, width, dtype=dtype)
        self.norm = LayerNorm(width, epsilon=1e-5, dtype=dtype)
        self.relative_pos_bias_local = parameter(num_heads, area)
        self.learnable_tokens = parameter(num_heads, width // num_heads, area)
        self.learnable_bias = parameter(num_heads, 1, area)
        self.window_size = window_size
        self.pool_ratio = pool_ratio

    def __call__(self, x: Maps) -> Maps:
        """Mixes pixels."""
        n, height, width, channels = x.shape
        grid = height // self.pool_ratio, width // self.pool_ratio
        inside = _inside((height, width), self.window_size)
        lengths = np.log(inside.sum(1, keepdims=True) + np.float32(grid[0] * grid[1]))
        query = _unit(self.q(x).reshape(n, height * width, self.num_heads, -1))
        magnified = self.magnified(query, lengths)
        near_keys, near_values = self._neighbours(x)
        far_keys, far_values = self._regions(x)

        near = jnp.einsum("nqhd,nqlhd->nhql", magnified, near_keys).astype(jnp.float32)
        near = near + self.relative_pos_bias_local[...][None, :, None, :]
        near = jnp.where(inside[None, None] > 0, near, -jnp.inf)
        far = jnp.einsum("nqhd,nkhd->nhqk", magnified, far_keys).astype(jnp.float32)
        far = far + self.position_bias((height, width), grid)[None]
        weights = jax.nn.softmax(jnp.concatenate([near, far], axis=-1)).astype(x.dtype)

        near, far = jnp.split(weights, [self.window_size**2], axis=-1)
        near = near + self._learned_weights(query)
        mixed = jnp.einsum("nhql,nqlhd->nqhd", near, near_values)
        mixed = mixed + jnp.einsum("nhqk,nkhd->nqhd", far, far_values)
        return self.proj(mixed.reshape(n, height, width, channels))

    def _neighbours(self, x: Array) -> tuple[Array, Array]:
        """Keys and values in each pixel's window, zero beyond the border."""
        n, height, width, _ = x.shape
        kv = self.kv(x).reshape(n, height, width, 2, self.num_heads, -1)
        both = jnp.stack([_unit(kv[:, :, :, 0]), kv[:, :, :, 1]])
        side = self.window_size
        reach = side // 2
        border = [(0, 0), (0, 0), (reach, reach), (reach, reach), (0, 0), (0, 0)]
        padded = jnp.pad(both, border)
        shifted = [
            padded[:, :, i : i + height, j : j + width]
            for i in range(side)
            for j in range(side)
        ]
        window = jnp.stack(shifted, axis=4)
        keys, values = window.reshape(2, n, height * width, *window.shape[4:])
        return keys, values

    def _regions(self, x: Array) -> tuple[Array, Array]:
        """Keys and values of the pooled image."""
        ratio = self.pool_ratio
        pooled = avg_pool(ACTIVATIONS["gelu"](self.sr(x)), ratio, ratio)
        kv = self.kv(self.norm(pooled))
        kv = kv.reshape(
            x.shape[0], -1, 2, self.num_heads, x.shape[-1] // self.num_heads
        )
        return _unit(kv[:, :, 0]), kv[:, :, 1]

    def _learned_weights(self, query: Array) -> Array:
        tokens, bias = (
            p[...].astype(query.dtype)
            for p in (self.learnable_tokens, self.learnable_bias)
        )
        return jnp.einsum("nqhd,hdl->nhql", query, tokens) + bias[None]


@functools.cache
def _distances(
    queries: int, keys: int, reference: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances along one axis: index [queries, keys] into the distinct ones.

    A key lies amid the queries that it stands for. Distances are relative to the
    reference's length and grow logarithmically.
    """
    centres = np.arange(queries, dtype=np.float32).reshape(keys, -1).mean(1)
    steps = np.arange(queries, dtype=np.float32)[:, None] - centres
    relative = steps / np.float32(reference - 1) * np.float32(8)
    distinct, index = np.unique(relative, return_inverse=True)
    logarithms = np.sign(distinct) * np.log2(np.abs(distinct) + 1) / np.float32(3)
    return index.reshape(relative.shape), logarithms


@functools.cache
def _inside(size: Size, window_size: int) -> np.ndarray:
    """1 where a pixel's neighbour lies within the map: [pixels, neighbours]."""
    reach = window_size // 2
    ones = np.pad(np.ones(size, np.float32), reach)
    shifted = [
        ones[i : i + size[0], j : j + size[1]]
        for i in range(window_size)
        for j in range(window_size)
    ]
    return np.stack(shifted, axis=-1).reshape(-1, window_size**2)


def _unit(x: Array) -> Array:
    """Vectors of length one along the last axis; zero stays zero."""
    wide = x.astype(jnp.float32)
    power = jnp.square(wide).sum(-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(power, 1e-24))).astype(x.dtype)
