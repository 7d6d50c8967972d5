"""The metrics by name. To add one: a kernel, a row here, a float64 twin in the tests.

Every metric is a function of a `Sample`: the columns of n examples, sorted once, and
integer weights. `summarize` measures the sample as it is, `bootstrap_intervals` the
same sample under random weights.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics.calibration import (
    NUM_BINS,
    bin_index,
    binned,
    calibration_error_of_bins,
)
from jaxbench.metrics.ranked import (
    Ranking,
    TieCounts,
    as_float,
    count_ties,
    rank,
    require_examples,
    weighted_mean,
)
from jaxbench.metrics.ranking import auroc_of_counts, fpr_of_counts
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.selective import aurc_of_counts, coverage_of_counts
from jaxbench.metrics.types import Column, Scalar

Row = TypeVar("Row")
Direction = Literal["higher", "lower", "none"]


class SortedScores(NamedTuple):
    """What the metrics need of `ExampleScores`, sorted by falling confidence.

    Attributes:
        ranking: Order and ties, by -log(1 - confidence).
        top5: 1.0 where the label is among the five largest logits.
        nll: As in `ExampleScores`.
        brier: As in `ExampleScores`.
        confidence: As in `ExampleScores`.
        gap: confidence - correct, spread over the calibration bins.
    """

    ranking: Ranking
    top5: Float[jax.Array, " n"]
    nll: Float[jax.Array, " n"]
    brier: Float[jax.Array, " n"]
    confidence: Float[jax.Array, " n"]
    gap: Float[jax.Array, "n bins"]


class Sample(NamedTuple):
    """Sorted examples under integer weights: the argument of every metric's kernel."""

    scores: SortedScores
    counts: TieCounts

    def mean(self, column: Float[jax.Array, " n"]) -> Scalar:
        """Mean of a column under the sample's weights."""
        return weighted_mean(column, self.counts.weights)


@dataclass(frozen=True)
class Metric:
    """A number measured on in-distribution examples.

    Attributes:
        kernel: The number, from a sample.
        direction: Whether a higher or a lower value is better, or neither.
        range: Least and greatest value; infinite where there is none.
        reference: Where it is defined.
        kind: "mean" of a column, "bins" of confidence, or "order" of confidence.
    """

    kernel: Callable[[Sample], Scalar]
    direction: Direction
    range: tuple[float, float]
    reference: str
    kind: Literal["mean", "bins", "order"]

    def function(self, scores: ExampleScores) -> Scalar:
        """Measures one set of scores; `summarize` shares the sort among metrics."""
        require_examples(scores.mask, scores.mask)
        return _measure_one(self, scores)


@dataclass(frozen=True)
class OodMetric:
    """A number that tells in-distribution from out-of-distribution images.

    In-distribution images are the positive class.

    Attributes:
        kernel: The number, from block counts in which "correct" means positive.
        score: The column that ranks, higher for in-distribution images.
        direction: Whether a higher or a lower value is better.
        range: Least and greatest value.
        reference: Where it is defined.
    """

    kernel: Callable[[TieCounts], Scalar]
    score: Callable[[ExampleScores], Column]
    direction: Direction
    range: tuple[float, float]
    reference: str

    def function(self, id_scores: ExampleScores, ood_scores: ExampleScores) -> Scalar:
        """Measures one pair of scores; `summarize_ood` shares sorts among metrics."""
        require_examples(id_scores.mask, id_scores.mask)
        require_examples(ood_scores.mask, ood_scores.mask)
        return _measure_one_ood(self, id_scores, ood_scores)


def _max_softmax(scores: ExampleScores) -> Column:
    return -scores.log_one_minus_confidence


def _max_logit(scores: ExampleScores) -> Column:
    return scores.max_logit


def _energy(scores: ExampleScores) -> Column:
    return scores.energy


def _accuracy(sample: Sample) -> Scalar:
    return as_float(sample.counts.total_correct) / as_float(sample.counts.total)


def _coverage(accuracy: float) -> Callable[[Sample], Scalar]:
    return lambda sample: coverage_of_counts(sample.counts, accuracy)


_FPR95 = partial(fpr_of_counts, true_positive_rate=0.95)

