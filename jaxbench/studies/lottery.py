"""The benchmark lottery: does a lead on one test set carry over to its variants?

After "Self-supervised Benchmark Lottery on ImageNet: Do Marginal Improvements Translate
to Improvements on Similar Datasets?": https://arxiv.org/abs/2501.15431. Its unified
metric is not public in formula; the scores here are ours.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jaxbench.metrics import kendall
from jaxbench.metrics.types import AnyArray
from jaxbench.studies.lottery_survival import resampled_counts
from jaxbench.studies.variant_table import VariantTable

# Resampled values in flight: bounds memory to some tens of MB.
_IN_FLIGHT = 1 << 22


class Agreement(NamedTuple):
    """How alike two datasets order the models.

    Attributes:
        variant: The dataset that is compared with the reference.
        tau: Kendall's tau-b of the two rankings, in [-1, 1]; NaN where a dataset puts
            all models level or fewer than two models are on both.
        low: Lower end of its interval.
        high: Upper end.
        over: What was resampled: "images" or "models".
        num_models: Models on both.
    """

    variant: str
    tau: float
    low: float
    high: float
    over: str
    num_models: int


class UnifiedScores(NamedTuple):
    """One number a model over all datasets; all three are ours.

    NaN for a model that is missing somewhere: a mean over fewer datasets is another
    number.

    Attributes:
        mean_accuracy: Mean over the reference and its variants, a fraction.
        mean_rank: Mean place among the models that are on all datasets; 1 is best.
        retention: Geometric mean over the variants of accuracy / accuracy on the
            reference: what a model keeps of its accuracy. NaN without variants, and
            where the reference has 0.
    """

    mean_accuracy: Float[np.ndarray, " models"]
    mean_rank: Float[np.ndarray, " models"]
    retention: Float[np.ndarray, " models"]


def mean_ranks(
    values: Float[np.ndarray, "... models"],
) -> Float[np.ndarray, "... models"]:
    """Places along the last axis: 1 is the largest, equal values share the mean place.

    A NaN has no place, and takes none from the others.
    """
    rows = np.atleast_2d(values)
    places = np.full(rows.shape, np.nan)
    for row, place in zip(rows, places, strict=True):
        known = ~np.isnan(row)
        rising = np.sort(row[known])
        better = len(rising) - np.searchsorted(rising, row[known], side="right")
        worse = np.searchsorted(rising, row[known], side="left")
        # Of n models, n - better - worse are level and share their places.
        place[known] = (better + 1 + len(rising) - worse) / 2
    return places.reshape(np.shape(values))


def drops(table: VariantTable) -> Float[np.ndarray, "models variants"]:
    """Accuracy on each dataset less that on the reference; NaN where one is missing."""
    return table.accuracy - table.accuracy[:, :1]


def ranks(table: VariantTable) -> Float[np.ndarray, "models variants"]:
    """Place of each model on each dataset among the models measured there."""
    return mean_ranks(table.accuracy.T).T


def rank_agreement(
    table: VariantTable,
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[Agreement, ...]:
    """Kendall's tau-b of each variant's ranking with the reference's, with intervals.

    Where it is known which images each model is right on, the images are resampled
    (datasets of the same images share their draws): the interval is about other images
    and the same models. Resampling adds noise to both rankings, so it lies rather below
    the tau of these images. From accuracies alone the models are resampled: the
    interval is about other models, and too narrow where these come in families.

    Args:
        table: Models on the reference and its variants.
        key: Chooses the resamples.
        num_resamples: Number of resamples.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        One row for each variant besides the reference.
    """
    drawn = (
        resampled_counts(table, key=key, num_resamples=num_resamples)
        if (table.paired)
        else {}
    )
    found = []
    for place, variant in enumerate(table.variants[1:]):
        both = table.present(table.reference, variant)
        x, y = (table.column(v)[both] for v in (table.reference, variant))
        if table.paired:
            pair = (drawn[v][:, both] for v in (table.reference, variant))
            taus = _taus(*pair)
        else:
            seed = jax.random.key_data(jax.random.fold_in(key, place))
            taus = tau_over_models(
                x, y, np.random.default_rng(np.asarray(seed)), num_resamples
            )
        tau = _tau(x, y)
        low, high = _interval(taus, level) if tau == tau else (np.nan, np.nan)
        over = "images" if table.paired else "models"
        found.append(Agreement(variant, tau, low, high, over, int(both.sum())))
    return tuple(found)


def agreement_matrix(table: VariantTable) -> Float[np.ndarray, "variants variants"]:
    """Kendall's tau-b between all datasets, over the models that both have."""
    size = len(table.variants)
    matrix = np.ones((size, size))
    for i, one in enumerate(table.variants):
        for j, other in enumerate(table.variants[: i + 1]):
            both = table.present(one, other)
            tau = _tau(table.column(one)[both], table.column(other)[both])
            matrix[i, j] = matrix[j, i] = tau
    return matrix


