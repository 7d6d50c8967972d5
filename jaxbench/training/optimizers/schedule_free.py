"""Schedule-free AdamW: an average of the iterates in place of a schedule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    average,
    complement,
    transformation,
)


class _ScheduleFreeState(NamedTuple):
    steps: jax.Array
    second: Parameters
    iterate: Parameters
    weight: jax.Array
    peak: jax.Array


def schedule_free_adamw(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW between an iterate and the average of all iterates.

        v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
        d_t = g_t / (sqrt(v_t / (1 - beta2^t)) + epsilon) + lambda y_{t-1}
        z_t = z_{t-1} - eta_t d_t
        w_t = max(eta_1, ..., eta_t)^2,  c_t = w_t / (w_1 + ... + w_t)
        x_t = (1 - c_t) x_{t-1} + c_t z_t
        y_t = (1 - beta1) z_t + beta1 x_t

    from x_0 = y_0 = z_0. The parameters that train are y, those to evaluate with are x
    (`averaged`), for which BatchNorm's statistics, gathered at y, are not quite right.

    Defazio et al. (2024), algorithm 1, https://arxiv.org/abs/2405.15682, with the
    weights of the authors' code. Its rate is meant to be constant after a warm-up.
    """
    rate, options = hyper.learning_rate, hyper.options
    beta1, beta2 = options["beta1"], options["beta2"]

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        # A copy, so that a caller may donate both.
        copy = jax.tree.map(jnp.copy, parameters)
        none = jnp.zeros(())
        return _ScheduleFreeState(jnp.zeros((), jnp.int32), zeros, copy, none, none)

    def update(gradients, state, parameters):
        step = (state.steps + 1).astype(jnp.float32)
        squares = jax.tree.map(jnp.square, gradients)
        second = average(state.second, squares, beta2)
        correction = complement(beta2, step)
        peak = jnp.maximum(state.peak, rate)
        weight = state.weight + peak**2
        share = jnp.where(weight > 0, peak**2 / jnp.where(weight > 0, weight, 1), 0)
        updates, iterate = {}, {}
        for name, gradient in gradients.items():
            root = jnp.sqrt(second[name] / correction)
            direction = gradient / (root + options["epsilon"])
            if leaves.decay[name]:
                direction += hyper.weight_decay * parameters[name]
            old = state.iterate[name]
            iterate[name] = old - rate * direction
            # y_t - y_{t-1}, with x eliminated.
            slope = rate * (beta1 * (1 - share) - 1) * direction
            updates[name] = share * (old - parameters[name]) + slope
        return updates, _ScheduleFreeState(
            state.steps + 1, second, iterate, weight, peak
        )

    return transformation(init, update)


def averaged(
    hyper: Hyper, state: _ScheduleFreeState, parameters: Parameters
) -> Parameters:
    """The average x of the iterates, from y and z."""
    beta1 = hyper.options["beta1"]
    return {
        name: (y - (1 - beta1) * state.iterate[name]) / beta1
        for name, y in parameters.items()
    }
