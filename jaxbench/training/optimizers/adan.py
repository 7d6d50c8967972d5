"""Adan in the arithmetic of its authors' code."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    average,
    clip_by_global_norm,
    complement,
    transformation,
)


class _AdanState(NamedTuple):
    steps: jax.Array
    first: Parameters
    change: Parameters
    second: Parameters
    gradient: Parameters


def adan(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Nesterov's momentum without the extra gradient; proximal, decoupled decay.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        d_t = g_t - g_{t-1},  d_1 = 0
        c_t = beta2 c_{t-1} + (1 - beta2) d_t
        n_t = beta3 n_{t-1} + (1 - beta3) (g_t + beta2 d_t)^2
        u_t = (m'_t + beta2 c'_t) / (sqrt(n'_t) + epsilon)
        p_t = (p_{t-1} - eta_t u_t) / (1 + eta_t lambda)

    with m', c' and n' the moments over 1 - beta^t, and g clipped to a norm of
    `max_grad_norm` over all parameters (the 5 of the recipes; a large number for no
    bound).

    Xie et al. (2022), algorithm 1, https://arxiv.org/abs/2208.06677. Betas as in the
    authors' code (.98, .92, .99), one minus the paper's. `optax.adan` takes these betas
    too but weighs the differences by 1 - beta2, 0.08 where the authors have 0.92.
    """
    return optax.chain(
        clip_by_global_norm(hyper.options["max_grad_norm"]), _adan(hyper, leaves)
    )


def _adan(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    rate, options = hyper.learning_rate, hyper.options
    beta1, beta2, beta3 = (options[f"beta{i}"] for i in (1, 2, 3))

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return _AdanState(jnp.zeros((), jnp.int32), zeros, zeros, zeros, zeros)

    def update(gradients, state, parameters):
        step = (state.steps + 1).astype(jnp.float32)
        first = average(state.first, gradients, beta1)
        differences = jax.tree.map(
            lambda g, old: jnp.where(state.steps == 0, 0, g - old),
            gradients,
            state.gradient,
        )
        change = average(state.change, differences, beta2)
        squares = jax.tree.map(
            lambda g, d: (g + beta2 * d) ** 2, gradients, differences
        )
        second = average(state.second, squares, beta3)
        of_first = 1 / complement(beta1, step)
        of_change = beta2 / complement(beta2, step)
        correction = complement(beta3, step)

        def step_of(name):
            direction = of_first * first[name] + of_change * change[name]
            root = jnp.sqrt(second[name] / correction)
            direction /= root + options["epsilon"]
            if not leaves.decay[name]:
                return -rate * direction
            shrink = rate * hyper.weight_decay
            # The caller multiplies by the parameter's factor of the rate, which is
            # all that is missing but for the denominator.
            whole = 1 + leaves.rates.get(name, 1.0) * shrink
            return -(rate * direction + shrink * parameters[name]) / whole

        updates = {name: step_of(name) for name in gradients}
        new = _AdanState(state.steps + 1, first, change, second, gradients)
        return updates, new

    return transformation(init, update)
