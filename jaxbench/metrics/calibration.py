"""Calibration: does a confidence of 0.8 come true eight times in ten?"""

from functools import partial
from typing import Literal

import jax.numpy as jnp

from jaxbench.metrics import galil
from jaxbench.metrics.binning import (
    NUM_BINS,
    BinSums,
    debiased_expected_error,
    debiased_squared_error,
    expected_error,
    maximum_error,
    squared_error,
)
from jaxbench.metrics.checks import check_choice, check_columns, takes_scores
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, masked_mean, valid_rows
from jaxbench.metrics.reliability import (
    Binning,
    all_probabilities,
    check_calibrated,
    over_bins,
)
from jaxbench.metrics.samples import sort_columns
from jaxbench.metrics.smooth import smooth_error, smooth_error_at, spread_on_mesh
from jaxbench.metrics.types import Column, Flags, Scalar

Compat = Literal["galil"] | None


def expected_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal_width",
    mask: Flags | None = None,
    compat: Compat = None,
) -> Scalar | float:
    """Mean gap between accuracy and confidence over bins of confidence.

    ECE = sum_b n_b / n |accuracy_b - confidence_b|. Of equal width, bin b holds
    confidences in (b / B, (b + 1) / B], 0.0 the first; an empty bin adds nothing.
    Guo et al. (2017), eq. 3: https://arxiv.org/abs/1706.04599. Of equal mass, bin b
    holds the places floor(b n / B) + 1 to floor((b + 1) n / B) by falling confidence,
    and a tied block on an edge is spread evenly over its places; Nguyen and O'Connor
    (2015): https://arxiv.org/abs/1508.05154.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: 15 in the paper and in most tables.
        binning: Whether bins are equally wide or equally full.
        mask: Rows that count; None counts all.
        compat: "galil" for the code published with arXiv 2302.11874, on the host in
            float64: see `jaxbench.metrics.galil`. Only with bins of equal width.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if a confidence is no
        probability or no row counts.

    Raises:
        ValueError: If columns or settings do not fit, a confidence is not a
            probability, or no row counts (the last two outside jit).
    """
    if _is_galil(compat, binning):
        check_calibrated(confidence, correct, mask, num_bins)
        return galil.calibration_errors(confidence, correct, mask, num_bins)[0]
    return over_bins(expected_error, confidence, correct, mask, num_bins, binning)


def maximum_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal_width",
    mask: Flags | None = None,
    compat: Compat = None,
) -> Scalar | float:
    """Largest gap between accuracy and confidence of any bin that holds an example.

    MCE = max_b |accuracy_b - confidence_b|; a bin of one example counts as one of a
    thousand does. Guo et al. (2017), eq. 5: https://arxiv.org/abs/1706.04599.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of bins.
        binning: As in `expected_calibration_error`.
        mask: Rows that count; None counts all.
        compat: As in `expected_calibration_error`.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if a confidence is no
        probability or no row counts.

    Raises:
        ValueError: As `expected_calibration_error`.
    """
    if _is_galil(compat, binning):
        check_calibrated(confidence, correct, mask, num_bins)
        return galil.calibration_errors(confidence, correct, mask, num_bins)[1]
    return over_bins(maximum_error, confidence, correct, mask, num_bins, binning)


def debiased_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar:
    """ECE less what it would be, on average, for a calibrated model of this size.

    The plug-in ECE of n examples exceeds the ECE of infinitely many, since |noise| is
    positive. With the bin's accuracy normal around the truth, of variance
    accuracy (1 - accuracy) / n_b, the debiased error is
    sum_b n_b / n (2 |gap_b| - E|gap_b + noise_b|), the mean of a folded normal in
    closed form. Kumar et al. (2019), section 5: https://arxiv.org/abs/1909.10155
    (whose code draws the noise).

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of equal-width bins.
        mask: Rows that count; None counts all.

    Returns:
        In [-1, 1], lower is better; a calibrated model is as often below 0 as above.
        NaN, under jit, if a confidence is not a probability or no row counts.

    Raises:
        ValueError: If columns do not fit, num_bins < 1, a confidence is no
            probability, or no row counts (the last two outside jit).
    """
    return over_bins(debiased_expected_error, confidence, correct, mask, num_bins)


def root_mean_square_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    debias: bool = False,
    mask: Flags | None = None,
) -> Scalar:
    """Root of the mean squared gap between accuracy and confidence over bins.

    RMSCE = sqrt(sum_b n_b / n (accuracy_b - confidence_b)^2); large gaps weigh more
    than in ECE. `debias` takes accuracy_b (1 - accuracy_b) / (n_b - 1) off each
    squared gap, which makes the square unbiased. Kumar et al. (2019), definitions
    2.2 and 5.1: https://arxiv.org/abs/1909.10155.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        num_bins: Number of equal-width bins.
        debias: Whether to take the bins' sampling noise off; a negative square
            counts as 0.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if a confidence is no
        probability or no row counts.

    Raises:
        ValueError: If columns do not fit, num_bins < 1, a confidence is no
            probability, or no row counts (the last two outside jit).
    """
    kernel = debiased_squared_error if debias else squared_error
    squared = over_bins(kernel, confidence, correct, mask, num_bins)
    return jnp.sqrt(jnp.where(squared < 0.0, 0.0, squared))


