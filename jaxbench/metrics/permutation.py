"""Two models on the same images: does swapping their names change the difference?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxbench.metrics.checks import check_columns, check_count
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.records import record
from jaxbench.metrics.resampling import check_key, map_keys
from jaxbench.metrics.types import Column, Flags, Scalar

_WORD = 32
# Sign patterns in flight together when all are taken.
_PATTERNS = 1 << 14


@record
class PermutationTest(NamedTuple):
    """A difference of means of two models on the same images.

    Attributes:
        difference: Mean of a less mean of b.
        p_value: Two-sided, for models that are interchangeable on every image; in
            (0, 1].
    """

    difference: Scalar
    p_value: Scalar


def paired_permutation(
    a: Column,
    b: Column,
    *,
    key: Key[Array, ""],
    num_permutations: int = 10_000,
    mask: Flags | None = None,
) -> PermutationTest:
    """Sign-flip test of the mean difference of two models on the same images.

    If the models are interchangeable, each difference a - b has either sign with
    probability 1/2, independently. The p-value is the share of sign patterns whose
    mean is at least as far from 0 as the observed one, (1 + those) / (1 + drawn) over
    random patterns, so never 0 and at least 1 / (num_permutations + 1). Fisher (1935),
    The Design of Experiments, section 21; the added ones: Phipson and Smyth (2010),
    https://doi.org/10.2202/1544-6115.1585.

    Where there are at most `num_permutations` patterns (13 rows by default, those that
    do not count included), all of them are taken: the p-value is exact and the same
    for every key.

    Two means within rounding of each other (1e-6 of the mean absolute difference)
    count as equal, which errs towards a larger p-value. The time is that of
    n * num_permutations additions; memory is bounded.

    Args:
        a: Values of one model: `nll`, `brier`, or `correct` as floats.
        b: Values of the other, row for row of the same images.
        key: Chooses the patterns.
        num_permutations: Number of random patterns. 10,000 place a p-value of 0.05
            to 0.002.
        mask: Rows that count; None counts all.

    Returns:
        Difference and p-value; 1 if the models never differ. The same for every order
        of the rows, and the same p-value with a and b swapped. Both are NaN if a value
        that counts is infinite, and under jit if one is NaN or no row counts.

    Raises:
        ValueError: If num_permutations < 1, the columns do not fit, no row counts, or a
            value that counts is NaN (the last two outside jit).
    """
    check_count("num_permutations", num_permutations)
    check_key(key)
    check_columns(mask, floats={"a": a, "b": b})
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    return _permutation(a, b, valid_rows(a, mask), key, num_permutations)


@partial(compiled, static_argnames="num_permutations")
def _permutation(
    a: Float[jax.Array, " n"],
    b: Float[jax.Array, " n"],
    valid: Bool[jax.Array, " n"],
    key: Key[Array, ""],
    num_permutations: int,
) -> PermutationTest:
    num_rows = valid.shape[0]
    signed = jnp.where(valid, a - b, 0.0)
    # Sorted by size, so that neither the order of the rows nor which model comes
    # first chooses the patterns.
    _, size, signed = jax.lax.sort([~valid, jnp.abs(signed), signed], num_keys=3)
    total, scale = jnp.sum(signed), jnp.sum(size)
    threshold = jnp.abs(total) - 1e-6 * scale

    def reaches(flipped: Bool[jax.Array, " n"]) -> Bool[jax.Array, ""]:
        return jnp.abs(jnp.sum(jnp.where(flipped, -size, size))) >= threshold

    if num_rows < _WORD and 2**num_rows <= num_permutations:
        # Rows that do not count are 0: they repeat every pattern equally often.
        every = jnp.arange(2**num_rows, dtype=jnp.uint32)
        batch_size = min(_PATTERNS, 2**num_rows)  # both powers of 2: whole batches
        hits = jax.lax.map(
            lambda word: reaches(_bits(word[None], num_rows)),
            every,
            batch_size=batch_size,
        )
        p_value = jnp.mean(hits, dtype=jnp.float32)
    else:
        hits = map_keys(
            lambda key: reaches(_draw_flips(key, num_rows)),
            key,
            num_permutations,
            num_rows,
        )
        p_value = as_float(jnp.sum(hits, dtype=jnp.int32) + 1) / (num_permutations + 1)
    difference = total / as_float(jnp.sum(valid, dtype=jnp.int32))
    broken = ~jnp.isfinite(difference)
    return PermutationTest(
        *(jnp.where(broken, jnp.nan, x) for x in (difference, p_value))
    )


def _draw_flips(key: Key[Array, ""], num_rows: int) -> Bool[jax.Array, " n"]:
    """A fair coin for each row, from one random bit each."""
    return _bits(jax.random.bits(key, (-(-num_rows // _WORD),), jnp.uint32), num_rows)


def _bits(words, num_rows: int) -> Bool[jax.Array, " n"]:
    shifts = jnp.arange(_WORD, dtype=jnp.uint32)
    bits = (words[:, None] >> shifts[None, :]) & jnp.uint32(1)
    return bits.reshape(-1)[:num_rows].astype(bool)
