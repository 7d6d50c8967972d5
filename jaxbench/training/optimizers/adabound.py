"""AdaBound: Adam that turns into SGD."""

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


class _BoundState(NamedTuple):
    steps: jax.Array
    first: Parameters
    second: Parameters
    peak: jax.Array


def adabound(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam whose elementwise rates close in on one rate; decoupled decay.

        s_t = final_learning_rate eta_t / max(eta_1, ..., eta_t)
        c_t = eta_t sqrt(1 - beta2^t) / (1 - beta1^t)
        h_t = clip(c_t / (sqrt(v_t) + epsilon), s_t (1 - 1 / (gamma t + 1)),
                                                s_t (1 + 1 / (gamma t)))
        p_t = p_{t-1} - h_t m_t - eta_t lambda p_{t-1}

    with the moments m and v of Adam.

    Luo et al. (2019), algorithm 2, https://arxiv.org/abs/1902.09843, in the form of its
    authors' code, where the schedule scales the bounds too. There s is in proportion to
    the rate over the peak of its schedule; a step knows no later rate, so that here the
    bounds do not warm up: they are the authors' from the peak on. The decay is
    decoupled as arXiv 2410.06373 has it, and multiplied by the rate. Rates by layer
    scale the final rate too.
    """
    rate, options = hyper.learning_rate, hyper.options
    beta1, beta2 = options["beta1"], options["beta2"]

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return _BoundState(jnp.zeros((), jnp.int32), zeros, zeros, jnp.zeros(()))

    def update(gradients, state, parameters):
        step = (state.steps + 1).astype(jnp.float32)
        first = average(state.first, gradients, beta1)
        squares = jax.tree.map(jnp.square, gradients)
        second = average(state.second, squares, beta2)
        peak = jnp.maximum(state.peak, rate)
        falling = jnp.where(peak > 0, rate / jnp.where(peak > 0, peak, 1), 0)
        final = options["final_learning_rate"] * falling
        pace = options["gamma"] * step
        lower, upper = final * (1 - 1 / (pace + 1)), final * (1 + 1 / pace)
        scale = rate * jnp.sqrt(complement(beta2, step)) / complement(beta1, step)

        def step_of(name):
            free = scale / (jnp.sqrt(second[name]) + options["epsilon"])
            descent = jnp.clip(free, lower, upper) * first[name]
            if leaves.decay[name]:
                descent += rate * hyper.weight_decay * parameters[name]
            return -descent

        updates = {name: step_of(name) for name in gradients}
        return updates, _BoundState(state.steps + 1, first, second, peak)

    return transformation(init, update)