_IMAGENET = "https://arxiv.org/abs/1409.0575"
_SCORING_RULES = "https://doi.org/10.1198/016214506000001437"
_BRIER = "https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
_GUO = "https://arxiv.org/abs/1706.04599"
_GALIL = "https://arxiv.org/abs/2302.11874"
_GEIFMAN = "https://arxiv.org/abs/1805.08206"
_MAX_SOFTMAX = "https://arxiv.org/abs/1610.02136"
_MAX_LOGIT = "https://arxiv.org/abs/1911.11132"
_ENERGY = "https://arxiv.org/abs/2010.03759"

UNIT = (0.0, 1.0)
POSITIVE = (0.0, float("inf"))

METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, "higher", UNIT, _IMAGENET, "mean"),
    "top_5_accuracy": Metric(
        lambda s: s.mean(s.scores.top5), "higher", UNIT, _IMAGENET, "mean"
    ),
    "nll": Metric(
        lambda s: s.mean(s.scores.nll), "lower", POSITIVE, _SCORING_RULES, "mean"
    ),
    "brier": Metric(
        lambda s: s.mean(s.scores.brier), "lower", (0.0, 2.0), _BRIER, "mean"
    ),
    "ece": Metric(
        lambda s: calibration_error_of_bins(s.scores.gap, s.counts.weights),
        "lower",
        UNIT,
        _GUO,
        "bins",
    ),
    "mean_confidence": Metric(
        lambda s: s.mean(s.scores.confidence), "none", UNIT, _GUO, "mean"
    ),
    "auroc": Metric(
        lambda s: auroc_of_counts(s.counts), "higher", UNIT, _GALIL, "order"
    ),
    "aurc": Metric(
        lambda s: aurc_of_counts(s.counts), "lower", UNIT, _GEIFMAN, "order"
    ),
    "coverage_at_95_accuracy": Metric(_coverage(0.95), "higher", UNIT, _GALIL, "order"),
    "coverage_at_99_accuracy": Metric(_coverage(0.99), "higher", UNIT, _GALIL, "order"),
}

OOD_METRICS: dict[str, OodMetric] = {
    "ood_auroc_max_softmax": OodMetric(
        auroc_of_counts, _max_softmax, "higher", UNIT, _MAX_SOFTMAX
    ),
    "ood_auroc_max_logit": OodMetric(
        auroc_of_counts, _max_logit, "higher", UNIT, _MAX_LOGIT
    ),
    "ood_auroc_energy": OodMetric(auroc_of_counts, _energy, "higher", UNIT, _ENERGY),
    "ood_fpr95_max_softmax": OodMetric(
        _FPR95, _max_softmax, "lower", UNIT, _MAX_SOFTMAX
    ),
    "ood_fpr95_max_logit": OodMetric(_FPR95, _max_logit, "lower", UNIT, _MAX_LOGIT),
    "ood_fpr95_energy": OodMetric(_FPR95, _energy, "lower", UNIT, _ENERGY),
}


def sort_scores(scores: ExampleScores) -> SortedScores:
    """Sorts the columns that the metrics need, by falling confidence."""
    correct = jnp.asarray(scores.correct)
    confidence = jnp.asarray(scores.confidence, jnp.float32)
    columns = (
        jnp.asarray(scores.correct_top5).astype(jnp.float32),
        scores.nll,
        scores.brier,
        confidence,
    )
    ranking, (top5, nll, brier, confidence) = rank(
        _max_softmax(scores), correct, mask=scores.mask, columns=columns
    )
    gap = confidence - ranking.correct.astype(jnp.float32)
    gap = jnp.where(ranking.valid, gap, 0.0)
    bins = binned(gap, bin_index(confidence), NUM_BINS)
    return SortedScores(ranking, top5, nll, brier, confidence, bins)


def rank_both(
    score: Callable[[ExampleScores], Column],
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
) -> Ranking:
    """Sorts in- and out-of-distribution images together; the former are positive."""
    both = (id_scores, ood_scores)
    values = jnp.concatenate([jnp.asarray(score(s), jnp.float32) for s in both])
    mask = jnp.concatenate([jnp.asarray(s.mask) for s in both])
    positive = jnp.arange(values.shape[0]) < id_scores.mask.shape[0]
    return rank(values, positive, mask=mask)[0]


