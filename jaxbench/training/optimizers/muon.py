"""Muon: orthogonalised momentum for hidden kernels."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxbench.training.optimizers.adam import adamw
from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    average,
    transformation,
)
from jaxbench.training.optimizers.kernels import (
    as_matrices,
    divide,
    in_stacks,
    shaped_as,
)

# Keller Jordan's quintic: steep at zero, and singular values end within (0.7, 1.2).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def muon(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Orthogonalised Nesterov momentum for hidden kernels, AdamW for the rest.

        m_t = momentum m_{t-1} + (1 - momentum) g_t
        n_t = momentum m_t + (1 - momentum) g_t
        p_t = p_{t-1} - eta_t (0.2 sqrt(max(a, b)) orthogonal(n_t) + lambda p_{t-1})

    where n is taken as a matrix of a rows and b columns, a convolution as
    [h * w * in, out], and orthogonal(U S V^T) is about U V^T: five steps of the quintic
    Newton-Schulz iteration, in float32 (the author's code: bfloat16). Parameters that
    do not decay, of one axis, or of the output layer take AdamW's step with the same
    rate and decay.

    Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/. The factor is that
    of Liu et al. (2025), https://arxiv.org/abs/2502.16982: an orthogonal a x b matrix
    has the root mean square 1 / sqrt(max(a, b)), Adam's steps have 0.2 to 0.4, and so
    one rate, in AdamW's range, serves both. (The author's sqrt(max(1, b / a)) asks for
    a second rate.)
    """
    return divide(leaves, _orthogonalised(hyper), adamw(hyper, leaves))


def _orthogonalised(hyper: Hyper) -> optax.GradientTransformation:
    momentum, rate = hyper.options["momentum"], hyper.learning_rate

    def init(kernels: Parameters) -> Parameters:
        return jax.tree.map(jnp.zeros_like, kernels)

    @jax.default_matmul_precision("float32")
    def update(gradients, state, kernels):
        state = average(state, gradients, momentum)
        matrices = as_matrices(average(state, gradients, momentum))
        directions = shaped_as(in_stacks(_orthogonal, matrices), kernels)

        def step_of(name):
            return -rate * (directions[name] + hyper.weight_decay * kernels[name])

        return {name: step_of(name) for name in gradients}, state

    return transformation(init, update)


def _orthogonal(matrices: Float[Array, "k a b"]) -> Float[Array, "k a b"]:
    """About the nearest orthogonal matrices, scaled as `muon` says."""
    _, rows, columns = matrices.shape
    tall = rows > columns
    short = matrices.mT if tall else matrices
    norms = jnp.linalg.norm(short, axis=(1, 2), keepdims=True)
    a, b, c = _QUINTIC

    def iterate(_, x):
        square = x @ x.mT
        return a * x + (b * square + c * (square @ square)) @ x

    # A loop: written out the products of all layers are much to compile.
    found = jax.lax.fori_loop(0, _ITERATIONS, iterate, short / (norms + 1e-7))
    return 0.2 * math.sqrt(max(rows, columns)) * (found.mT if tall else found)