def unified_scores(table: VariantTable) -> UnifiedScores:
    """Mean accuracy, mean rank and retention of each model: our candidates."""
    complete = table.present(*table.variants)
    accuracy = np.where(complete[:, None], table.accuracy, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = accuracy[:, 1:] / accuracy[:, :1]
        logs = np.log(relative)
    if accuracy.shape[1] == 1:
        retention = np.full(len(accuracy), np.nan)
    else:
        retention = np.exp(logs.mean(axis=1))
    retention[accuracy[:, 0] == 0] = np.nan
    return UnifiedScores(
        accuracy.mean(axis=1), mean_ranks(accuracy.T).T.mean(axis=1), retention
    )


def tau_over_models(
    x: Float[np.ndarray, " models"],
    y: Float[np.ndarray, " models"],
    rng: np.random.Generator,
    num_resamples: int,
) -> Float[np.ndarray, " resamples"]:
    """Kendall's tau-b under resamples of the models.

    The same numbers as `jaxbench.metrics.correlation_interval` resamples, as two matrix
    products instead of a pass over all pairs for each resample: a hundred times faster
    for 1,500 models. All sums are whole numbers, which float64 holds.
    """
    count = len(x)
    if count < 2:
        return np.full(num_resamples, np.nan)
    signs = [np.sign(v[:, None] - v[None, :]) for v in (x, y)]
    products = (signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2)
    taus = []
    step = max(1, _IN_FLIGHT // count)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size)
        weights = weights.astype(np.float64)
        both, one, two = (((weights @ p) * weights).sum(axis=1) for p in products)
        with np.errstate(invalid="ignore"):
            taus.append(both / np.sqrt(one * two))
    return np.concatenate(taus)


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b; NaN for fewer than two models.

    Ranks, not accuracies: float32 holds them exactly.
    """
    count = len(x)
    if count < 2:
        return float("nan")
    x, y = (_padded(mean_ranks(values)) for values in (x, y))
    return float(kendall(x, y, mask=np.arange(len(x)) < count))


def _taus(
    x: Float[np.ndarray, "resamples models"], y: Float[np.ndarray, "resamples models"]
) -> Float[np.ndarray, " resamples"]:
    count = x.shape[1]
    if count < 2:
        return np.full(len(x), np.nan)
    x, y = _padded(x), _padded(y)
    taus = _map_taus(x, y, np.arange(x.shape[1]) < count)
    return np.asarray(taus, np.float64)


@jax.jit
def _map_taus(
    x: Float[AnyArray, "r m"],
    y: Float[AnyArray, "r m"],
    counted: Bool[AnyArray, " m"],
) -> Float[Array, " r"]:
    return jax.lax.map(lambda pair: kendall(*pair, mask=counted), (x, y))


def _padded(values: Float[np.ndarray, "... m"]) -> Float[np.ndarray, "... n"]:
    """Zeros up to a power of two: numbers of models vary, and each is a program."""
    count = values.shape[-1]
    size = max(64, 1 << (count - 1).bit_length())
    widths = [(0, 0)] * (values.ndim - 1) + [(0, size - count)]
    return np.pad(values, widths).astype(np.float32)


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Percentiles; resamples without an order (all models level) are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
