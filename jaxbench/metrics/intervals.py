"""How far a metric could have come out otherwise: bootstrap intervals.

Everything starts from per-example columns, so no interval needs a new pass over the
images. A key is an argument, and the same key gives the same numbers for every order
of the rows and every amount of padding.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.metrics.catalog import CONFIDENCES, OOD_METRICS
from jaxbench.metrics.checks import check_choice
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import count_ties
from jaxbench.metrics.resampling import (
    Interval,
    bca_interval,
    check_key,
    check_settings,
    deal_groups,
    draw_counts,
    draw_weights,
    map_many,
    percentile_interval,
)
from jaxbench.metrics.samples import Sample, sort_scores
from jaxbench.metrics.scores import ExampleScores, require_scores
from jaxbench.metrics.summary import choose, lookup, measure, rank_once
from jaxbench.metrics.types import Scalar

Method = Literal["percentile", "bca"]
Weights = Int[jax.Array, " n"]

# Folded into the key for what is not a resample: past every number of resamples.
_GROUPS = 2**32 - 1


def bootstrap_intervals(
    scores: ExampleScores,
    metrics: Iterable[str] | None = None,
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
    confidence: str = "max_softmax",
    method: Method = "percentile",
) -> dict[str, Interval]:
    """Bootstrap intervals of metrics.

    A resample draws N of the N examples that count, with replacement. It is kept as
    how often each example was drawn, and the metrics are measured under these
    weights on columns sorted once; the result is the metric of the resampled rows.
    All metrics see the same resamples. Efron and Tibshirani (1993), chapters 13, 14.

    An accuracy of 0 or 1, or whatever else is the same in all resamples, has a
    percentile interval without width and no BCa interval: `wilson_interval` has one.

    Args:
        scores: From `score_examples`; JAX or NumPy columns.
        metrics: Names in `SCORE_METRICS`; None for all that `confidence` has.
        key: Chooses the resamples.
        num_resamples: 1000 place the ends of a 95 % interval to about 2 % of its
            width.
        level: Coverage of the interval, in (0, 1).
        confidence: What ranks the examples; as in `summarize`.
        method: "percentile", or "bca": corrected for bias and skewness, for a fifth
            more time at 1000 resamples; see `bca_interval`.

    Returns:
        (low, high) for each name. Resamples in which the metric is undefined (AUROC
        without a wrong example) are left out. NaN wherever `summarize` gives NaN. A
        BCa interval is also NaN where all resamples lie on one side of the estimate
        (ECE, which resampling raises), or where one of its 200 groups of examples
        holds all that the metric needs.

    Raises:
        ValueError: If a name or the method is unknown, num_resamples < 1, the level
            is outside (0, 1), or no row counts (outside jit).
    """
    names = choose(metrics, confidence)
    check_choice("method", method, ("percentile", "bca"))
    check_settings(num_resamples, level)
    check_key(key)
    require_scores(scores=scores)
    intervals = _bootstrap(
        scores, key, jnp.float32(level), names, num_resamples, confidence, method
    )
    return {name: intervals[name] for name in names}  # jit sorts the names


@partial(compiled, static_argnames=("names", "num_resamples", "confidence", "method"))
def _bootstrap(
    scores: ExampleScores,
    key: Key[Array, ""],
    level: Scalar,
    names: tuple[str, ...],
    num_resamples: int,
    confidence: str,
    method: Method,
) -> dict[str, Interval]:
    ordered = sort_scores(scores, CONFIDENCES[confidence](scores))
    valid = ordered.ranking.valid
    num_valid = jnp.sum(valid, dtype=jnp.int32)

    def draw(key: Key[Array, ""]) -> Weights:
        # Sorted: the rows that count come first.
        return draw_counts(key, valid.shape[0], num_valid)

    def measured(weights: Weights) -> dict[str, Scalar]:
        return measure(Sample.of(ordered, weights), names)

    return _intervals(measured, draw, key, level, num_resamples, method, (valid,))


def bootstrap_ood_intervals(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    metrics: Iterable[str] = tuple(OOD_METRICS),
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """Bootstrap intervals of out-of-distribution metrics.

    In- and out-of-distribution images are resampled each among themselves, since how
    many there are of either is chosen and not observed.

    Args:
        id_scores: Of in-distribution images, the positive class.
        ood_scores: Of out-of-distribution images.
        metrics: Names in `OOD_METRICS`.
        key: Chooses the resamples.
        num_resamples: Number of resamples.
        level: Coverage of the interval, in (0, 1).
        method: As in `bootstrap_intervals`; the groups of "bca" are those of either
            set of images.

    Returns:
        (low, high) for each name. NaN wherever `summarize_ood` gives NaN, and as in
        `bootstrap_intervals`.

    Raises:
        ValueError: If a name or the method is unknown, num_resamples < 1, the level
            is outside (0, 1), or no row of either counts (outside jit).
    """
    names = tuple(lookup("metric", OOD_METRICS, metrics))
    check_choice("method", method, ("percentile", "bca"))
    check_settings(num_resamples, level)
    check_key(key)
    require_scores(id_scores=id_scores, ood_scores=ood_scores)
    intervals = _bootstrap_ood(
        id_scores, ood_scores, key, jnp.float32(level), names, num_resamples, method
    )
    return {name: intervals[name] for name in names}  # jit sorts the names


@partial(compiled, static_argnames=("names", "num_resamples", "method"))
def _bootstrap_ood(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    key: Key[Array, ""],
    level: Scalar,
    names: tuple[str, ...],
    num_resamples: int,
    method: Method,
) -> dict[str, Interval]:
    intervals: dict[str, Interval] = {}
    for ranking, rows in rank_once(names, id_scores, ood_scores):
        positive = ranking.valid & ranking.correct
        negative = ranking.valid & ~ranking.correct

        def draw(key, positive=positive, negative=negative) -> Weights:
            id_key, ood_key = jax.random.split(key)
            return draw_weights(id_key, positive) + draw_weights(ood_key, negative)

        def measured(weights, ranking=ranking, rows=rows) -> dict[str, Scalar]:
            counts = count_ties(ranking, weights)
            return {name: metric.kernel(counts) for name, metric in rows.items()}

        parts = (positive, negative)
        intervals |= _intervals(
            measured, draw, key, level, num_resamples, method, parts
        )
    return intervals


def _intervals(
    measured: Callable[[Weights], dict[str, Scalar]],
    draw: Callable[[Key[Array, ""]], Weights],
    key: Key[Array, ""],
    level: Scalar,
    num_resamples: int,
    method: Method,
    parts: tuple[Bool[jax.Array, " n"], ...],
) -> dict[str, Interval]:
    num_rows = parts[0].shape[0]
    keys = jax.random.split(key, num_resamples)
    if method == "percentile":
        values = map_many(lambda key: measured(draw(key)), keys, num_rows)
        return _each(lambda column: percentile_interval(column, level), values)

    groups = deal_groups(jax.random.fold_in(key, _GROUPS), parts)
    num_groups = groups.sizes.shape[0]
    # Below 0 is a resample, then come the groups to leave out, and then none of them:
    # one loop, so that the metrics are compiled once.
    numbers = jnp.arange(-num_resamples, num_groups + 1, dtype=jnp.int32)
    keys = keys[jnp.clip(numbers + num_resamples, 0, num_resamples - 1)]

    def replicate(job) -> dict[str, Scalar]:
        key, number = job
        kept = (groups.of_row >= 0) & (groups.of_row != number)
        return measured(jnp.where(number < 0, draw(key), kept.astype(jnp.int32)))

    def interval(column: Float[jax.Array, " replicates"]) -> Interval:
        values, left = column[:num_resamples], column[num_resamples:-1]
        return bca_interval(values, column[-1], left, groups, level)

    return _each(interval, map_many(replicate, (keys, numbers), num_rows))


def _each(
    interval: Callable[[Float[jax.Array, " replicates"]], Interval],
    columns: dict[str, Float[jax.Array, " replicates"]],
) -> dict[str, Interval]:
    """The interval of each column; compiled once for all of them."""
    lows, highs = jax.vmap(interval)(jnp.stack(list(columns.values())))
    return {name: (lows[i], highs[i]) for i, name in enumerate(columns)}