@partial(jax.jit, static_argnames="metric")
def _measure_one(metric: Metric, scores: ExampleScores) -> Scalar:
    ordered = sort_scores(scores)
    return metric.kernel(Sample(ordered, count_ties(ordered.ranking)))


@partial(jax.jit, static_argnames="metric")
def _measure_one_ood(
    metric: OodMetric, id_scores: ExampleScores, ood_scores: ExampleScores
) -> Scalar:
    return metric.kernel(count_ties(rank_both(metric.score, id_scores, ood_scores)))


def lookup(kind: str, table: dict[str, Row], names: Iterable[str]) -> dict[str, Row]:
    """The rows of a table by name.

    Raises:
        ValueError: If any name is unknown, with the nearest that exists; all at once.
    """
    names = tuple(names)
    problems = []
    for name in names:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "known are " + ", ".join(table)
            )
            problems.append(f"unknown {kind} {name!r}; {hint}")
    if problems:
        raise ValueError("\n".join(problems))
    return {name: table[name] for name in names}


def summarize(
    scores: ExampleScores, metrics: Iterable[str] = tuple(METRICS)
) -> dict[str, Scalar]:
    """Measures one set of scores: one sort for all metrics, compiled once a shape.

    Where a row that counts has a non-finite logit, accuracy and top-5 accuracy count
    it as wrong, and every other metric is NaN: see docs/metrics.md.

    Args:
        scores: From `score_examples`; JAX or NumPy columns.
        metrics: Names in `METRICS`.

    Returns:
        A scalar for each name; NaN under jit if no row counts.

    Raises:
        ValueError: If a name is unknown, or no row counts (outside jit).
    """
    names = tuple(lookup("metric", METRICS, metrics))
    require_examples(scores.mask, scores.mask)
    values = _summarize(scores, names)
    return {name: values[name] for name in names}  # jit sorts the names


@partial(jax.jit, static_argnames="names")
def _summarize(scores: ExampleScores, names: tuple[str, ...]) -> dict[str, Scalar]:
    ordered = sort_scores(scores)
    return measure(ordered, count_ties(ordered.ranking), names)


def measure(
    scores: SortedScores, counts: TieCounts, names: tuple[str, ...]
) -> dict[str, Scalar]:
    """Metrics by name on sorted scores under the weights of `counts`."""
    sample = Sample(scores, counts)
    return {name: METRICS[name].kernel(sample) for name in names}


def summarize_ood(
    id_scores: ExampleScores,
    ood_scores: ExampleScores,
    metrics: Iterable[str] = tuple(OOD_METRICS),
) -> dict[str, Scalar]:
    """Measures how well scores tell in- from out-of-distribution images.

    Labels and predictions play no part. A row that counts and is not finite makes
    every metric NaN.

    Args:
        id_scores: Of in-distribution images, the positive class.
        ood_scores: Of out-of-distribution images.
        metrics: Names in `OOD_METRICS`.

    Returns:
        A scalar for each name; NaN under jit if either has no row that counts.

    Raises:
        ValueError: If a name is unknown, or no row of either counts (outside jit).
    """
    names = tuple(lookup("metric", OOD_METRICS, metrics))
    for scores in (id_scores, ood_scores):
        require_examples(scores.mask, scores.mask)
    values = _summarize_ood(id_scores, ood_scores, names)
    return {name: values[name] for name in names}  # jit sorts the names


@partial(jax.jit, static_argnames="names")
def _summarize_ood(
    id_scores: ExampleScores, ood_scores: ExampleScores, names: tuple[str, ...]
) -> dict[str, Scalar]:
    counts: dict[Callable[[ExampleScores], Column], TieCounts] = {}
    for name in names:
        score = OOD_METRICS[name].score
        if score not in counts:
            counts[score] = count_ties(rank_both(score, id_scores, ood_scores))
    return {
        name: OOD_METRICS[name].kernel(counts[OOD_METRICS[name].score])
        for name in names
    }
