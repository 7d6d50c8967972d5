"""Resampling with replacement: draws, a loop over them, and what their spread says.

The same key gives the same draws for every amount of padding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from jaxbench.metrics.checks import refuse
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float
from jaxbench.metrics.types import Scalar

Interval = tuple[Scalar, Scalar]

# Rows of all resamples in flight together: bounds memory to about 100 MB.
_ROWS_IN_FLIGHT = 1 << 21
# On CPUs, what fits their caches: more at once takes twice the time.
_ROWS_IN_CACHE = 1 << 18

# The random error of the acceleration is 0.4 / groups, and moves an end of a 95 %
# interval by 0.4 / groups * 1.96^2 of its standard error: by 0.8 %.
NUM_GROUPS = 200


class Groups(NamedTuple):
    """Groups of rows that are left out in turn.

    Attributes:
        of_row: Each row's group; -1 where the row does not count.
        sizes: Rows of each group.
        totals: Rows of the part that the group belongs to.
    """

    of_row: Int[jax.Array, " n"]
    sizes: Int[jax.Array, " groups"]
    totals: Int[jax.Array, " groups"]


def draw_weights(
    key: Key[Array, ""], valid: Bool[jax.Array, " n"]
) -> Int[jax.Array, " n"]:
    """Multinomial counts: how often each row occurs among N draws of N valid rows.

    Returns:
        Integers that sum to the number of valid rows; 0 for the others.
    """
    counted = draw_counts(key, valid.shape[0], jnp.sum(valid, dtype=jnp.int32))
    # The counts lie on the first N places: hand them to the valid rows in turn.
    place = jnp.cumsum(valid, dtype=jnp.int32) - 1
    return jnp.where(valid, counted[jnp.maximum(place, 0)], 0)


def draw_counts(
    key: Key[Array, ""], num_rows: int, num_valid: Int[jax.Array, ""]
) -> Int[jax.Array, " {num_rows}"]:
    """`draw_weights` where the first N = num_valid rows are the valid ones.

    Draw i is the product of N and 32 random bits, less the lower 32 bits: a row's
    probability is 1 / N to within N / 2^32 of its value. It does not depend on
    `num_rows`, so padding changes no resample.
    """
    num_pairs = -(-num_rows // 2)
    # A split hands out both words of each block of the generator, of which
    # `jax.random.bits` makes one and `jax.random.randint` half of one.
    words = jax.random.key_data(jax.random.split(key, num_pairs))
    first = 2 * jnp.arange(num_pairs, dtype=jnp.int32)
    counted = jnp.zeros(num_rows, jnp.int32)
    for i in range(2):
        row = _scaled(words[:, i], num_valid.astype(jnp.uint32))
        row = jnp.where(first + i < num_valid, row, num_rows)
        counted = counted.at[row].add(1, mode="drop")
    return counted


def _scaled(
    word: UInt32[jax.Array, " m"], limit: UInt32[jax.Array, ""]
) -> Int[jax.Array, " m"]:
    """The whole part of word * limit / 2^32: the upper half of a 64-bit product."""
    low, high = word & 0xFFFF, word >> 16
    limit_low, limit_high = limit & 0xFFFF, limit >> 16
    middle = high * limit_low + (low * limit_low >> 16)
    carry = low * limit_high + (middle & 0xFFFF)
    return (high * limit_high + (middle >> 16) + (carry >> 16)).astype(jnp.int32)


def map_keys(
    function: Callable[[Key[Array, ""]], Any],
    key: Key[Array, ""],
    num_resamples: int,
    num_rows: int,
):
    """Results of a function for many keys, in batches that fit memory.

    Args:
        function: Works on `num_rows` rows; gives a pytree of arrays.
        key: Is split into the keys.
        num_resamples: Number of keys.
        num_rows: Rows that one call needs.

    Returns:
        The results, stacked.
    """
    return map_many(function, jax.random.split(key, num_resamples), num_rows)


def map_many(function: Callable[..., Any], inputs: Any, num_rows: int):
    """`map_keys` over the first axis of a pytree of arrays."""
    number = jax.tree.leaves(inputs)[0].shape[0]
    in_flight = _ROWS_IN_FLIGHT
    if jax.default_backend() == "cpu":
        in_flight = min(in_flight, _ROWS_IN_CACHE)
    most = max(1, in_flight // num_rows)
    num_batches = -(-number // most)
    batch_size = -(-number // num_batches)
    # Whole batches only (the last input fills up): a ragged one compiles a second body.
    index = jnp.minimum(jnp.arange(num_batches * batch_size), number - 1)
    inputs = jax.tree.map(lambda column: column[index], inputs)
    values = jax.lax.map(function, inputs, batch_size=batch_size)
    return jax.tree.map(lambda column: column[:number], values)


def percentile_interval(
    values: Float[jax.Array, " resamples"], level: Scalar
) -> Interval:
    """The interval that holds the share `level` of the values in its middle.

    Values that are NaN are left out. Efron and Tibshirani (1993), section 13.3.
    """
    tail = (1 - level) / 2
    low, high = jnp.nanquantile(values, jnp.stack([tail, 1 - tail]))
    return low, high


@compiled
def bca_interval(
    values: Float[jax.Array, " resamples"],
    estimate: Scalar,
    left: Float[jax.Array, " groups"],
    groups: Groups,
    level: Scalar,
) -> Interval:
    """The percentile interval, corrected for bias and acceleration.

    With z0 the normal quantile of the share of values below the estimate (equal ones
    count one half) and a = sum u^3 / (6 (sum u^2)^(3/2)) over the influences u of
    the groups, the ends are the values' quantiles at
    Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z the normal quantiles of the percentile
    interval. Efron (1987):
    https://doi.org/10.1080/01621459.1987.10478410; Efron and Tibshirani (1993),
    section 14.3.

    Args:
        values: The metric in each resample; NaN is left out.
        estimate: The metric itself.
        left: The metric without each group.
        groups: From `deal_groups`.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (low, high); NaN where the correction is not defined: all values lie on one
        side of the estimate, no group has an influence, or one has none that is known.
    """
    below = as_float(jnp.sum(values < estimate)) / 2
    through = as_float(jnp.sum(values <= estimate)) / 2
    share = (below + through) / as_float(jnp.sum(~jnp.isnan(values)))
    bias = ndtri(share)
    influences = _influences(estimate, left, groups)
    # Their scale cancels; unscaled, their cubes would leave float32.
    scaled = influences / jnp.max(jnp.abs(influences))
    acceleration = jnp.sum(scaled**3) / (6 * jnp.sum(scaled**2) ** 1.5)
    tail = (1 - level) / 2
    shifted = bias + ndtri(jnp.stack([tail, 1 - tail]))
    stretch = 1 - acceleration * shifted
    levels = ndtr(bias + shifted / stretch)
    defined = jnp.isfinite(bias) & (stretch > 0) & ~jnp.isnan(estimate)
    ends = jnp.nanquantile(values, jnp.where(defined, levels, 0.5))
    low, high = jnp.where(jnp.all(defined), ends, jnp.nan)
    return low, high


@compiled
def deal_groups(
    key: Key[Array, ""], parts: tuple[Bool[jax.Array, " n"], ...]
) -> Groups:
    """Deals the rows of each part to 200 random groups of equal size, to within one.

    A row of its own would take N evaluations of a metric. The influence of a group of
    m rows is the sum of theirs: its variance and its third central moment are m times
    a row's. There are N / m groups, so sum u^3 / (sum u^2)^(3/2) comes out the same.
    Groups of many rows also serve metrics that are not smooth in one row, such as a
    coverage. Up to 200 rows, each is its own group: the usual jackknife.

    Args:
        key: Chooses the groups.
        parts: The valid rows of each set that is resampled apart.
    """
    num_rows = parts[0].shape[0]
    place = jnp.arange(num_rows, dtype=jnp.int32)
    numbers = jnp.arange(NUM_GROUPS, dtype=jnp.int32)
    of_row, sizes, totals = jnp.full(num_rows, -1), [], []
    for i, part in enumerate(parts):
        bits = jax.random.bits(jax.random.fold_in(key, i), (num_rows,))
        # Valid rows in random order, dealt out in turn.
        *_, order = jax.lax.sort([~part, bits, place], num_keys=3)
        dealt = jnp.zeros(num_rows, jnp.int32).at[order].set(place % NUM_GROUPS)
        of_row = jnp.where(part, dealt + i * NUM_GROUPS, of_row)
        total = jnp.sum(part, dtype=jnp.int32)
        larger = (numbers < total % NUM_GROUPS).astype(jnp.int32)
        sizes.append(total // NUM_GROUPS + larger)
        totals.append(jnp.full(NUM_GROUPS, total))
    return Groups(of_row, jnp.concatenate(sizes), jnp.concatenate(totals))


def _influences(
    estimate: Scalar, left: Float[jax.Array, " groups"], groups: Groups
) -> Float[jax.Array, " groups"]:
    """What each group adds to a metric, per row of its part, about their mean."""
    kept = as_float(groups.totals - groups.sizes) / as_float(groups.totals)
    influence = jnp.where(groups.sizes > 0, kept * (estimate - left), 0.0)
    by_part = influence.reshape(-1, NUM_GROUPS)
    some = (groups.sizes > 0).reshape(-1, NUM_GROUPS)
    count = jnp.sum(some, axis=1, dtype=jnp.int32)
    mean = jnp.sum(by_part, axis=1) / as_float(count)
    return jnp.where(some, by_part - mean[:, None], 0.0).reshape(-1)


def check_key(key: object) -> None:
    """Raises if a key of random draws is not one.

    Raises:
        ValueError: If neither `jax.random.key` nor `jax.random.PRNGKey` makes it.
    """
    if isinstance(key, jax.Array | np.ndarray):
        # A raw key is two words.
        is_raw = key.dtype == jnp.uint32 and key.shape == (2,)
        is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and not key.ndim
        if is_raw or is_typed:
            return
        came = f"of dtype {key.dtype} and shape {key.shape}"
    else:
        came = repr(key)
    raise ValueError(f"key is {came}; wanted a single key, as jax.random.key(0) makes")


def check_settings(num_resamples: int, level: float) -> None:
    """Refuses what no bootstrap can do.

    Raises:
        ValueError: If num_resamples < 1 or the level is outside (0, 1).
    """
    problems = []
    if num_resamples < 1:
        problems.append(f"num_resamples is {num_resamples}; wanted an integer >= 1")
    if not 0.0 < level < 1.0:
        problems.append(f"level is {level}; wanted a fraction in (0, 1)")
    refuse(problems)
