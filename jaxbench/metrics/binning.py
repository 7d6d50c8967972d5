"""Bins of confidence, and what calibration errors make of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from jaxtyping import Float, Int

from jaxbench.metrics.ranked import as_float
from jaxbench.metrics.records import record
from jaxbench.metrics.types import Column, Scalar

NUM_BINS = 15


@record
class BinSums(NamedTuple):
    """Sums over the examples of each bin.

    Attributes:
        num_examples: Examples.
        correct: Right ones; fractions of a tied block in bins of equal mass.
        gap: Sum of confidence - correct.
    """

    num_examples: Int[jax.Array, " bins"]
    correct: Int[jax.Array, " bins"] | Float[jax.Array, " bins"]
    gap: Float[jax.Array, " bins"]

    @property
    def total(self) -> Scalar:
        """Number of examples."""
        return as_float(jnp.sum(self.num_examples, dtype=jnp.int32))

    @property
    def wrong(self) -> Float[jax.Array, " bins"]:
        """Wrong examples of each bin."""
        if jnp.issubdtype(self.correct.dtype, jnp.integer):
            return as_float(self.num_examples - self.correct)
        return as_float(self.num_examples) - self.correct

    @property
    def noise(self) -> Float[jax.Array, " bins"]:
        """Accuracy (1 - accuracy) of each bin; 0 in an empty one."""
        return self.accuracy * self.wrong / as_float(jnp.maximum(self.num_examples, 1))

    @property
    def base_rates(self) -> tuple[Scalar, Scalar]:
        """Shares of right and of wrong examples; NaN if a confidence was.

        Counted apart: at an accuracy near 1, one less the other would have lost digits.
        """
        right = jnp.sum(self.correct.astype(jnp.float32)) / self.total
        wrong = jnp.sum(self.wrong) / self.total
        broken = jnp.isnan(jnp.sum(self.gap))
        return jnp.where(broken, jnp.nan, right), jnp.where(broken, jnp.nan, wrong)

    @property
    def mean_gap(self) -> Float[jax.Array, " bins"]:
        """Mean confidence less accuracy; 0 in an empty bin."""
        return self.gap / as_float(jnp.maximum(self.num_examples, 1))

    @property
    def accuracy(self) -> Float[jax.Array, " bins"]:
        """Share of right examples; 0 in an empty bin."""
        right = self.correct.astype(jnp.float32)
        return right / as_float(jnp.maximum(self.num_examples, 1))


def upper_edges(num_bins: int) -> np.ndarray:
    """Inner edges of equal-width bins, float32, rising.

    NumPy's, because XLA multiplies by a rounded 1 / num_bins.
    """
    return (np.arange(1, num_bins) / num_bins).astype(np.float32)


def bin_index(confidence: Column, num_bins: int = NUM_BINS) -> Int[jax.Array, " n"]:
    """The bin of each confidence: b holds (b / num_bins, (b + 1) / num_bins].

    0.0 belongs to the first bin and 1.0 to the last. NaN goes to the first, where it
    makes the bin's sums NaN.
    """
    confidence = jnp.asarray(confidence, jnp.float32)
    # Compared with the edges themselves: ceil(confidence * num_bins) rounds, and
    # puts a confidence that equals an edge into the bin above it now and then.
    edges = upper_edges(num_bins)
    return jnp.sum(confidence[:, None] > edges[None, :], axis=1, dtype=jnp.int32)


def expected_error(bins: BinSums) -> Scalar:
    """ECE: the mean over examples of their bin's absolute gap."""
    return jnp.sum(jnp.abs(bins.gap)) / bins.total


def maximum_error(bins: BinSums) -> Scalar:
    """MCE: the largest absolute gap of a bin that holds an example."""
    largest = jnp.max(jnp.abs(bins.mean_gap))
    return jnp.where(bins.total > 0.0, largest, jnp.nan)


def squared_error(bins: BinSums) -> Scalar:
    """The mean over examples of their bin's squared gap."""
    return jnp.sum(bins.gap * bins.mean_gap) / bins.total


def debiased_squared_error(bins: BinSums) -> Scalar:
    """The same, less what the bins' sampling noise adds to it on average."""
    count = as_float(bins.num_examples)
    noise = bins.noise / jnp.maximum(count - 1.0, 1.0)
    # A single example says nothing of its bin's noise.
    known = jnp.where(bins.num_examples > 1, noise, 0.0)
    return squared_error(bins) - jnp.sum(count * known) / bins.total


def debiased_expected_error(bins: BinSums) -> Scalar:
    """ECE less its bias: 2 |gap| - E|normal(gap, noise)| over bins."""
    gap = jnp.abs(bins.mean_gap)
    count = as_float(jnp.maximum(bins.num_examples, 1))
    deviation = jnp.sqrt(bins.noise / count)
    certain = deviation == 0.0
    ratio = gap / jnp.where(certain, 1.0, deviation)
    spread = deviation * jnp.sqrt(2.0 / jnp.pi) * jnp.exp(-ratio * ratio / 2.0)
    folded = spread + gap * erf(ratio / jnp.sqrt(2.0).astype(jnp.float32))
    folded = jnp.where(certain, gap, folded)
    share = as_float(bins.num_examples) / bins.total
    return jnp.sum(share * (2.0 * gap - folded))


def reliability(bins: BinSums) -> Scalar:
    """Murphy's reliability term, which is the squared calibration error."""
    return squared_error(bins)


def resolution(bins: BinSums) -> Scalar:
    """Murphy's resolution term: the variance of the bins' accuracies."""
    right, wrong = bins.base_rates
    error = bins.wrong / as_float(jnp.maximum(bins.num_examples, 1))
    # The smaller of the two shares differs in more digits.
    apart = jnp.where(wrong < right, wrong - error, bins.accuracy - right)
    return jnp.sum(as_float(bins.num_examples) * apart * apart) / bins.total


def uncertainty(bins: BinSums) -> Scalar:
    """Murphy's uncertainty term: accuracy (1 - accuracy)."""
    right, wrong = bins.base_rates
    return right * wrong
