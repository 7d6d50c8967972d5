"""Prodigy: AdamW that estimates its own rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    average,
    transformation,
)


class _ProdigyState(NamedTuple):
    steps: jax.Array
    first: Parameters
    second: Parameters
    total: Parameters
    start: Parameters
    numerator: jax.Array
    distance: jax.Array


def prodigy(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW with the distance to the solution as rate; decoupled decay.

        a_t = d_{t-1} eta_t,  beta3 = sqrt(beta2)
        m_t = beta1 m_{t-1} + (1 - beta1) d_{t-1} g_t
        v_t = beta2 v_{t-1} + (1 - beta2) d_{t-1}^2 g_t^2
        r_t = beta3 r_{t-1} + a_t d_{t-1} / d0 <g_t, p_0 - p_{t-1}>
        s_t = beta3 s_{t-1} + a_t d_{t-1} / d0 g_t
        d_t = max(d_{t-1}, d_coef r_t / |s_t|_1),  d_0 = d0
        p_t = p_{t-1} - a_t (m_t / (sqrt(v_t) + d_t epsilon) + lambda p_{t-1})

    where <,> and |.|_1 are sums over all parameters.

    Mishchenko & Defazio (2024), algorithm 4, https://arxiv.org/abs/2306.06101, with the
    defaults of the authors' code: no correction of the moments' bias (which
    `optax.contrib.prodigy` makes), no bound on the growth of d, no safeguard. eta is
    the schedule, with a peak of 1.
    """
    options = hyper.options
    beta1, beta2, beta3 = options["beta1"], options["beta2"], options["beta2"] ** 0.5

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        copy = jax.tree.map(jnp.copy, parameters)
        none = jnp.zeros(())
        return _ProdigyState(
            jnp.zeros((), jnp.int32), zeros, zeros, zeros, copy, none, none
        )

    def update(gradients, state, parameters):
        # The state's own first value must not depend on an option.
        distance = jnp.where(state.steps == 0, options["d0"], state.distance)
        rate = distance * hyper.learning_rate
        gain = rate * distance / options["d0"]
        scaled = jax.tree.map(lambda g: distance * g, gradients)
        first = average(state.first, scaled, beta1)
        second = average(state.second, jax.tree.map(jnp.square, scaled), beta2)
        total = jax.tree.map(lambda s, g: beta3 * s + gain * g, state.total, gradients)
        # One reduction for all leaves: many small ones are much to compile.
        moved = _flat(state.start) - _flat(parameters)
        numerator = beta3 * state.numerator + gain * jnp.vdot(
            _flat(gradients), moved, precision="highest"
        )
        norm = jnp.abs(_flat(total)).sum()
        estimate = options["d_coef"] * numerator / jnp.where(norm > 0, norm, 1)
        further = jnp.maximum(distance, estimate)

        def step_of(name):
            root = jnp.sqrt(second[name]) + further * options["epsilon"]
            direction = first[name] / root
            if leaves.decay[name]:
                direction += hyper.weight_decay * parameters[name]
            return -rate * direction

        updates = {name: step_of(name) for name in gradients}
        return updates, _ProdigyState(
            state.steps + 1, first, second, total, state.start, numerator, further
        )

    return transformation(init, update)


def _flat(tree: Parameters) -> jax.Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
