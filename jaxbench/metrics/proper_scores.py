"""Proper scoring rules: smallest, in expectation, for the true probabilities.

Gneiting and Raftery (2007): https://doi.org/10.1198/016214506000001437.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxbench.metrics.binning import (
    NUM_BINS,
    BinSums,
    reliability,
    resolution,
    uncertainty,
)
from jaxbench.metrics.ranked import masked_mean
from jaxbench.metrics.records import record
from jaxbench.metrics.reliability import over_bins
from jaxbench.metrics.scores import score_examples
from jaxbench.metrics.types import Column, Flags, Labels, Logits, Scalar


@record
class BrierDecomposition(NamedTuple):
    """Parts of the Brier score of "the prediction is right".

    score = reliability - resolution + uncertainty + within_bins.

    Attributes:
        score: Mean of (confidence - correct)^2, in [0, 1].
        reliability: Mean squared gap between the bins' confidence and accuracy; 0 is
            calibrated.
        resolution: Variance of the bins' accuracies; as high as possible.
        uncertainty: accuracy (1 - accuracy): what the images decide.
        within_bins: What bins hide: the variance of confidence inside them less twice
            its covariance with being right.
    """

    score: Scalar
    reliability: Scalar
    resolution: Scalar
    uncertainty: Scalar
    within_bins: Scalar


def negative_log_likelihood(
    logits: Logits, labels: Labels, *, mask: Flags | None = None
) -> Scalar:
    """Mean of -log softmax(logits)[label], in nats.

    Has gradients. Of `ExampleScores` it is the mean of the `nll` column.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k); -1 makes the result NaN.
        mask: Rows that count; None counts all.

    Returns:
        At least 0, lower is better; NaN under jit if no row counts, or one that does
        is not finite.

    Raises:
        ValueError: As `score_examples`, and if no row counts (outside jit).
    """
    return masked_mean(score_examples(logits, labels, mask=mask).nll, mask)


def brier_score(logits: Logits, labels: Labels, *, mask: Flags | None = None) -> Scalar:
    """Mean squared distance between probabilities and one-hot labels.

    The sum over all classes, as Brier (1950) has it, so two classes give twice the
    one-sided binary score: https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    Has gradients.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k); -1 makes the result NaN.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 2], lower is better; NaN under jit if no row counts, or one that does
        is not finite.

    Raises:
        ValueError: As `score_examples`, and if no row counts (outside jit).
    """
    return masked_mean(score_examples(logits, labels, mask=mask).brier, mask)


def brier_decomposition(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> BrierDecomposition:
    """Murphy's parts of the Brier score of "the prediction is right".

    With bins b of confidence, their accuracy a_b, mean confidence c_b and share n_b/n:
    reliability = sum n_b/n (c_b - a_b)^2, resolution = sum n_b/n (a_b - a)^2,
    uncertainty = a (1 - a). Murphy (1973):
    https://doi.org/10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2. The three make up
    the score of binned confidences; what is left within bins is the fourth part, after
    Stephenson et al. (2008): https://doi.org/10.1175/2007WAF2006116.1.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of equal-width bins, as in `expected_calibration_error`.
        mask: Rows that count; None counts all.

    Returns:
        The score and its parts. NaN, under jit, if a confidence is not a probability or
        no row counts.

    Raises:
        ValueError: If columns do not fit, num_bins < 1, a confidence is no
            probability, or no row counts (the last two outside jit).
    """
    parts = over_bins(_parts, confidence, correct, mask, num_bins)
    values = jnp.asarray(confidence, jnp.float32)
    gap = values - jnp.asarray(correct).astype(jnp.float32)
    score = masked_mean(gap * gap, mask)
    explained = parts[0] - parts[1] + parts[2]
    return BrierDecomposition(score, *parts, within_bins=score - explained)


def _parts(bins: BinSums) -> tuple[jax.Array, jax.Array, jax.Array]:
    return reliability(bins), resolution(bins), uncertainty(bins)
