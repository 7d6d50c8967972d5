"""Two models on the same images: do they differ by more than chance?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxbench.metrics.binomial import binomial_log_tails
from jaxbench.metrics.checks import (
    check_columns,
    misfits,
    refuse,
    require_arrays,
    require_rows,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.records import record
from jaxbench.metrics.resampling import (
    check_key,
    check_settings,
    draw_counts,
    map_keys,
    percentile_interval,
)
from jaxbench.metrics.types import Column, Flags, Scalar


@record
class PairedDifference(NamedTuple):
    """A difference of means of two models on the same images.

    Attributes:
        difference: Mean of a less mean of b.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Two-sided, for a difference of zero; in (0, 1].
    """

    difference: Scalar
    low: Scalar
    high: Scalar
    p_value: Scalar


def paired_bootstrap(
    a: Column,
    b: Column,
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
    mask: Flags | None = None,
) -> PairedDifference:
    """Compares the means of two models' per-example values on the same images.

    Resamples the per-image differences a - b, so what the two models have in common
    cancels. The p-value is twice the smaller share of resampled means on either side
    of zero (ties on both), each with one added to numerator and denominator, so it is
    never 0: with 1000 resamples at least 0.002. Davison and Hinkley (1997), section
    4.2.

    Args:
        a: Values of one model: `nll`, `brier`, or `correct` as floats.
        b: Values of the other, row for row of the same images.
        key: Chooses the resamples.
        num_resamples: Number of resamples.
        level: Coverage of the interval, in (0, 1).
        mask: Rows that count; None counts all.

    Returns:
        Difference, percentile interval and p-value. NaN if a value that counts is, or,
        under jit, if no row counts.

    Raises:
        ValueError: If num_resamples < 1, the level is outside (0, 1), columns do not
            fit, or no row counts (outside jit).
    """
    check_settings(num_resamples, level)
    check_key(key)
    require_arrays(a=a, b=b, mask=mask)
    problems = []
    for name, values in (("a", a), ("b", b)):
        problems += misfits(name, values, "floating point numbers")
    if mask is not None:
        problems += misfits("mask", mask, "booleans")
    if len({column.shape for column in (a, b, mask) if column is not None}) > 1:
        problems.append(
            f"a of shape {a.shape} and b of shape {b.shape}"
            + ("" if mask is None else f" and mask of shape {mask.shape}")
            + "; wanted one row an image"
        )
    refuse(problems)
    require_rows(a.shape[0], mask, "a")
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    valid = valid_rows(a, mask)
    return _paired(a, b, valid, key, jnp.float32(level), num_resamples)


@partial(compiled, static_argnames="num_resamples")
def _paired(
    a: Float[jax.Array, " n"],
    b: Float[jax.Array, " n"],
    valid: Bool[jax.Array, " n"],
    key: Key[Array, ""],
    level: Scalar,
    num_resamples: int,
) -> PairedDifference:
    num_rows = valid.shape[0]
    num_valid = jnp.sum(valid, dtype=jnp.int32)
    # Sorted, so that the order of the rows does not choose the resamples.
    _, differences = jax.lax.sort([~valid, jnp.where(valid, a - b, 0.0)], num_keys=2)

    def resampled(key: Key[Array, ""]) -> Scalar:
        counts = as_float(draw_counts(key, num_rows, num_valid))
        return jnp.sum(counts * differences) / as_float(num_valid)

    means = map_keys(resampled, key, num_resamples, num_rows)
    difference = jnp.sum(differences) / as_float(num_valid)
    low, high = percentile_interval(means, level)
    tails = jnp.stack([jnp.sum(means <= 0), jnp.sum(means >= 0)])
    p_value = 2.0 * as_float(jnp.min(tails) + 1) / (num_resamples + 1)
    # A resample that misses the broken row must not hide it.
    low, high, p_value = (
        jnp.where(jnp.isnan(difference), jnp.nan, x)
        for x in (low, high, jnp.minimum(p_value, 1.0))
    )
    return PairedDifference(difference, low, high, p_value)


def mcnemar(
    correct_a: Flags,
    correct_b: Flags,
    *,
    mask: Flags | None = None,
    log: bool = False,
) -> Scalar:
    """McNemar's exact test: do two models differ in accuracy on the same images?

    Of the n images on which exactly one model is right, the first model is right on
    k. If the two are equally accurate, k is binomial(n, 1/2); the p-value is
    min(1, 2 P(X <= min(k, n - k))). McNemar (1947):
    https://doi.org/10.1007/BF02295996; Dietterich (1998):
    https://doi.org/10.1162/089976698300017197. Works under jit and vmap.

    Args:
        correct_a: Whether the first model is right on each image.
        correct_b: Whether the second is.
        mask: Rows that count; None counts all.
        log: Give the natural logarithm of the p-value, which float32 holds however
            small the p-value is.

    Returns:
        p in [0, 1], to 5e-5 of its value; 1 if the models never differ, and 0 below
        1e-38, where float32 ends. NaN under jit if no row counts.

    Raises:
        ValueError: If columns do not fit, or no row counts (outside jit).
    """
    check_columns(mask, flags={"correct_a": correct_a, "correct_b": correct_b})
    log_p_value = _log_mcnemar(correct_a, correct_b, mask)
    return log_p_value if log else jnp.exp(log_p_value)


@compiled
def _log_mcnemar(correct_a: Flags, correct_b: Flags, mask: Flags | None) -> Scalar:
    valid = valid_rows(correct_a, mask)
    a, b = jnp.asarray(correct_a), jnp.asarray(correct_b)
    only_a = jnp.sum(valid & a & ~b, dtype=jnp.int32)
    only_b = jnp.sum(valid & b & ~a, dtype=jnp.int32)
    lower, _ = binomial_log_tails(jnp.minimum(only_a, only_b), only_a + only_b, 0.5)
    log_p_value = jnp.minimum(0.0, jnp.log(2.0) + lower)
    log_p_value = jnp.where(only_a == only_b, 0.0, log_p_value)
    return jnp.where(jnp.any(valid), log_p_value, jnp.nan)
