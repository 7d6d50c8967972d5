"""How far a number could have come out otherwise: bootstrap intervals, paired tests.

Everything starts from per-example columns, so no interval needs a new pass over the
images. A key is an argument, and the same key gives the same numbers for every order
of the rows and every amount of padding.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.metrics.catalog import (
    METRICS,
    OOD_METRICS,
    OodMetric,
    lookup,
    measure,
    rank_both,
    sort_scores,
)
from jaxbench.metrics.ranked import (
    as_float,
    count_ties,
    require_examples,
    valid_rows,
)
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.types import Column, Flags, Scalar

Interval = tuple[Scalar, Scalar]

# Rows of all resamples in flight together: bounds memory to about 100 MB.
_ROWS_IN_FLIGHT = 1 << 21


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


def bootstrap_intervals(
    scores: ExampleScores,
    metrics: Iterable[str] = tuple(METRICS),
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of metrics.

    A resample draws N of the N examples that count, with replacement. It is kept as
    how often each example was drawn, and the metrics are measured under these
    weights on columns sorted once; the result is the metric of the resampled rows.
    All metrics see the same resamples. Efron and Tibshirani (1993), chapter 13.

    Args:
        scores: From `score_examples`; JAX or NumPy columns.
        metrics: Names in `METRICS`.
        key: Chooses the resamples.
        num_resamples: 1000 place the ends of a 95 % interval to about 2 % of its
            width.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (low, high) for each name. Resamples in which the metric is undefined (AUROC
        without a wrong example) are left out. NaN wherever `summarize` gives NaN.

    Raises:
        ValueError: If a name is unknown, num_resamples < 1, the level is outside
            (0, 1), or no row counts (outside jit).
    """
    names = tuple(lookup("metric", METRICS, metrics))
    _check_settings(num_resamples, level)
    require_examples(scores.mask, scores.mask)
    intervals = _bootstrap(scores, key, jnp.float32(level), names, num_resamples)
    return {name: intervals[name] for name in names}  # jit sorts the names


@partial(jax.jit, static_argnames=("names", "num_resamples"))
def _bootstrap(
    scores: ExampleScores,
    key: Key[Array, ""],
    level: Scalar,
    names: tuple[str, ...],
    num_resamples: int,
) -> dict[str, Interval]:
    ordered = sort_scores(scores)
    ranking = ordered.ranking

    def resampled(key: Key[Array, ""]) -> dict[str, Scalar]:
        counts = count_ties(ranking, draw_weights(key, ranking.valid))
        return measure(ordered, counts, names)

    values = _map_keys(resampled, key, num_resamples, ranking.valid.shape[0])
    return {name: _percentile_interval(values[name], level) for name in names}


