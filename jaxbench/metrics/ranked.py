"""Examples in order of falling confidence, and what tied blocks of them count.

Sorting is the dear part of every metric that depends on order, and resampling does
not change the order of the examples, only how often each occurs. So the examples are
sorted once (`rank`), and a metric is a function of that ranking and of integer
weights (`count_ties`): ones for the point estimate, multinomial counts for a
bootstrap resample.

A block is a run of examples of equal confidence. No metric here looks inside one, so
the order of the rows in the input never matters.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Shaped

from jaxbench.metrics.checks import require_rows
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.sums import FEW, ExactSum, accurate_sum
from jaxbench.metrics.types import AnyArray, Column, Flags, Scalar

T = TypeVar("T")

# Terms of the harmonic series added one by one before its asymptotic series is used.
_FIRST_TERMS = 8
# Neighbours that a running sum adds one by one.
_RUN = 16


class Ranking(NamedTuple):
    """n examples sorted by falling confidence, those that do not count last.

    Attributes:
        correct: Whether the example is right (or positive).
        valid: Whether it counts.
        first: Index of the first example of its block.
        last: Index of the last example of its block.
        has_ties: Whether any block has more than one example.
        comparable: False where some valid confidence is NaN, which has no order.
    """

    correct: Bool[jax.Array, " n"]
    valid: Bool[jax.Array, " n"]
    first: Int[jax.Array, " n"]
    last: Int[jax.Array, " n"]
    has_ties: Bool[jax.Array, ""]
    comparable: Bool[jax.Array, ""]


class TieCounts(NamedTuple):
    """How many examples, and how many right ones, stand before and through a block.

    Per example of a `Ranking`, under integer weights; an example of weight w stands
    in w successive places. "Before" excludes the example's own block, "through"
    includes it.

    Attributes:
        weights: How often each example occurs.
        correct: Whether it is right.
        rows_before: Examples of higher confidence.
        rows_through: Examples of higher or equal confidence.
        correct_before: The right ones of `rows_before`.
        correct_through: The right ones of `rows_through`.
        total: Sum of the weights.
        total_correct: Sum of the weights of right examples.
        ends_block: Whether the example is the last of its block.
        comparable: As in `Ranking`.
    """

    weights: Int[jax.Array, " n"]
    correct: Bool[jax.Array, " n"]
    rows_before: Int[jax.Array, " n"]
    rows_through: Int[jax.Array, " n"]
    correct_before: Int[jax.Array, " n"]
    correct_through: Int[jax.Array, " n"]
    total: Int[jax.Array, ""]
    total_correct: Int[jax.Array, ""]
    ends_block: Bool[jax.Array, " n"]
    comparable: Bool[jax.Array, ""]


def rank(
    confidence: Column,
    correct: Flags,
    *,
    mask: Flags | None = None,
    columns: tuple[Column, ...] = (),
) -> tuple[Ranking, tuple[Float[jax.Array, " n"], ...]]:
    """Sorts examples by falling confidence.

    Within a block the rows are sorted by `correct` and then by `columns`, so that
    the result is the same for every order of the input rows; a bootstrap with a
    given key then gives the same interval, too.

    Args:
        confidence: Higher is more confident; any monotone scale.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.
        columns: Further columns to bring into the same order. Their masked rows
            become 0.

    Returns:
        The ranking, and the columns in its order.
    """
    valid = valid_rows(correct, mask)
    fall = jnp.where(valid, -jnp.asarray(confidence, jnp.float32), 0.0)
    sanitised = [jnp.where(valid, jnp.asarray(c, jnp.float32), 0.0) for c in columns]
    keys = [~valid, fall, jnp.asarray(correct) & valid, *sanitised]
    invalid, fall, correct, *ordered = jax.lax.sort(keys, num_keys=len(keys))

    boundary = (fall[1:] != fall[:-1]) | (invalid[1:] != invalid[:-1])
    edge = jnp.ones(1, bool)
    index = jnp.arange(fall.shape[0], dtype=jnp.int32)
    starts = jnp.concatenate([edge, boundary])
    ends = jnp.concatenate([boundary, edge])
    last_index = jnp.int32(fall.shape[0] - 1)
    ranking = Ranking(
        correct=correct,
        valid=~invalid,
        first=jax.lax.cummax(jnp.where(starts, index, 0)),
        last=jax.lax.cummin(jnp.where(ends, index, last_index), reverse=True),
        # The rows that do not count are alike, and do not matter.
        has_ties=jnp.any(~boundary & ~invalid[1:]),
        comparable=~jnp.any(jnp.isnan(fall)),
    )
    return ranking, tuple(ordered)


@partial(compiled, static_argnames=("kernel", "parameters"))
def over_ranking(
    kernel: Callable[..., T],
    confidence: Column,
    correct: Flags,
    mask: Flags | None,
    parameters: tuple[float, ...] = (),
) -> T:
    """Sorts, counts and measures: kernel(counts, *parameters), compiled once."""
    ranking, _ = rank(confidence, correct, mask=mask)
    return kernel(count_ties(ranking), *parameters)


def count_ties(
    ranking: Ranking, weights: Int[jax.Array, " n"] | None = None
) -> TieCounts:
    """Counts a ranking's blocks under integer weights.

    Args:
        ranking: The sorted examples.
        weights: How often each occurs, in the ranking's order: at least 0, and 0
            where it does not count. None counts each valid example once.

    Returns:
        Integer counts, exact up to a sum of weights of 2^31 - 1.
    """
    if weights is None:
        weights = ranking.valid.astype(jnp.int32)
    right = jnp.where(ranking.correct, weights, 0)
    terms = jnp.stack([weights, right])
    sums = running_sum(terms)
    before, through = around_blocks(ranking, sums, terms)
    return TieCounts(
        weights=weights,
        correct=ranking.correct,
        rows_before=before[0],
        rows_through=through[0],
        correct_before=before[1],
        correct_through=through[1],
        total=sums[0, -1],
        total_correct=sums[1, -1],
        ends_block=ranking.last == jnp.arange(weights.shape[0], dtype=jnp.int32),
        comparable=ranking.comparable,
    )


def around_blocks(
    ranking: Ranking,
    sums: Shaped[jax.Array, "columns n"],
    terms: Shaped[jax.Array, "columns n"],
) -> tuple[Shaped[jax.Array, "columns n"], Shaped[jax.Array, "columns n"]]:
    """Cumulative sums of terms as they stand before, and through, each block."""
    shifted = sums - terms

    def gathered(_: None):
        return shifted[:, ranking.first], sums[:, ranking.last]

    # Most confidences are unique, and a gather costs as much as all the rest.
    return jax.lax.cond(ranking.has_ties, gathered, lambda _: (shifted, sums), None)


def running_sum(terms: Shaped[jax.Array, "*lead n"]) -> Shaped[jax.Array, "*lead n"]:
    """Cumulative sum along the last axis, in the terms' own dtype.

    In runs of 16, which are added up side by side, and then over the runs: a third
    of the time of `jnp.cumsum` on CPUs. More than 65,536 floats are added as pairs of
    floats.
    """
    lead, length = terms.shape[:-1], terms.shape[-1]
    padding = [(0, 0)] * len(lead) + [(0, -length % _RUN)]
    runs = jnp.pad(terms, padding).reshape(*lead, -1, _RUN)
    if length > FEW and jnp.issubdtype(terms.dtype, jnp.floating):
        return _exact_sums(runs).reshape(*lead, -1)[..., :length]
    sums = list(itertools.accumulate(runs[..., i] for i in range(_RUN)))
    before = jnp.cumsum(sums[-1], axis=-1, dtype=terms.dtype) - sums[-1]
    within = jnp.stack([partial_sum + before for partial_sum in sums], axis=-1)
    return within.reshape(*lead, -1)[..., :length]


def _exact_sums(runs: Float[jax.Array, "*lead r 16"]) -> Float[jax.Array, "*lead r 16"]:
    """Cumulative sums along the last two axes, each rounded once."""
    terms = [ExactSum(x, jnp.zeros_like(x)) for x in jnp.moveaxis(runs, -1, 0)]
    sums = list(itertools.accumulate(terms, ExactSum.add))
    through = jax.lax.associative_scan(ExactSum.add, sums[-1], axis=runs.ndim - 2)
    shift = [(0, 0)] * (runs.ndim - 2) + [(1, 0)]
    before = jax.tree.map(lambda x: jnp.pad(x[..., :-1], shift), through)
    return jnp.stack([one.add(before).total for one in sums], axis=-1)


def harmonic_between(
    low: Int[jax.Array, "..."], high: Int[jax.Array, "..."]
) -> Float[jax.Array, "..."]:
    """H(high) - H(low) = sum of 1 / i over low < i <= high, to 1e-6 of its value.

    Term by term up to eight, and from there on the difference of the asymptotic
    series of H at half-integers, whose logarithm is taken of the ratio: differences
    of tabulated H would lose all digits of 1/50,000.

    Args:
        low: At least 0.
        high: At least `low`.
    """
    terms = [
        jnp.where((low < i) & (i <= high), 1.0 / i, 0.0)
        for i in range(1, _FIRST_TERMS + 1)
    ]
    start, stop = _past_first_terms(low, high)
    x, y = as_float(start) + 0.5, as_float(stop) + 0.5
    # The difference in integers: beyond 2^24, y - x would be off by whole places.
    rest = jnp.log1p(as_float(stop - start) / x) + _half_series(y) - _half_series(x)
    return sum(terms, start=rest)


def ramp_between(
    low: Int[jax.Array, "..."], high: Int[jax.Array, "..."]
) -> Float[jax.Array, "..."]:
    """Sum of (i - low) / i over low < i <= high, to 1e-6 of its value.

    It is high - low - low (H(high) - H(low)), whose parts cancel where the range is
    short. Past the first eight terms, with x = start + 1/2 and t = length / x,

        length - start log(1 + t) = length / (2 x) + start (t - log(1 + t)).

    Args:
        low: At least 0.
        high: At least `low`.
    """
    terms = [
        jnp.where((low < i) & (i <= high), as_float(i - low) / i, 0.0)
        for i in range(1, _FIRST_TERMS + 1)
    ]
    start, stop = _past_first_terms(low, high)
    first, length = as_float(start), as_float(stop - start)
    x, y = first + 0.5, as_float(stop) + 0.5
    t = length / x
    series = _half_series(x) - _half_series(y)
    rest = length / (2 * x) + first * (_excess_of_log(t) + series)
    # Where the ramp began before the ninth term, it has risen already.
    head = as_float(start - low) * (jnp.log1p(t) - series)
    return sum(terms, start=rest + jnp.where(stop > start, head, 0.0))


def _past_first_terms(
    low: Int[jax.Array, "..."], high: Int[jax.Array, "..."]
) -> tuple[Int[jax.Array, "..."], Int[jax.Array, "..."]]:
    start = jnp.maximum(low, _FIRST_TERMS)
    return start, jnp.maximum(high, start)


def _excess_of_log(t: Float[jax.Array, "..."]) -> Float[jax.Array, "..."]:
    """The value of t - log(1 + t) for t >= 0, without the cancellation near 0.

    With u = t / (2 + t), log(1 + t) = 2 (u + u^3 / 3 + u^5 / 5 + ...), and
    t - 2 u = t u.
    """
    u = t / (2.0 + t)
    square = u * u
    # To 1e-8 of the whole for t < 1/2, where u < 1/5.
    tail = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square / 11)))
    return jnp.where(t < 0.5, t * u - 2.0 * u * square * tail, t - jnp.log1p(t))


def _half_series(x: Float[jax.Array, "..."]) -> Float[jax.Array, "..."]:
    """H(x - 1/2) less log x and Euler's constant, for x > 8."""
    square = 1.0 / (x * x)
    return square * (1 / 24 - square * (7 / 960 - square * (31 / 8064)))


