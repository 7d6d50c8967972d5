"""Hidden kernels as matrices, for Muon and SOAP.

A convolution [h, w, in, out] is the matrix [h * w * in, out] that multiplies its
patches. Matrices of one shape are stacked and handled at once: a network has many
equal layers, and a program for each is much to compile.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Leaves,
    Parameters,
    transformation,
)


class DividedState(NamedTuple):
    """The states of two transformations.

    Attributes:
        kernels: Of the hidden kernels.
        others: Of all other parameters.
    """

    kernels: optax.OptState
    others: optax.OptState


def divide(
    leaves: Leaves,
    kernels: optax.GradientTransformation,
    others: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """One transformation for hidden kernels, another for everything else.

    A hidden kernel is a parameter of two or more axes that decays and does not belong
    to the output layer.
    """

    def parts(tree: Parameters) -> tuple[Parameters, Parameters]:
        hidden = {
            name
            for name, leaf in tree.items()
            if leaf.ndim > 1 and leaves.decay[name] and not leaves.output[name]
        }
        rest = {name: leaf for name, leaf in tree.items() if name not in hidden}
        return {name: tree[name] for name in tree if name in hidden}, rest

    def init(parameters):
        hidden, rest = parts(parameters)
        return DividedState(kernels.init(hidden), others.init(rest))

    def update(gradients, state, parameters):
        of_kernels, of_others = parts(gradients)
        hidden, rest = parts(parameters)
        first, kernel_state = kernels.update(of_kernels, state.kernels, hidden)
        second, other_state = others.update(of_others, state.others, rest)
        updates = {**cast(Parameters, first), **cast(Parameters, second)}
        return updates, DividedState(kernel_state, other_state)

    return transformation(init, update)


def as_matrices(kernels: Parameters) -> Parameters:
    """Every kernel as [fan in, fan out]."""
    return {name: leaf.reshape(-1, leaf.shape[-1]) for name, leaf in kernels.items()}


def shaped_as(matrices: Parameters, kernels: Parameters) -> Parameters:
    """Back to the kernels' own shapes."""
    return {name: matrices[name].reshape(leaf.shape) for name, leaf in kernels.items()}


def in_stacks(function: Callable, *trees: Parameters) -> Parameters:
    """Applies a function to the leaves of equal shape of all trees, stacked.

    Args:
        function: From arrays [k, m, n], one of each tree, to one array [k, ...].
        *trees: Flat dicts of matrices, with the same names and shapes.
    """
    groups: dict[tuple, list[str]] = {}
    for name, matrix in trees[0].items():
        groups.setdefault(matrix.shape, []).append(name)
    found = {}
    for names in groups.values():
        stacks = [jnp.stack([tree[name] for name in names]) for tree in trees]
        found.update(zip(names, function(*stacks), strict=True))
    return {name: found[name] for name in trees[0]}


def occasionally(due: jax.Array, function: Callable, operand):
    """`function(operand)` where `due`, else the operand; what is not due costs nothing.

    A plain `lax.cond` under `vmap` computes both branches in every step. This one
    computes the function, for all members, only in steps where it is due for one.

    Args:
        due: Whether to apply the function.
        function: Keeps structure, shapes and dtypes, and closes over no traced value.
        operand: A pytree of arrays.
    """

    @jax.custom_batching.custom_vmap
    def choose(due, operand):
        return jax.lax.cond(due, function, lambda operand: operand, operand)

    @choose.def_vmap
    def for_members(size, batched, due, operand):
        def spread(array, is_batched):
            return array if is_batched else jnp.stack([array] * size)

        due = spread(due, batched[0])
        operand = jax.tree.map(spread, operand, batched[1])

        def for_some(operand):
            new = jax.vmap(function)(operand)
            pick = jax.vmap(lambda due, a, b: jnp.where(due, a, b))
            return jax.tree.map(lambda a, b: pick(due, a, b), new, operand)

        chosen = jax.lax.cond(due.any(), for_some, lambda operand: operand, operand)
        return chosen, jax.tree.map(lambda _: True, chosen)

    return choose(due, operand)
