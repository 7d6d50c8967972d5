"""RAdam and AdaBelief: adaptive rates that wait for enough gradients to average."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    add_decay,
    average,
    complement,
    descend,
    transformation,
)

# From this length on the variance of the adaptive rate is taken for finite.
_SHORTEST = 5.0


class _RectifiedState(NamedTuple):
    steps: jax.Array
    first: Parameters
    second: Parameters


def radam(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam whose adaptive rate is damped by its variance; decoupled decay.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
        l_t = l - 2 t beta2^t / (1 - beta2^t),  l = 2 / (1 - beta2) - 1
        r_t = sqrt((l_t - 4) (l_t - 2) l / ((l - 4) (l - 2) l_t))
        u_t = m'_t r_t sqrt(1 - beta2^t) / (sqrt(v_t) + epsilon) if l_t >= 5, else m'_t
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1}),  m'_t = m_t / (1 - beta1^t)

    Liu et al. (2020), algorithm 2, https://arxiv.org/abs/1908.03265, with torch's bound
    of 5 (the paper's is 4) and its `decoupled_weight_decay=True`. `optax.radam` loses
    3 % of r in the first steps to cancellation in float32.
    """
    direction = _rectified(hyper, centred=False)
    return optax.chain(direction, add_decay(hyper, leaves), descend(hyper))


def adabelief(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """RAdam with the square of what the first moment did not foresee.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        v_t = beta2 v_{t-1} + (1 - beta2) (g_t - m_t)^2 + epsilon
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1}),  u_t from m_t and v_t as in RAdam

    Zhuang et al. (2020), algorithm 1, https://arxiv.org/abs/2010.07468, with the
    defaults of its authors' code, which are those of arXiv 2410.06373: rectified, plain
    momentum before that, decoupled decay, epsilon 1e-16. `optax.adabelief` does not
    rectify.
    """
    direction = _rectified(hyper, centred=True)
    return optax.chain(direction, add_decay(hyper, leaves), descend(hyper))


def _rectified(hyper: Hyper, *, centred: bool) -> optax.GradientTransformation:
    beta1, beta2 = hyper.options["beta1"], hyper.options["beta2"]
    epsilon = hyper.options["epsilon"]

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return _RectifiedState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(gradients, state, parameters=None):
        del parameters
        step = (state.steps + 1).astype(jnp.float32)
        first = average(state.first, gradients, beta1)
        if centred:
            squares = jax.tree.map(lambda g, m: (g - m) ** 2, gradients, first)
            second = average(state.second, squares, beta2)
            second = jax.tree.map(lambda v: v + epsilon, second)
        else:
            squares = jax.tree.map(jnp.square, gradients)
            second = average(state.second, squares, beta2)
        enough, factor = _rectification(beta2, step)
        corrected = factor * jnp.sqrt(complement(beta2, step))
        updates = jax.tree.map(
            lambda m, v: (
                m
                / complement(beta1, step)
                * jnp.where(enough, corrected / (jnp.sqrt(v) + epsilon), 1)
            ),
            first,
            second,
        )
        return updates, _RectifiedState(state.steps + 1, first, second)

    return transformation(init, update)


def _rectification(
    beta2: Float[Array, ""], step: Float[Array, ""]
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether the average is long enough, and r of `radam`, arbitrary if it is not."""
    longest = 2 / (1 - beta2) - 1
    # 2 t b / (1 - b) = 2 t / (1 - b) - 2 t, which float32 has to four more digits.
    length = longest + 2 * step - 2 * step / complement(beta2, step)
    long = jnp.maximum(length, _SHORTEST)
    factor = (long - 4) * (long - 2) * longest
    factor /= (longest - 4) * (longest - 2) * long
    return length >= _SHORTEST, jnp.sqrt(factor)
