"""Sophia, with a curvature that is measured outside."""

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
    descend,
    transformation,
)

CURVATURE_EVERY = 10


class _SophiaState(NamedTuple):
    steps: jax.Array
    first: Parameters
    curvature: Parameters


def sophia(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Momentum over a running diagonal curvature, clipped; decoupled decay.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        h_t = beta2 h_{t-1} + (1 - beta2) c_t every 10th step from the first, else the
              last h
        u_t = clip(m_t / (rho h_t + 1e-15), -1, 1)
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1})

    c is the Gauss-Newton-Bartlett estimate, the batch size times the squared gradient
    against labels drawn from the model, as `update` is given it (`curvature`).

    Liu et al. (2024), algorithms 2 and 3, https://arxiv.org/abs/2305.14342. As in the
    paper c is measured before the first step; the authors' script measures it after
    every tenth, so that its first ten steps are those of sign descent.
    """
    return optax.chain(_scale(hyper), add_decay(hyper, leaves), descend(hyper))


def _scale(hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    options = hyper.options

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return _SophiaState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(gradients, state, parameters=None, *, curvature, **others):
        del parameters, others
        first = average(state.first, gradients, options["beta1"])
        due = state.steps % CURVATURE_EVERY == 0
        running = average(state.curvature, curvature, options["beta2"])
        kept = jax.tree.map(
            lambda new, old: jnp.where(due, new, old), running, state.curvature
        )
        updates = jax.tree.map(
            # 1e-15: where no curvature was seen, the sign of the momentum.
            lambda m, h: jnp.clip(m / (options["rho"] * h + 1e-15), -1, 1),
            first,
            kept,
        )
        return updates, _SophiaState(state.steps + 1, first, kept)

    return optax.GradientTransformationExtraArgs(*transformation(init, update))
