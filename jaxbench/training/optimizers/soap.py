"""SOAP: Adam in the eigenbasis of Shampoo's statistics."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxbench.training.optimizers.adam import adamw
from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    average,
    complement,
    transformation,
)
from jaxbench.training.optimizers.kernels import (
    as_matrices,
    divide,
    in_stacks,
    occasionally,
    shaped_as,
)

_PRECONDITION_FREQUENCY = 10
# Longer sides keep their own basis: their statistics would outweigh the network.
_LONGEST_SIDE = 2048


class _SoapState(NamedTuple):
    steps: jax.Array
    first: Parameters
    second: Parameters
    statistics: Parameters
    bases: Parameters


def soap(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """AdamW whose second moments live in a slowly turning basis.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        v_t = beta2 v_{t-1} + (1 - beta2) (Q' g_t R)^2
        u_t = Q ((Q' m_t R) / (sqrt(v_t) + epsilon)) R' sqrt(1 - beta2^t)/(1 - beta1^t)
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1})
        A_t = shampoo_beta A_{t-1} + (1 - shampoo_beta) g_t g_t',  B_t with g_t' g_t

    for hidden kernels as matrices, convolutions as [h * w * in, out]; Q and R hold the
    eigenvectors of A and B, renewed every 10 steps by one power iteration and a QR
    decomposition, largest first (v is sorted with them). The first step only
    gathers A and B and their eigenvectors; t counts those after it. Sides longer than
    2048 have no statistics and the identity for a basis. The other parameters take
    AdamW's step, from the first step on.

    Vyas et al. (2025), algorithm 3, https://arxiv.org/abs/2409.11321, with the order of
    steps of the authors' code, whose limit for sides is 10000.
    """
    return divide(leaves, _rotated(hyper), adamw(hyper, leaves))


def _rotated(hyper: Hyper) -> optax.GradientTransformation:
    options = hyper.options
    beta1, beta2 = options["beta1"], options["beta2"]

    def init(kernels):
        zeros = jax.tree.map(jnp.zeros_like, as_matrices(kernels))
        nothing, identity = {}, {}
        for key, length in _sides(zeros).items():
            nothing[key] = jnp.zeros((length, length))
            identity[key] = jnp.eye(length)
        return _SoapState(jnp.zeros((), jnp.int32), zeros, zeros, nothing, identity)

    @jax.default_matmul_precision("float32")
    def update(gradients, state, kernels):
        slopes = as_matrices(gradients)
        started = state.steps > 0
        turned = jax.tree.map(jnp.square, _turn(slopes, state.bases))
        first, second = jax.tree.map(
            lambda new, old: jnp.where(started, new, old),
            (
                average(state.first, slopes, beta1),
                average(state.second, turned, beta2),
            ),
            (state.first, state.second),
        )
        step = jnp.maximum(state.steps, 1).astype(jnp.float32)
        scale = jnp.sqrt(complement(beta2, step)) / complement(beta1, step)
        ratios = jax.tree.map(
            lambda m, v: scale * m / (jnp.sqrt(v) + options["epsilon"]),
            _turn(first, state.bases),
            second,
        )
        directions = shaped_as(_turn(ratios, state.bases, back=True), kernels)
        rate = jnp.where(started, hyper.learning_rate, 0)
        updates = {
            name: -rate * (directions[name] + hyper.weight_decay * kernels[name])
            for name in gradients
        }
        statistics = average(
            state.statistics, _outer_products(slopes), options["shampoo_beta"]
        )
        bases, second = _renew(state.steps, statistics, state.bases, second)
        new = _SoapState(state.steps + 1, first, second, statistics, bases)
        return updates, new

    return transformation(init, update)


def _sides(matrices: Parameters) -> dict[str, int]:
    """Name and length of every side that has statistics."""
    lengths = {}
    for name, matrix in matrices.items():
        lengths[f"{name}:rows"], lengths[f"{name}:columns"] = matrix.shape
    return {key: n for key, n in lengths.items() if n <= _LONGEST_SIDE}


def _turn(matrices: Parameters, bases: Parameters, *, back: bool = False) -> Parameters:
    """Into the bases, or from them back."""
    turned = {}
    for name, matrix in matrices.items():
        rows, columns = bases.get(f"{name}:rows"), bases.get(f"{name}:columns")
        if rows is not None:
            matrix = (rows if back else rows.T) @ matrix
        if columns is not None:
            matrix = matrix @ (columns.T if back else columns)
        turned[name] = matrix
    return turned


def _outer_products(matrices: Parameters) -> Parameters:
    products = {}
    for key in _sides(matrices):
        name, _, side = key.rpartition(":")
        matrix = matrices[name] if side == "rows" else matrices[name].T
        products[key] = matrix @ matrix.T
    return products


def _renew(
    count: Int[Array, ""], statistics: Parameters, bases: Parameters, second: Parameters
) -> tuple[Parameters, Parameters]:
    """The bases after this step, and the second moments in their order."""

    def begin(operand):
        statistics, _, second = operand
        return statistics, in_stacks(_eigenvectors, statistics), second

    def go_on(operand):
        statistics, bases, second = operand
        orders = in_stacks(_order, statistics, bases)
        for key, order in orders.items():
            name, _, side = key.rpartition(":")
            axis = 0 if side == "rows" else 1
            # "clip": an order is in bounds, so nothing needs filling.
            sorted_ = jnp.take(second[name], order, axis=axis, mode="clip")
            second = {**second, name: sorted_}
        return statistics, in_stacks(_power_iteration, statistics, bases), second

    due = (count > 0) & (count % _PRECONDITION_FREQUENCY == 0)
    operand = occasionally(count == 0, begin, (statistics, bases, second))
    _, bases, second = occasionally(due, go_on, operand)
    return bases, second


def _eigenvectors(statistics: Float[Array, "k n n"]) -> Float[Array, "k n n"]:
    """As columns, the largest first."""
    return jnp.linalg.eigh(statistics)[1][:, :, ::-1]


def _order(
    statistics: Float[Array, "k n n"], bases: Float[Array, "k n n"]
) -> Int[Array, "k n"]:
    """From the largest to the smallest estimated eigenvalue."""
    return jnp.argsort(-(bases * (statistics @ bases)).sum(1), axis=1)


def _power_iteration(
    statistics: Float[Array, "k n n"], bases: Float[Array, "k n n"]
) -> Float[Array, "k n n"]:
    order = _order(statistics, bases)
    turned = jnp.take_along_axis(statistics @ bases, order[:, None, :], axis=2)
    return jnp.linalg.qr(turned)[0]
