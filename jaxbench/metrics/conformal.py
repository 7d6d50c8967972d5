"""Conformal prediction: sets of classes that hold the label as often as promised.

The promise is one on average over draws of the images that the threshold was chosen on
and of the image it is used for, and holds for every model and every distribution, as
long as both come from the same one.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.checks import (
    check_columns,
    refuse,
    require_arrays,
    require_rows,
    takes_scores,
)
from jaxbench.metrics.logit_checks import logit_misfits, refuse_probabilities
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import masked_mean, valid_rows, whole_part
from jaxbench.metrics.records import record
from jaxbench.metrics.softmax import split_softmax
from jaxbench.metrics.types import (
    AnyArray,
    ClassMask,
    Column,
    Flags,
    Labels,
    Logits,
    Scalar,
)

# The number of guesses that stands for all classes, however many there are.
ALL_CLASSES = 2**31 - 1
_LEAST_ALPHA = 1e-4
_SLACK = 1e-5


@record
class ConformalSummary(NamedTuple):
    """How prediction sets do on images with labels.

    Attributes:
        coverage: The share of sets that hold the label.
        mean_size: Mean number of classes in a set.
        empty: The share of sets without a class.
    """

    coverage: Scalar
    mean_size: Scalar
    empty: Scalar


def conformal_threshold(
    nll: Column, *, alpha: float, mask: Flags | None = None
) -> Scalar:
    """The threshold of prediction sets that hold the label with probability 1 - alpha.

    Split conformal prediction with the score 1 - p[label]: of N + 1 exchangeable
    images, the last is among the ceil((N + 1)(1 - alpha)) with the smallest scores
    with at least that probability; the threshold is the score of this rank among the
    N. Kept as -log p, which orders classes alike and does not round to 1. Sadinle et
    al. (2019): https://arxiv.org/abs/1609.00451 (LAC); Vovk et al. (2005).

    Args:
        nll: -log p[label] of images that are not evaluated: `ExampleScores.nll`.
        alpha: Share of sets that may miss the label, in [0.0001, 1).
        mask: Rows that count; None counts all.

    Returns:
        For `prediction_sets`: +inf, which takes every class, if fewer than about
        1 / alpha images count. NaN if a value that counts is, or, under jit, if no
        row counts.

    Raises:
        ValueError: If alpha is out of range, columns do not fit, no row counts or a
            value is NaN (the last two outside jit).
    """
    _check_alpha(alpha)
    check_columns(mask, floats={"nll": nll})
    return _conformal_threshold(nll, mask, alpha)


@partial(compiled, static_argnames="alpha")
def _conformal_threshold(nll: Column, mask: Flags | None, alpha: float) -> Scalar:
    valid = valid_rows(nll, mask)
    values = jnp.where(valid, jnp.asarray(nll, jnp.float32), 0.0)
    value, in_range = _value_of_rank(values, valid, alpha)
    threshold = jnp.where(in_range, value, jnp.inf)
    defined = jnp.any(valid) & ~jnp.any(jnp.isnan(values))
    return jnp.where(defined, threshold, jnp.nan)


def conformal_top_k(
    label_rank: Int[AnyArray, " n"], *, alpha: float, mask: Flags | None = None
) -> Int[jax.Array, ""]:
    """How many guesses hold the label with probability 1 - alpha.

    `conformal_threshold` with the rank of the label as its score: the smallest k such
    that at least ceil((N + 1)(1 - alpha)) of N images have their label among the k
    largest logits. All sets have one size, and ranks tie, so they may hold the label
    more often than they must.

    Args:
        label_rank: How many classes beat the label: `ExampleScores.label_rank` of
            images that are not evaluated. A negative rank counts as no rank.
        alpha: Share of sets that may miss the label, in [0.0001, 1).
        mask: Rows that count; None counts all.

    Returns:
        At least 1; 2^31 - 1, which stands for all classes, if fewer than about 1 /
        alpha images count, or more than a share alpha of them have no rank.

    Raises:
        ValueError: If alpha is out of range, columns do not fit, or no row counts
            (outside jit).
    """
    _check_alpha(alpha)
    check_columns(mask, integers={"label_rank": label_rank})
    return _conformal_top_k(label_rank, mask, alpha)


@partial(compiled, static_argnames="alpha")
def _conformal_top_k(
    label_rank: Int[AnyArray, " n"], mask: Flags | None, alpha: float
) -> Int[jax.Array, ""]:
    ranks = jnp.asarray(label_rank, jnp.int32)
    ranks = jnp.where(ranks < 0, ALL_CLASSES, ranks)
    value, in_range = _value_of_rank(ranks, valid_rows(label_rank, mask), alpha)
    guesses = jnp.minimum(value, ALL_CLASSES - 1) + 1
    return jnp.where(in_range, guesses, ALL_CLASSES)


def _value_of_rank(values, valid: Bool[jax.Array, " n"], alpha: float):
    """The ceil((N + 1)(1 - alpha))th smallest value, and whether there is one."""
    total = jnp.sum(valid, dtype=jnp.int32)
    _, ordered = jax.lax.sort([~valid, values], num_keys=2)
    # N + 1 less the whole part of (N + 1) alpha, in exact integers.
    position = total + 1 - whole_part(total + 1, alpha)
    return ordered[jnp.clip(position - 1, 0, values.shape[0] - 1)], position <= total


def prediction_sets(
    logits: Logits,
    threshold: float | np.floating | Float[AnyArray, ""],
    *,
    class_mask: ClassMask | None = None,
    temperature: float | Float[AnyArray, ""] = 1.0,
) -> Bool[jax.Array, "n k"]:
    """The classes with -log softmax(logits)[class] <= threshold, for each image.

    The threshold is raised by 1e-5 of itself, for rounding.

    Args:
        logits: Of images from the distribution that the threshold was chosen on; any
            float dtype.
        threshold: From `conformal_threshold`, for scores of the same class mask and
            temperature.
        class_mask: Classes that take part; no other is in any set.
        temperature: Divides the logits; in (0, inf).

    Returns:
        True where a class is in the set; sets may be empty. Every allowed class where
        the threshold is +inf or NaN, or the row has a logit that is not finite:
        nothing is known then.

    Raises:
        ValueError: If the temperature is not positive, shapes or dtypes do not fit, or
            the rows are missing.
    """
    require_arrays(logits=logits, class_mask=class_mask)
    problems = []
    if isinstance(temperature, float | int) and not 0.0 < temperature < np.inf:
        problems.append(f"temperature is {temperature}; wanted a number in (0, inf)")
    refuse(problems + logit_misfits(logits, None, None, class_mask))
    require_rows(logits.shape[0], None, "logits")
    refuse_probabilities(logits, None)
    warmth, limit = (jnp.asarray(x, jnp.float32) for x in (temperature, threshold))
    return _prediction_sets(logits, limit, class_mask, warmth)


@partial(compiled, by_row=True)
def _prediction_sets(
    logits: Logits,
    threshold: Scalar,
    class_mask: ClassMask | None,
    temperature: Scalar,
) -> Bool[jax.Array, "n k"]:
    z = jnp.asarray(logits, jnp.float32) / temperature
    allowed = None if class_mask is None else jnp.asarray(class_mask)
    split = split_softmax(z, jnp.zeros(z.shape[0], jnp.int32), allowed)
    nll = (split.top[:, None] - z) + split.log_normaliser[:, None]
    # Two programs round differently; an image that ties with the threshold must not
    # fall out of its set by that.
    inside = ~(nll > threshold * (1 + _SLACK)) | ~split.finite[:, None]
    return inside if allowed is None else inside & allowed[None, :]


def conformal_summary(
    sets: Bool[AnyArray, "n k"], labels: Labels, *, mask: Flags | None = None
) -> ConformalSummary:
    """Coverage and size of prediction sets.

    Args:
        sets: From `prediction_sets`.
        labels: Classes in [0, k). No set holds any other label.
        mask: Rows that count; None counts all.

    Returns:
        Fractions in [0, 1], and a size in [0, k]; NaN under jit if no row counts.

    Raises:
        ValueError: If shapes do not fit, or no row counts (outside jit).
    """
    check_columns(mask, integers={"labels": labels})
    require_arrays(sets=sets)
    if sets.ndim != 2 or sets.shape[0] != labels.shape[0]:
        raise ValueError(
            f"sets of shape {sets.shape}; wanted [{labels.shape[0]}, k], as labels"
        )
    columns = _set_columns(sets, labels)
    return ConformalSummary(*(masked_mean(column, mask) for column in columns))


@partial(compiled, by_row=True)
def _set_columns(
    sets: Bool[AnyArray, "n k"], labels: Labels
) -> tuple[Float[jax.Array, " n"], ...]:
    inside, label = jnp.asarray(sets), jnp.asarray(labels, jnp.int32)
    classes = jnp.arange(inside.shape[1], dtype=jnp.int32)[None, :]
    covered = jnp.any(inside & (classes == label[:, None]), axis=1)
    size = jnp.sum(inside, axis=1, dtype=jnp.int32)
    return tuple(column.astype(jnp.float32) for column in (covered, size, size == 0))


@takes_scores
def top_k_coverage(
    label_rank: Int[AnyArray, " n"],
    *,
    k: int | Int[AnyArray, ""],
    mask: Flags | None = None,
) -> Scalar:
    """The share of images whose label is among the k largest logits.

    Args:
        label_rank: `ExampleScores.label_rank`.
        k: From `conformal_top_k`, chosen on other images.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1]; NaN under jit if no row counts.

    Raises:
        ValueError: If columns do not fit, or no row counts (outside jit).
    """
    check_columns(mask, integers={"label_rank": label_rank})
    rank = jnp.asarray(label_rank, jnp.int32)
    within = (rank >= 0) & (rank < jnp.asarray(k, jnp.int32))
    return masked_mean(within.astype(jnp.float32), mask)


def _check_alpha(alpha: float) -> None:
    # Shares are compared as fractions of up to 10,000 parts: see `whole_part`.
    if not _LEAST_ALPHA <= alpha < 1.0:
        raise ValueError(
            f"alpha is {alpha}; wanted a fraction in [{_LEAST_ALPHA:g}, 1)"
        )
