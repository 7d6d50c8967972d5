"""Many tests at once: p-values adjusted for how many there are.

With 1,000 models against a baseline, fifty come out below 0.05 by chance alone.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics.checks import check_columns
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.types import Column, Flags


def holm(p_values: Column, *, mask: Flags | None = None) -> Float[jax.Array, " n"]:
    """P-values adjusted by Holm's step-down procedure.

    Of m p-values in rising order, the i-th becomes the largest (m - j + 1) p_j over
    j <= i, at most 1. To call those at most alpha significant keeps the probability
    of a single false call at most alpha, whatever the dependence between the tests;
    Bonferroni's m p is never smaller. Holm (1979): https://www.jstor.org/stable/4615733.

    Args:
        p_values: One for each test, in [0, 1], in any order.
        mask: Tests that count; None counts all.

    Returns:
        Adjusted p-values in the order of the input, each at least its p-value; equal
        p-values stay equal. NaN for tests that do not count. Under jit, all NaN if a
        p-value that counts is NaN or outside [0, 1].

    Raises:
        ValueError: If the columns do not fit, no test counts, or a p-value that counts
            is NaN or outside [0, 1] (the last two outside jit).
    """
    check_columns(mask, probabilities={"p_values": p_values})
    return _holm(p_values, mask)


@partial(compiled, by_row=True)
def _holm(p_values: Column, mask: Flags | None) -> Float[jax.Array, " n"]:
    p, order, num_tests = _sort(p_values, mask)
    place = jnp.arange(p.shape[0], dtype=jnp.int32)
    scaled = p * as_float(jnp.maximum(num_tests - place, 0))
    return _unsort(jax.lax.cummax(scaled), order, num_tests)


def benjamini_hochberg(
    p_values: Column, *, mask: Flags | None = None
) -> Float[jax.Array, " n"]:
    """P-values adjusted by the step-up procedure of Benjamini and Hochberg.

    Of m p-values in rising order, the i-th becomes the smallest m p_j / j over j >= i,
    at most 1. To call those at most alpha significant keeps the expected share of
    false calls among all calls at most alpha, if the tests are independent or
    positively dependent; `holm` needs neither, and fits comparisons of all pairs of
    models. Benjamini and Hochberg (1995):
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.

    Args:
        p_values: One for each test, in [0, 1], in any order.
        mask: Tests that count; None counts all.

    Returns:
        Adjusted p-values in the order of the input, each at least its p-value and at
        most Holm's; equal p-values stay equal. NaN for tests that do not count. Under
        jit, all NaN if a p-value that counts is NaN or outside [0, 1].

    Raises:
        ValueError: If the columns do not fit, no test counts, or a p-value that counts
            is NaN or outside [0, 1] (the last two outside jit).
    """
    check_columns(mask, probabilities={"p_values": p_values})
    return _benjamini_hochberg(p_values, mask)


@partial(compiled, by_row=True)
def _benjamini_hochberg(p_values: Column, mask: Flags | None) -> Float[jax.Array, " n"]:
    p, order, num_tests = _sort(p_values, mask)
    place = jnp.arange(p.shape[0], dtype=jnp.int32)
    scaled = p * (as_float(num_tests) / as_float(place + 1))
    scaled = jnp.where(place < num_tests, scaled, 1.0)
    return _unsort(jax.lax.cummin(scaled, reverse=True), order, num_tests)


def _sort(p_values: Column, mask: Flags | None):
    """P-values in rising order, their rows, and how many count; the rest come last."""
    valid = valid_rows(p_values, mask)
    p = jnp.where(valid, jnp.asarray(p_values, jnp.float32), 0.0)
    # One value that is not a p-value leaves nothing to adjust the others by.
    p = jnp.where(jnp.all((p >= 0) & (p <= 1)), p, jnp.nan)
    row = jnp.arange(p.shape[0], dtype=jnp.int32)
    _, p, order = jax.lax.sort([~valid, p, row], num_keys=2)
    return p, order, jnp.sum(valid, dtype=jnp.int32)


def _unsort(adjusted, order, num_tests) -> Float[jax.Array, " n"]:
    counted = jnp.arange(order.shape[0], dtype=jnp.int32) < num_tests
    adjusted = jnp.where(counted, jnp.minimum(adjusted, 1.0), jnp.nan)
    return jnp.zeros_like(adjusted).at[order].set(adjusted)
