"""MARS: AdamW on gradients of reduced variance."""

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
    descend,
    transformation,
)


class _MarsState(NamedTuple):
    steps: jax.Array
    gradient: Parameters


def mars(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW on gradients corrected by the last ones.

        c_t = g_t + gamma beta1 / (1 - beta1) (g_t - g_{t-1}),  c_1 = g_1
        c'_t = c_t / max(1, |c_t|), with the norm of the whole parameter

    of kernels, from which AdamW goes on; other parameters take AdamW's step from g.

    Yuan et al. (2024), algorithm 2, https://arxiv.org/abs/2411.10438: MARS-AdamW in its
    approximate form, where g_{t-1} is the gradient of the last batch, not of this one
    at the last parameters. Betas and gamma as in the authors' code. The first step is
    timm's (there g_0 is 0), and all parameters have the same betas and rate.
    """
    return optax.chain(
        _correct(hyper, leaves),
        scale_by_adam(hyper),
        add_decay(hyper, leaves),
        descend(hyper),
    )


def _correct(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    beta1 = hyper.options["beta1"]
    weight = hyper.options["gamma"] * beta1 / (1 - beta1)

    def kernels(tree):
        return {
            name: leaf
            for name, leaf in tree.items()
            if leaves.decay[name] and leaf.ndim > 1
        }

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, kernels(parameters))
        return _MarsState(jnp.zeros((), jnp.int32), zeros)

    def update(gradients, state, parameters=None):
        del parameters
        corrected = {}
        for name, gradient in kernels(gradients).items():
            change = jnp.where(state.steps == 0, 0, gradient - state.gradient[name])
            long = gradient + weight * change
            corrected[name] = long / jnp.maximum(jnp.linalg.norm(long.ravel()), 1)
        new = _MarsState(state.steps + 1, kernels(gradients))
        return {**gradients, **corrected}, new

    return transformation(init, update)
