"""What contrastive training minimises, of the projections of two views."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Projections = Float[Array, "n d"]
Scalar = Float[Array, ""]

# Squared length below which a projection counts as zero.
_TINY = 1e-12


def unit_length(projections: Projections) -> Projections:
    """Each row over its Euclidean length; zeros stay zeros, with a finite gradient."""
    squares = jnp.square(projections).sum(axis=1, keepdims=True)
    return projections * jax.lax.rsqrt(jnp.maximum(squares, _TINY))


def nt_xent(
    first: Projections, second: Projections, *, temperature: float | Scalar
) -> Scalar:
    """Normalised temperature-scaled cross-entropy of two views of a batch.

    With z the 2 n projections of both views at unit length, p(i) the other view of i
    and t the temperature, the mean over all i of

        -log( exp(z_i z_p(i) / t) / sum_{k != i} exp(z_i z_k / t) ),

    the cross-entropy of finding the other view among the 2 n - 1 other images. Chen et
    al. (2020), eq. 1: https://arxiv.org/abs/2002.05709.

    Args:
        first: Projections of one view, of any length.
        second: Those of the other; row i is the same image.
        temperature: t, positive; may be traced.

    Returns:
        Nats, at least 0. One image has no negatives: 0.
    """
    count = len(first)
    both = unit_length(jnp.concatenate([first, second]).astype(jnp.float32))
    # Accelerators multiply in fewer bits by default, and 1 / t scales the error up.
    similarity = jnp.matmul(both, both.T, precision=jax.lax.Precision.HIGHEST)
    logits = jnp.where(jnp.eye(2 * count, dtype=bool), -jnp.inf, similarity)
    logits = logits / temperature
    partner = jnp.concatenate([jnp.arange(count, 2 * count), jnp.arange(count)])
    found = jnp.take_along_axis(logits, partner[:, None], axis=1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=1) - found).mean()


def huber_term(
    first: Projections, second: Projections, *, delta: float | Scalar
) -> Scalar:
    """Huber's loss between the projections of two views.

    The mean over the images of the sum over the coordinates of

        h(r) = r^2 / 2 where |r| <= delta, delta (|r| - delta / 2) elsewhere

    with r the difference of the two views. Huber (1964), "Robust estimation of a
    location parameter". For projections at unit length and delta >= 2 it is 1 minus
    the mean cosine. arXiv 2403.19579 names a Huber loss and not its formula, so the
    sum, delta and the weight are choices of this project.

    Args:
        first: Projections of one view.
        second: Those of the other; row i is the same image.
        delta: Positive; may be traced.

    Returns:
        At least 0, in squared units of the projections.
    """
    residual = jnp.abs(first.astype(jnp.float32) - second.astype(jnp.float32))
    near = jnp.minimum(residual, delta)
    # r^2 / 2 up to delta, and the straight line from there.
    return (near * (residual - near / 2)).sum(axis=1).mean()
