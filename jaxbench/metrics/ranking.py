"""How well a confidence ranks right examples above wrong ones.

The same numbers measure the detection of out-of-distribution images: the
in-distribution ones are the positives then.
"""

from typing import Literal

import jax.numpy as jnp

from jaxbench.metrics import galil
from jaxbench.metrics.checks import check_choice, check_columns, check_fraction
from jaxbench.metrics.ranked import (
    TieCounts,
    as_float,
    over_ranking,
    whole_part,
)
from jaxbench.metrics.sums import accurate_sum
from jaxbench.metrics.types import Column, Flags, Scalar


def auroc_of_counts(counts: TieCounts) -> Scalar:
    """AUROC from block counts; see `area_under_roc`."""
    inside = counts.correct_through - counts.correct_before
    wrong = counts.rows_through - counts.rows_before - inside
    # The share of right examples that stand above a wrong one, ties counted half.
    above = as_float(counts.correct_before + counts.correct_through) / 2.0
    share = above / as_float(counts.total_correct)
    pairs = accurate_sum(jnp.where(counts.ends_block, as_float(wrong) * share, 0.0))
    auroc = pairs / as_float(counts.total - counts.total_correct)
    return jnp.where(counts.comparable, auroc, jnp.nan)


def area_under_roc(
    confidence: Column,
    correct: Flags,
    *,
    mask: Flags | None = None,
    compat: Literal["galil"] | None = None,
) -> Scalar | float:
    """Probability that a right example is ranked above a wrong one; a tie is one half.

    AUROC = P(c+ > c-) + P(c+ = c-) / 2 over pairs of a right (positive) and a wrong
    (negative) example: the Mann-Whitney statistic, which is the area under the ROC
    curve. Fawcett (2006): https://doi.org/10.1016/j.patrec.2005.10.010.

    Args:
        confidence: Higher is more confident, on any monotone scale. Give
            -log(1 - p) rather than p: p rounds to 1, and ties there.
        correct: Whether each example is right, or positive.
        mask: Rows that count; None counts all.
        compat: "galil" for the code published with arXiv 2302.11874, on the host in
            float64: see `jaxbench.metrics.galil`.

    Returns:
        In [0, 1], 0.5 for a confidence that says nothing. NaN if all examples are
        right or all are wrong, or, under jit, if a confidence is NaN or no row
        counts.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    check_choice("compat", compat, (None, "galil"))
    check_columns(mask, floats={"confidence": confidence}, flags={"correct": correct})
    if compat == "galil":
        return galil.auroc(confidence, correct, mask)
    return over_ranking(auroc_of_counts, confidence, correct, mask)


def average_precision_of_counts(counts: TieCounts) -> Scalar:
    """Average precision from block counts; see `average_precision`."""
    precision = as_float(counts.correct_through) / as_float(counts.rows_through)
    gained = jnp.where(
        counts.ends_block, counts.correct_through - counts.correct_before, 0
    )
    terms = jnp.where(gained > 0, as_float(gained) * precision, 0.0)
    area = accurate_sum(terms) / as_float(counts.total_correct)
    defined = counts.comparable & (counts.total > counts.total_correct)
    return jnp.where(defined, area, jnp.nan)


def average_precision(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """Area under the precision-recall curve, as the step-wise sum.

    AUPR = sum over thresholds t of (recall_t - recall_before_t) precision_t, where a
    threshold takes a tied block whole, as scikit-learn's `average_precision_score`
    does. No trapezoid: interpolating precision linearly is too optimistic. Davis and
    Goadrich (2006): https://doi.org/10.1145/1143844.1143874.

    Args:
        confidence: Higher is more positive, on any monotone scale.
        correct: Whether each example is positive. For out-of-distribution images as
            the positives, negate both.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1]; the share of positives for a confidence that says nothing. NaN
        without positives or without negatives (where scikit-learn has 0 and 1), or,
        under jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    check_columns(mask, floats={"confidence": confidence}, flags={"correct": correct})
    return over_ranking(average_precision_of_counts, confidence, correct, mask)


def fpr_of_counts(counts: TieCounts, true_positive_rate: float) -> Scalar:
    """False positive rate from block counts; see `fpr_at_tpr`."""
    lost = whole_part(counts.total_correct, 1.0 - true_positive_rate)
    kept = counts.correct_through >= counts.total_correct - lost
    wrong_through = counts.rows_through - counts.correct_through
    total_wrong = counts.total - counts.total_correct
    # The least count among the thresholds that keep enough is that of the highest.
    false_positives = jnp.min(jnp.where(kept, wrong_through, total_wrong))
    defined = counts.comparable & (counts.total_correct > 0) & (total_wrong > 0)
    rate = as_float(false_positives) / as_float(total_wrong)
    return jnp.where(defined, rate, jnp.nan)


def fpr_at_tpr(
    confidence: Column,
    correct: Flags,
    *,
    true_positive_rate: float = 0.95,
    mask: Flags | None = None,
) -> Scalar:
    """Share of negatives at or above the threshold that keeps enough positives.

    The threshold is the highest confidence t at which at least `true_positive_rate`
    of the positives have confidence >= t; examples tied with it are all kept.
    Hendrycks et al. (2019), FPR95: https://arxiv.org/abs/1812.04606.

    Args:
        confidence: Higher is more positive (more in-distribution).
        correct: Whether each example is positive.
        true_positive_rate: In (0, 1]; known when tracing.
        mask: Rows that count; None counts all.

    Returns:
        A fraction in [0, 1], lower is better. NaN without positives or without
        negatives, or, under jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If the rate is outside (0, 1], columns do not fit, a confidence
            is NaN, or no row counts (the last two outside jit).
    """
    check_fraction("true_positive_rate", true_positive_rate, low_open=True)
    check_columns(mask, floats={"confidence": confidence}, flags={"correct": correct})
    parameters = (true_positive_rate,)
    return over_ranking(fpr_of_counts, confidence, correct, mask, parameters)