def as_float(counts: Int[jax.Array, "..."]) -> Float[jax.Array, "..."]:
    """Counts as float32: exact up to 2^24, to 6e-8 of the value beyond."""
    return counts.astype(jnp.float32)


def valid_rows(like: AnyArray, mask: Flags | None) -> Bool[jax.Array, " n"]:
    """The mask, or all true."""
    if mask is None:
        return jnp.ones(like.shape[0], bool)
    return jnp.asarray(mask)


def weighted_mean(
    values: Float[jax.Array, " n"], weights: Int[jax.Array, " n"]
) -> Scalar:
    """Mean of values under integer weights; NaN if the weights sum to 0.

    A NaN makes the mean NaN even at weight 0: a resample that happens to miss a
    broken row must not hide it. Zero the rows that do not count beforehand.
    """
    total = accurate_sum(as_float(weights) * values)
    return total / as_float(jnp.sum(weights, dtype=jnp.int32))


def masked_mean(values: Column, mask: Flags | None) -> Scalar:
    """Mean over the rows that count, in float32.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    require_examples(values, mask)
    return _masked_mean(values, mask)


@compiled
def _masked_mean(values: Column, mask: Flags | None) -> Scalar:
    valid = valid_rows(values, mask)
    values = jnp.where(valid, jnp.asarray(values, jnp.float32), 0.0)
    return weighted_mean(values, valid.astype(jnp.int32))


def require_examples(rows: AnyArray, mask: Flags | None) -> None:
    """Refuses an empty measurement; see `require_rows`.

    Raises:
        ValueError: If rows are missing, or the mask is known and all false.
    """
    require_rows(rows.shape[0], mask, "values")


def whole_part(count: Int[jax.Array, "..."], share: float) -> Int[jax.Array, "..."]:
    """floor(count * share) in exact integers, for a decimal share such as 0.05.

    In float32, 0.05 * count rounds across an integer now and then, and one example
    decides on coverage.

    Args:
        count: At least 0.
        share: In [0, 1], known when tracing; read as the nearest fraction with a
            denominator up to 10,000.
    """
    fraction = Fraction(share).limit_denominator(10_000)
    top, bottom = fraction.numerator, fraction.denominator
    # Split so that no product passes 2^31.
    return (count // bottom) * top + (count % bottom) * top // bottom