def bootstrap_ood_intervals(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    metrics: Iterable[str] = tuple(OOD_METRICS),
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of out-of-distribution metrics.

    In- and out-of-distribution images are resampled each among themselves, since how
    many there are of either is chosen and not observed.

    Args:
        id_scores: Of in-distribution images, the positive class.
        ood_scores: Of out-of-distribution images.
        metrics: Names in `OOD_METRICS`.
        key: Chooses the resamples.
        num_resamples: Number of resamples.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (low, high) for each name. NaN wherever `summarize_ood` gives NaN.

    Raises:
        ValueError: If a name is unknown, num_resamples < 1, the level is outside
            (0, 1), or no row of either counts (outside jit).
    """
    names = tuple(lookup("metric", OOD_METRICS, metrics))
    _check_settings(num_resamples, level)
    for scores in (id_scores, ood_scores):
        require_examples(scores.mask, scores.mask)
    intervals = _bootstrap_ood(
        id_scores, ood_scores, key, jnp.float32(level), names, num_resamples
    )
    return {name: intervals[name] for name in names}  # jit sorts the names


@partial(jax.jit, static_argnames=("names", "num_resamples"))
def _bootstrap_ood(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    key: Key[Array, ""],
    level: Scalar,
    names: tuple[str, ...],
    num_resamples: int,
) -> dict[str, Interval]:
    by_score: dict[Callable[..., Column], dict[str, OodMetric]] = {}
    for name in names:
        metric = OOD_METRICS[name]
        by_score.setdefault(metric.score, {})[name] = metric

    intervals: dict[str, Interval] = {}
    for score, rows in by_score.items():
        ranking = rank_both(score, id_scores, ood_scores)

        def resampled(key, ranking=ranking, rows=rows):
            id_key, ood_key = jax.random.split(key)
            weights = draw_weights(id_key, ranking.valid & ranking.correct)
            weights += draw_weights(ood_key, ranking.valid & ~ranking.correct)
            counts = count_ties(ranking, weights)
            return {name: metric.kernel(counts) for name, metric in rows.items()}

        num_rows = ranking.valid.shape[0]
        values = _map_keys(resampled, key, num_resamples, num_rows)
        for name in rows:
            intervals[name] = _percentile_interval(values[name], level)
    return intervals


def draw_weights(
    key: Key[Array, ""], valid: Bool[jax.Array, " n"]
) -> Int[jax.Array, " n"]:
    """Multinomial counts: how often each row occurs among N draws of N valid rows.

    Returns:
        Integers that sum to the number of valid rows; 0 for the others.
    """
    num_rows = valid.shape[0]
    rows = draw_rows(key, num_rows, jnp.sum(valid, dtype=jnp.int32))
    counted = jnp.zeros(num_rows, jnp.int32).at[rows].add(1, mode="drop")
    # The counts lie on the first N places: hand them to the valid rows in turn.
    place = jnp.cumsum(valid, dtype=jnp.int32) - 1
    return jnp.where(valid, counted[jnp.maximum(place, 0)], 0)


def draw_rows(
    key: Key[Array, ""], num_rows: int, num_valid: Int[jax.Array, ""]
) -> Int[jax.Array, " {num_rows}"]:
    """N = num_valid draws from 0..N-1, followed by `num_rows` for the rest.

    Draw i does not depend on `num_rows` (threefry bits are a function of their
    position), so padding changes no resample.
    """
    draws = jax.random.randint(key, (num_rows,), 0, jnp.maximum(num_valid, 1))
    return jnp.where(jnp.arange(num_rows) < num_valid, draws, num_rows)


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
        ValueError: If num_resamples < 1, the level is outside (0, 1), or no row
            counts (outside jit).
    """
    _check_settings(num_resamples, level)
    require_examples(a, mask)
    values = [jnp.asarray(x, jnp.float32) for x in (a, b)]
    valid = valid_rows(a, mask)
    return _paired(*values, valid, key, jnp.float32(level), num_resamples)


@partial(jax.jit, static_argnames="num_resamples")
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
        rows = draw_rows(key, num_rows, num_valid)
        drawn = differences.at[rows].get(mode="fill", fill_value=0.0)
        return jnp.sum(drawn) / as_float(num_valid)

    means = _map_keys(resampled, key, num_resamples, num_rows)
    difference = jnp.sum(differences) / as_float(num_valid)
    low, high = _percentile_interval(means, level)
    tails = jnp.stack([jnp.sum(means <= 0), jnp.sum(means >= 0)])
    p_value = 2.0 * as_float(jnp.min(tails) + 1) / (num_resamples + 1)
    # A resample that misses the broken row must not hide it.
    low, high, p_value = (
        jnp.where(jnp.isnan(difference), jnp.nan, x)
        for x in (low, high, jnp.minimum(p_value, 1.0))
    )
    return PairedDifference(difference, low, high, p_value)


def mcnemar(correct_a: Flags, correct_b: Flags, *, mask: Flags | None = None) -> Scalar:
    """McNemar's exact test: do two models differ in accuracy on the same images?

    Of the n images on which exactly one model is right, the first model is right on
    k. If the two are equally accurate, k is binomial(n, 1/2); the p-value is
    min(1, 2 P(X <= min(k, n - k))). McNemar (1947):
    https://doi.org/10.1007/BF02295996; Dietterich (1998):
    https://doi.org/10.1162/089976698300017197.

    The tail is its largest term, from Stirling's series with the deviance computed
    directly (Loader 2000), times a sum of ratios: no large numbers cancel, and it is
    accurate to 1e-4 of its value for millions of images. Works under jit and vmap.

    Args:
        correct_a: Whether the first model is right on each image.
        correct_b: Whether the second is.
        mask: Rows that count; None counts all.

    Returns:
        p in [0, 1]; 1 if the models never differ. Below 1e-34 it may be rounded to 0:
        the tail's largest term leaves the range of float32 before the tail does. NaN
        under jit if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    require_examples(correct_a, mask)
    return _mcnemar(correct_a, correct_b, mask)


@jax.jit
def _mcnemar(correct_a: Flags, correct_b: Flags, mask: Flags | None) -> Scalar:
    valid = valid_rows(correct_a, mask)
    a, b = jnp.asarray(correct_a), jnp.asarray(correct_b)
    only_a = jnp.sum(valid & a & ~b, dtype=jnp.int32)
    only_b = jnp.sum(valid & b & ~a, dtype=jnp.int32)
    fewer, trials = jnp.minimum(only_a, only_b), only_a + only_b
    # P(X = k - j) / P(X = k) = prod_{i<j} (k - i) / (n - k + 1 + i).
    step = jnp.arange(valid.shape[0], dtype=jnp.int32)
    ratio = as_float(jnp.maximum(fewer - step, 0)) / as_float(trials - fewer + 1 + step)
    tail = jnp.exp(_log_half_binomial(fewer, trials)) * (
        1 + jnp.sum(jnp.cumprod(ratio))
    )
    p_value = jnp.where(only_a == only_b, 1.0, jnp.minimum(1.0, 2.0 * tail))
    return jnp.where(jnp.any(valid), p_value, jnp.nan)


def _log_half_binomial(
    successes: Int[jax.Array, ""], trials: Int[jax.Array, ""]
) -> Scalar:
    """The logarithm of P(X = successes), X ~ binomial(trials, 1/2), below the mean."""
    k, n = as_float(successes), as_float(trials)
    inner_k = jnp.maximum(k, 1.0)
    lead = (n - 2 * k) / jnp.maximum(n, 1.0)
    # (1 + d) log(1 + d) + (1 - d) log(1 - d): its Taylor series where it cancels.
    d2 = lead * lead
    series = d2 * (1 + d2 * (1 / 6 + d2 * (1 / 15 + d2 * (1 / 28 + d2 / 45))))
    safe = jnp.minimum(lead, 1 - 1e-7)
    direct = (1 + safe) * jnp.log1p(safe) + (1 - safe) * jnp.log1p(-safe)
    deviance = n / 2 * jnp.where(lead < 0.3, series, direct)
    other = jnp.maximum(n - k, 1.0)
    correction = _stirling_error(n) - _stirling_error(k) - _stirling_error(n - k)
    log_root = 0.5 * jnp.log(jnp.maximum(n, 1.0) / (2 * jnp.pi * inner_k * other))
    interior = log_root + correction - deviance
    return jnp.where(successes == 0, -n * jnp.log(2.0), interior)


def _stirling_error(count: Scalar) -> Scalar:
    """log(n!) less Stirling's formula, n >= 1, to 2e-6."""
    x = 1 / jnp.maximum(count, 1.0)
    x2 = x * x
    series = x * (1 / 12 - x2 * (1 / 360 - x2 * (1 / 1260 - x2 * (1 / 1680))))
    return jnp.where(count < 1.5, 1 - 0.5 * jnp.log(2 * jnp.pi), series)


def _map_keys(function, key: Key[Array, ""], num_resamples: int, num_rows: int):
    most = max(1, _ROWS_IN_FLIGHT // num_rows)
    num_batches = -(-num_resamples // most)
    batch_size = -(-num_resamples // num_batches)
    # Whole batches only (the last key fills up): a ragged one compiles a second body.
    index = jnp.minimum(jnp.arange(num_batches * batch_size), num_resamples - 1)
    keys = jax.random.split(key, num_resamples)[index]
    values = jax.lax.map(function, keys, batch_size=batch_size)
    return jax.tree.map(lambda column: column[:num_resamples], values)


def _percentile_interval(
    values: Float[jax.Array, " resamples"], level: Scalar
) -> Interval:
    tail = (1 - level) / 2
    low, high = jnp.nanquantile(values, jnp.stack([tail, 1 - tail]))
    return low, high


def _check_settings(num_resamples: int, level: float) -> None:
    problems = []
    if num_resamples < 1:
        problems.append(f"num_resamples is {num_resamples}; wanted an integer >= 1")
    if not 0.0 < level < 1.0:
        problems.append(f"level is {level}; wanted a fraction in (0, 1)")
    if problems:
        raise ValueError("\n".join(problems))
