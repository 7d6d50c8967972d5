"""NAdam with the momentum schedule that optax leaves out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

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


class _NadamState(NamedTuple):
    steps: jax.Array
    first: Parameters
    second: Parameters
    product: jax.Array


def nadam(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam with Nesterov's momentum, which warms up; coupled decay.

        d_t = g_t + lambda p_{t-1}
        m_t = beta1 m_{t-1} + (1 - beta1) d_t
        v_t = beta2 v_{t-1} + (1 - beta2) d_t^2
        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),  M_t = mu_1 mu_2 ... mu_t
        u_t = (1 - mu_t) / (1 - M_t) d_t + mu_{t+1} / (1 - M_{t+1}) m_t
        p_t = p_{t-1} - eta_t u_t / (sqrt(v_t / (1 - beta2^t)) + epsilon)

    Dozat (2016), https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, in the form of
    torch, schedule included. `optax.nadam` keeps mu at beta1.
    """
    return optax.chain(add_decay(hyper, leaves), _nesterov(hyper), descend(hyper))


def _nesterov(hyper: Hyper) -> optax.GradientTransformation:
    beta1, beta2 = hyper.options["beta1"], hyper.options["beta2"]
    epsilon = hyper.options["epsilon"]

    def momentum(step):
        return beta1 * (1 - 0.5 * 0.96 ** (step * hyper.options["momentum_decay"]))

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return _NadamState(jnp.zeros((), jnp.int32), zeros, zeros, jnp.ones(()))

    def update(gradients, state, parameters=None):
        del parameters
        step = (state.steps + 1).astype(jnp.float32)
        first = average(state.first, gradients, beta1)
        squares = jax.tree.map(jnp.square, gradients)
        second = average(state.second, squares, beta2)
        now, later = momentum(step), momentum(step + 1)
        product = state.product * now
        of_gradient = (1 - now) / (1 - product)
        of_moment = later / (1 - product * later)
        correction = complement(beta2, step)
        updates = jax.tree.map(
            lambda g, m, v: (
                (of_gradient * g + of_moment * m) / (jnp.sqrt(v / correction) + epsilon)
            ),
            gradients,
            first,
            second,
        )
        return updates, _NadamState(state.steps + 1, first, second, product)

    return transformation(init, update)
