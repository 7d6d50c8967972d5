"""Scaled dot-product attention: https://arxiv.org/abs/1706.03762, section 3.2.1."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attend(
    query: Float[Array, "n q h d"],
    key: Float[Array, "n k h d"],
    value: Float[Array, "n k h e"],
    *,
    bias: Float[Array, "#n #h #q k"] | None = None,
    scale: float | None = None,
) -> Float[Array, "n q h e"]:
    """Averages values by softmax(query . key * scale + bias), softmax in float32.

    Args:
        query: Queries of every head.
        key: Keys of every head.
        value: Values of every head.
        bias: Added to the scores: relative positions, or -inf where nothing is to be
            seen.
        scale: Factor of the scores; None is d**-0.5.
    """
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key).astype(jnp.float32)
    if bias is not None:
        scores = scores + bias
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum("nhqk,nkhd->nqhd", weights, value)
