"""SGDP and AdamP: no step along weights whose length has no effect."""

import math
from typing import cast

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxbench.training.optimizers.adam import scale_by_adam
from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    transformation,
)


def sgdp(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Momentum projected off scale-invariant weights; decoupled decay.

        m_t = momentum m_{t-1} + g_t
        d_t, w_t = project(m_t, g_t, p_{t-1})
        p_t = p_{t-1} - eta_t (d_t + w_t lambda / (1 - momentum) p_{t-1})

    A kernel whose gradient is nearly orthogonal to it, in every output channel or else
    as a whole (the cosine's size below delta / sqrt(n) for vectors of n elements), is
    taken for scale-invariant: d is then m less its part along p, by channel or as a
    whole, and w is `wd_ratio`. For all other parameters d = m and w = 1.

    Heo et al. (2021), algorithm 2, https://arxiv.org/abs/2006.08217, with the decay of
    the authors' code (the paper does not divide by 1 - momentum). Without Nesterov's
    momentum; timm tries every parameter of two and more axes, this only those that
    decay.
    """
    momentum = hyper.options["momentum"]
    inner = optax.trace(decay=momentum)
    return _projected(hyper, leaves, inner, decay=hyper.weight_decay / (1 - momentum))


def adamp(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW projected off scale-invariant weights.

        a_t = m'_t / (sqrt(v'_t) + epsilon)
        d_t, w_t = project(a_t, g_t, p_{t-1})
        p_t = p_{t-1} - eta_t (d_t + w_t lambda p_{t-1})

    with the moments of AdamW and the projection of SGDP.

    Heo et al. (2021), algorithm 3, https://arxiv.org/abs/2006.08217; without Nesterov's
    momentum.
    """
    return _projected(hyper, leaves, scale_by_adam(hyper), decay=hyper.weight_decay)


def _projected(
    hyper: Hyper,
    leaves: Leaves,
    inner: optax.GradientTransformation,
    *,
    decay: Float[Array, ""],
) -> optax.GradientTransformation:
    def update(gradients, state, parameters):
        directions, state = inner.update(gradients, state, parameters)
        updates = {}
        for name, direction in cast(Parameters, directions).items():
            if leaves.decay[name]:
                weights = parameters[name]
                direction, ratio = _project(direction, gradients[name], weights, hyper)
                direction += ratio * decay * weights
            updates[name] = -hyper.learning_rate * direction
        return updates, state

    return transformation(inner.init, update)


def _project(
    direction: Array, gradient: Array, weights: Array, hyper: Hyper
) -> tuple[Array, Array]:
    """The direction, projected or not, and the factor of the decay."""
    projected, ratio = direction, jnp.ones(())
    if weights.ndim < 2:
        return projected, ratio
    # The last of the two has the first word: channels before the whole.
    for axes in (None, tuple(range(weights.ndim - 1))):
        invariant, tangent = _tangent(direction, gradient, weights, axes, hyper)
        projected = jnp.where(invariant, tangent, projected)
        ratio = jnp.where(invariant, hyper.options["wd_ratio"], ratio)
    return projected, ratio


def _tangent(direction, gradient, weights, axes, hyper):
    """Whether gradient and weights are orthogonal, and the direction's tangent part."""
    epsilon = hyper.options["epsilon"]

    def dot(a, b):
        return (a * b).sum(axes, keepdims=True)

    lengths = jnp.sqrt(dot(weights, weights))
    scale = lengths * jnp.sqrt(dot(gradient, gradient))
    cosine = jnp.abs(dot(gradient, weights)) / jnp.maximum(scale, epsilon)
    count = weights.size // math.prod(lengths.shape)
    invariant = cosine.max() < hyper.options["delta"] / math.sqrt(count)
    normal = weights / (lengths + epsilon)
    return invariant, direction - normal * dot(normal, direction)
