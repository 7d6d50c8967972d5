"""Bins of confidence measured: what calibration errors and diagrams are made of."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxbench.metrics.binning import NUM_BINS, BinSums, bin_index
from jaxbench.metrics.binomial import wilson_interval
from jaxbench.metrics.checks import (
    check_choice,
    check_columns,
    check_count,
    check_fraction,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import valid_rows
from jaxbench.metrics.records import record
from jaxbench.metrics.samples import sort_columns
from jaxbench.metrics.sums import ExactSum, accurate_sum, sum_by_pieces
from jaxbench.metrics.types import Column, Flags

Binning = Literal["equal_width", "equal_mass"]


@record
class ReliabilityBins(NamedTuple):
    """What a reliability diagram draws, per bin of confidence.

    Attributes:
        num_examples: Examples in the bin.
        confidence: Their mean confidence; NaN in an empty bin.
        accuracy: The share of them that is right; NaN in an empty bin.
        low: Lower end of the accuracy's Wilson interval; NaN in an empty bin.
        high: Its upper end.
    """

    num_examples: Int[jax.Array, " bins"]
    confidence: Float[jax.Array, " bins"]
    accuracy: Float[jax.Array, " bins"]
    low: Float[jax.Array, " bins"]
    high: Float[jax.Array, " bins"]


def reliability_bins(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal_width",
    level: float = 0.95,
    mask: Flags | None = None,
) -> ReliabilityBins:
    """The bins of `expected_calibration_error`, for a reliability diagram.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of bins.
        binning: As in `expected_calibration_error`; bins go by rising confidence
            either way.
        level: Coverage of each bin's Wilson (1927) interval, in (0, 1).
        mask: Rows that count; None counts all.

    Returns:
        Counts, mean confidences, accuracies and their intervals, one a bin.

    Raises:
        ValueError: If columns or settings do not fit, a confidence is not a
            probability, or no row counts (the last two outside jit).
    """
    check_fraction("level", level, low_open=True, high_open=True)
    bins = over_bins(_itself, confidence, correct, mask, num_bins, binning)
    # A column with a confidence that is none has no bins at all.
    empty = (bins.num_examples == 0) | jnp.isnan(bins.gap)
    accuracy = jnp.where(empty, jnp.nan, bins.accuracy)
    # A tied block that two bins share may leave them a fraction of a right answer.
    right = jnp.round(bins.correct.astype(jnp.float32)).astype(jnp.int32)
    low, high = wilson_interval(right, bins.num_examples, level=level)
    return ReliabilityBins(
        num_examples=bins.num_examples,
        confidence=accuracy + bins.mean_gap,
        accuracy=accuracy,
        low=jnp.where(empty, jnp.nan, low),
        high=jnp.where(empty, jnp.nan, high),
    )


def bin_sums(
    confidence: Column, correct: Flags, mask: Flags | None, num_bins: int
) -> BinSums:
    """Sums over equal-width bins, by rising confidence, without a sort."""
    valid = valid_rows(correct, mask)
    confidence = jnp.asarray(confidence, jnp.float32)
    right = jnp.asarray(correct) & valid
    gap = jnp.where(valid, confidence - right.astype(jnp.float32), 0.0)
    numbers = jnp.arange(num_bins, dtype=jnp.int32)[:, None]

    def sums(rows: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array, ExactSum]:
        confidence, valid, right, gap = rows
        inside = bin_index(confidence, num_bins)[None, :] == numbers
        gaps = jnp.where(inside, gap[None, :], 0.0)
        total = accurate_sum(gaps)
        return (
            jnp.sum(inside & valid[None, :], axis=1, dtype=jnp.int32),
            jnp.sum(inside & right[None, :], axis=1, dtype=jnp.int32),
            ExactSum(total, jnp.zeros_like(total)),
        )

    count, rights, gaps = sum_by_pieces(sums, (confidence, valid, right, gap))
    return BinSums(num_examples=count, correct=rights, gap=gaps.total)


def over_bins(
    kernel: Callable[[BinSums], Any],
    confidence: Column,
    correct: Flags,
    mask: Flags | None,
    num_bins: int,
    binning: Binning = "equal_width",
):
    """A number of the bins of two columns; NaN where a confidence is none."""
    check_calibrated(confidence, correct, mask, num_bins)
    check_choice("binning", binning, ("equal_width", "equal_mass"))
    return _measured(kernel, confidence, correct, mask, num_bins, binning)


@partial(compiled, static_argnames=("kernel", "num_bins", "binning"))
def _measured(kernel, confidence, correct, mask, num_bins: int, binning: Binning):
    if binning == "equal_width":
        found = kernel(bin_sums(confidence, correct, mask, num_bins))
    else:
        bins = sort_columns(confidence, correct, mask).equal_mass_bins(num_bins)
        found = kernel(jax.tree.map(lambda column: column[::-1], bins))
    sane = all_probabilities(confidence, mask)
    return jax.tree.map(
        lambda x: jnp.where(sane, x, jnp.nan) if x.dtype == jnp.float32 else x, found
    )


def all_probabilities(confidence: Column, mask: Flags | None):
    """Whether every confidence that counts lies in [0, 1]."""
    values = jnp.asarray(confidence)
    fits = (values >= 0.0) & (values <= 1.0)
    return jnp.all(fits | ~valid_rows(values, mask))


def _itself(bins: BinSums) -> BinSums:
    return bins


def check_calibrated(
    confidence: Column, correct: Flags, mask: Flags | None, num_bins: int = 1
) -> None:
    """Refuses columns and settings that no calibration error is defined on.

    Raises:
        ValueError: See `check_columns`, and if num_bins < 1.
    """
    check_count("num_bins", num_bins)
    check_columns(
        mask, probabilities={"confidence": confidence}, flags={"correct": correct}
    )