def kolmogorov_smirnov_calibration_error(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """Largest gap between the cumulative sums of confidence and of right answers.

    KS = max_i 1/n |sum_{j<=i} (confidence_j - correct_j)| by rising confidence; tied
    examples are taken together. No bins. Gupta et al. (2021), section 3:
    https://arxiv.org/abs/2006.12800.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if a confidence is no
        probability or no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is not a probability, or no row
            counts (the last two outside jit).
    """
    check_calibrated(confidence, correct, mask)
    return _kolmogorov_smirnov(confidence, correct, mask)


def smooth_calibration_error(
    confidence: Column,
    correct: Flags,
    *,
    bandwidth: float | None = None,
    mask: Flags | None = None,
) -> Scalar:
    """Mean gap between confidence and accuracy after Gaussian smoothing: smooth ECE.

    smECE_s = integral over t of |1/n sum_i K_s(t, confidence_i) (confidence_i -
    correct_i)|, K_s a Gaussian of deviation s reflected at 0 and 1. The bandwidth is
    the one at which smECE_s = s, which makes the measure continuous in the
    confidences, where ECE jumps at the edges of its bins. Blasiok and Nakkiran
    (2023), definition 1 and theorem 7: https://arxiv.org/abs/2309.12236.

    Residuals are summed on a mesh of 1,024 cells and smoothed by 256 cosines: to 1e-5
    for a result above 0.002, to 2e-4 below.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        bandwidth: In (0, inf); None finds the fixed point.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if a confidence is no
        probability or no row counts.

    Raises:
        ValueError: If the bandwidth is not positive, columns do not fit, a
            confidence is not a probability, or no row counts (the last two outside
            jit).
    """
    check_calibrated(confidence, correct, mask)
    if bandwidth is not None and not 0.0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth is {bandwidth}; wanted a number in (0, inf)")
    return _smooth(confidence, correct, mask, bandwidth)


def signed_calibration_gap(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """Mean confidence less accuracy: above 0 the model is overconfident.

    Gaps of opposite sign cancel, so |gap| <= ECE. Galil et al. (2023) print it as
    two columns: https://arxiv.org/abs/2302.11874.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        correct: Whether each prediction is right.
        mask: Rows that count; None counts all.

    Returns:
        In [-1, 1], best at 0. NaN, under jit, if a confidence is not a probability or
        no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is not a probability, or no row
            counts (the last two outside jit).
    """
    return over_bins(_signed_gap, confidence, correct, mask, 1)


@takes_scores
def mean_confidence(confidence: Column, *, mask: Flags | None = None) -> Scalar:
    """Mean probability of the prediction; less accuracy, it is the overconfidence.

    Args:
        confidence: Probability of the prediction, in [0, 1].
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1]. NaN, under jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is not a probability, or no row
            counts (the last two outside jit).
    """
    check_columns(mask, probabilities={"confidence": confidence})
    return masked_mean(confidence, mask)


@compiled
def _kolmogorov_smirnov(
    confidence: Column, correct: Flags, mask: Flags | None
) -> Scalar:
    error = sort_columns(confidence, correct, mask).largest_partial_gap()
    return jnp.where(all_probabilities(confidence, mask), error, jnp.nan)


@partial(compiled, static_argnames="bandwidth")
def _smooth(
    confidence: Column, correct: Flags, mask: Flags | None, bandwidth: float | None
) -> Scalar:
    valid = valid_rows(correct, mask)
    values = jnp.where(valid, jnp.asarray(confidence, jnp.float32), 0.0)
    right = (jnp.asarray(correct) & valid).astype(jnp.float32)
    count = jnp.sum(valid, dtype=jnp.int32)
    residuals = spread_on_mesh(values, values - right) / as_float(count)
    if bandwidth is None:
        error = smooth_error(residuals)
    else:
        error = smooth_error_at(residuals, jnp.float32(bandwidth))
    return jnp.where(all_probabilities(confidence, mask), error, jnp.nan)


def _signed_gap(bins: BinSums) -> Scalar:
    return jnp.sum(bins.gap) / bins.total


def _is_galil(compat: Compat, binning: Binning) -> bool:
    check_choice("compat", compat, (None, "galil"))
    if compat == "galil":
        check_choice("binning, with compat='galil',", binning, ("equal_width",))
    return compat == "galil"
