"""LARS, LAMB and NovoGrad: rates from the norms of whole layers.

The notation is that of `descent.py`; |x| is the Euclidean norm of all of a parameter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.adam import scale_by_adam
from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    add_decay,
    clip_by_global_norm,
    descend,
    transformation,
)


def lars(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Momentum whose rate follows each layer's norm; the decay passes through it.

        r_t = trust |p_{t-1}| / (|g_t| + lambda |p_{t-1}|), 1 if |p| or |g| is 0
        m_t = momentum m_{t-1} + eta_t r_t (g_t + lambda p_{t-1})
        p_t = p_{t-1} - m_t

    r is 1 for parameters that do not decay.

    You et al. (2017), algorithm 1, https://arxiv.org/abs/1708.03888. The rate stands
    within the momentum, as in the paper and the code of arXiv 2410.06373; in timm it
    stands outside. `optax.lars` takes |g + lambda p| for the sum of norms.
    """

    def scale(gradients, parameters):
        return {
            name: _trusted(hyper, gradient, parameters[name])
            if leaves.decay[name]
            else gradient
            for name, gradient in gradients.items()
        }

    return optax.chain(
        optax.stateless(scale),
        descend(hyper),
        optax.trace(decay=hyper.options["momentum"]),
    )


def _trusted(hyper: Hyper, gradient: jax.Array, weights: jax.Array) -> jax.Array:
    length, slope = jnp.linalg.norm(weights.ravel()), jnp.linalg.norm(gradient.ravel())
    decay = hyper.weight_decay
    some = (length > 0) & (slope > 0)
    whole = jnp.where(some, slope + decay * length, 1)
    ratio = jnp.where(some, hyper.options["trust"] * length / whole, 1)
    return ratio * (gradient + decay * weights)


def lamb(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW whose rate follows each layer's norm.

        u_t = m'_t / (sqrt(v'_t) + epsilon) + lambda p_{t-1}
        p_t = p_{t-1} - eta_t |p_{t-1}| / |u_t| u_t

    with the moments of AdamW, of gradients clipped to a norm of `max_grad_norm` over
    all parameters. The ratio is 1 if either norm is 0, and for parameters that do not
    decay.

    You et al. (2020), algorithm 2, https://arxiv.org/abs/1904.00962, in the form of
    NVIDIA's and timm's code, which clip the gradients and use the ratio unbounded. For
    timm a decay of 0 takes the ratio away from every parameter; here it is the leaf
    that decides, so that a decay of 0 is the limit of small ones.
    """
    return optax.chain(
        clip_by_global_norm(hyper.options["max_grad_norm"]),
        scale_by_adam(hyper),
        add_decay(hyper, leaves),
        optax.masked(optax.scale_by_trust_ratio(), dict(leaves.decay)),
        descend(hyper),
    )


class _LayerState(NamedTuple):
    steps: jax.Array
    second: Parameters


def _scale_by_layer_norm(hyper: Hyper) -> optax.GradientTransformation:
    """Divides each gradient by its own running norm."""
    beta2, epsilon = hyper.options["beta2"], hyper.options["epsilon"]

    def init(parameters):
        zeros = {name: jnp.zeros((), p.dtype) for name, p in parameters.items()}
        return _LayerState(jnp.zeros((), jnp.int32), zeros)

    def update(gradients, state, parameters=None):
        del parameters
        second = {}
        for name, gradient in gradients.items():
            square = (gradient * gradient).sum()
            running = beta2 * state.second[name] + (1 - beta2) * square
            second[name] = jnp.where(state.steps == 0, square, running)
        updates = {
            name: gradient / (jnp.sqrt(second[name]) + epsilon)
            for name, gradient in gradients.items()
        }
        return updates, _LayerState(state.steps + 1, second)

    return transformation(init, update)


def novograd(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Momentum of gradients over their layer's running norm, decay included.

        v_t = beta2 v_{t-1} + (1 - beta2) |g_t|^2,  v_1 = |g_1|^2
        m_t = beta1 m_{t-1} + g_t / (sqrt(v_t) + epsilon) + lambda p_{t-1}
        p_t = p_{t-1} - eta_t m_t

    Ginsburg et al. (2019), algorithm 1, https://arxiv.org/abs/1905.11286, with the
    betas of NVIDIA's code (.95, .98). The decay is free of the adaptive rate but passes
    through the momentum.
    """
    return optax.chain(
        _scale_by_layer_norm(hyper),
        add_decay(hyper, leaves),
        optax.trace(decay=hyper.options["beta1"]),
        descend(hyper),
    )
