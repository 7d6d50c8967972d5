"""Calibration: does a confidence of 0.8 come true eight times in ten?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxbench.metrics.ranked import (
    as_float,
    masked_mean,
    require_examples,
    valid_rows,
)
from jaxbench.metrics.types import Column, Flags, Scalar

NUM_BINS = 15


class ReliabilityBins(NamedTuple):
    """What a reliability diagram draws, per bin of confidence.

    Attributes:
        num_examples: Examples in the bin.
        confidence: Their mean confidence; NaN in an empty bin.
        accuracy: The share of them that is right; NaN in an empty bin.
    """

    num_examples: Int[jax.Array, " bins"]
    confidence: Float[jax.Array, " bins"]
    accuracy: Float[jax.Array, " bins"]


def bin_index(confidence: Column, num_bins: int = NUM_BINS) -> Int[jax.Array, " n"]:
    """The bin of each confidence: b holds (b / num_bins, (b + 1) / num_bins].

    0.0 belongs to the first bin and 1.0 to the last. NaN goes to the first, where it
    makes the bin's sums NaN.

    Raises:
        ValueError: If num_bins < 1.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}; wanted an integer >= 1")
    confidence = jnp.asarray(confidence, jnp.float32)
    # Compared with the edges themselves: ceil(confidence * num_bins) rounds, and
    # puts a confidence that equals an edge into the bin above it now and then.
    # NumPy's edges, because XLA multiplies by a rounded 1 / num_bins.
    edges = (np.arange(1, num_bins) / num_bins).astype(np.float32)
    return jnp.sum(confidence[:, None] > edges[None, :], axis=1, dtype=jnp.int32)


def binned(
    values: Float[jax.Array, " n"], bins: Int[jax.Array, " n"], num_bins: int
) -> Float[jax.Array, "n bins"]:
    """Spreads a column over bins: row i holds values[i] in its bin, 0 elsewhere."""
    numbers = jnp.arange(num_bins, dtype=jnp.int32)[None, :]
    return jnp.where(bins[:, None] == numbers, values[:, None], 0.0)


def calibration_error_of_bins(
    gap: Float[jax.Array, "n bins"], weights: Int[jax.Array, " n"]
) -> Scalar:
    """ECE from confidence - correct spread over bins, under integer weights.

    The weighted mean of |mean confidence - accuracy| over bins is the sum of |sum of
    gaps| over bins, divided by the number of examples: an empty bin adds nothing.
    """
    # HIGHEST: accelerators would multiply in bfloat16 or TF32 otherwise.
    sums = jnp.einsum(
        "n,nb->b", as_float(weights), gap, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.sum(jnp.abs(sums)) / as_float(jnp.sum(weights, dtype=jnp.int32))


def expected_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar:
    """Mean gap between accuracy and confidence over equal-width bins.

    ECE = sum_b n_b / n |accuracy_b - confidence_b|. Bin b holds confidences in
    (b / num_bins, (b + 1) / num_bins], 0.0 the first; an empty bin adds nothing.
    Guo et al. (2017), eq. 3: https://arxiv.org/abs/1706.04599.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: 15 in the paper and in most tables.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1]; NaN if a confidence is, or, under jit, if no row counts.

    Raises:
        ValueError: If num_bins < 1, or no row counts (outside jit).
    """
    require_examples(correct, mask)
    return _calibration_error(confidence, correct, mask, num_bins)


@partial(jax.jit, static_argnames="num_bins")
def _calibration_error(
    confidence: Column, correct: Flags, mask: Flags | None, num_bins: int
) -> Scalar:
    valid = valid_rows(correct, mask)
    confidence = jnp.asarray(confidence, jnp.float32)
    gap = jnp.where(valid, confidence - jnp.asarray(correct).astype(jnp.float32), 0.0)
    bins = bin_index(confidence, num_bins)
    return calibration_error_of_bins(
        binned(gap, bins, num_bins), valid.astype(jnp.int32)
    )


def reliability_bins(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> ReliabilityBins:
    """The bins of `expected_calibration_error`, for a reliability diagram.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of equal-width bins.
        mask: Rows that count; None counts all.

    Returns:
        Counts, mean confidences and accuracies, one a bin.

    Raises:
        ValueError: If num_bins < 1, or no row counts (outside jit).
    """
    require_examples(correct, mask)
    return _reliability(confidence, correct, mask, num_bins)


@partial(jax.jit, static_argnames="num_bins")
def _reliability(
    confidence: Column, correct: Flags, mask: Flags | None, num_bins: int
) -> ReliabilityBins:
    valid = valid_rows(correct, mask)
    bins = bin_index(confidence, num_bins)
    numbers = jnp.arange(num_bins, dtype=jnp.int32)[None, :]
    inside = (bins[:, None] == numbers) & valid[:, None]
    count = jnp.sum(inside, axis=0, dtype=jnp.int32)
    right = jnp.sum(inside & jnp.asarray(correct)[:, None], axis=0, dtype=jnp.int32)
    confidence = jnp.where(valid, jnp.asarray(confidence, jnp.float32), 0.0)
    return ReliabilityBins(
        num_examples=count,
        confidence=jnp.sum(binned(confidence, bins, num_bins), axis=0)
        / as_float(count),
        accuracy=as_float(right) / as_float(count),
    )


def mean_confidence(confidence: Column, *, mask: Flags | None = None) -> Scalar:
    """Mean probability of the prediction; less accuracy, it is the overconfidence.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1]; NaN if a confidence is, or, under jit, if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    return masked_mean(confidence, mask)
