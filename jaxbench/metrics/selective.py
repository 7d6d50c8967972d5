"""Selective prediction: answer the most confident examples, decline the rest.

The coverage is the share answered, the selective risk the error rate on it.
El-Yaniv and Wiener (2010): https://jmlr.org/papers/v11/el-yaniv10a.html.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics.ranked import (
    TieCounts,
    as_float,
    over_ranking,
    require_examples,
    whole_part,
)
from jaxbench.metrics.types import Column, Flags, Scalar

# arXiv 2302.11874's code ignores violations among this many most confident examples.
GALIL_GRACE = 200


class RiskCoverageCurve(NamedTuple):
    """Selective risk at each coverage i / N, i = 1..n; NaN past the N that count."""

    coverage: Float[jax.Array, " n"]
    risk: Float[jax.Array, " n"]


def curve_of_counts(counts: TieCounts) -> RiskCoverageCurve:
    """The curve from block counts; see `risk_coverage_curve`."""
    place = jnp.arange(1, counts.weights.shape[0] + 1, dtype=jnp.int32)
    at = counts.example_at
    before, through = counts.rows_before[at], counts.rows_through[at]
    wrong_before = before - counts.correct_before[at]
    wrong_inside = through - counts.correct_through[at] - wrong_before
    # Over the orders of a block, its errors are met at a steady rate on average.
    share = as_float(place - before) / as_float(through - before)
    wrong = as_float(wrong_before) + as_float(wrong_inside) * share
    defined = (place <= counts.total) & counts.comparable
    return RiskCoverageCurve(
        coverage=jnp.where(defined, as_float(place) / as_float(counts.total), jnp.nan),
        risk=jnp.where(defined, wrong / as_float(place), jnp.nan),
    )


def aurc_of_counts(counts: TieCounts) -> Scalar:
    """AURC from block counts; see `area_under_risk_coverage`."""
    risk = curve_of_counts(counts).risk
    place = jnp.arange(1, risk.shape[0] + 1, dtype=jnp.int32)
    area = jnp.sum(jnp.where(place <= counts.total, risk, 0.0)) / as_float(counts.total)
    return jnp.where(counts.comparable, area, jnp.nan)


def coverage_of_counts(counts: TieCounts, accuracy: float) -> Scalar:
    """Coverage from block counts; see `coverage_at_accuracy`."""
    wrong_through = counts.rows_through - counts.correct_through
    accepted = wrong_through <= whole_part(counts.rows_through, 1.0 - accuracy)
    most = jnp.max(jnp.where(accepted, counts.rows_through, 0))
    coverage = as_float(most) / as_float(counts.total)
    return jnp.where(counts.comparable, coverage, jnp.nan)


def risk_coverage_curve(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> RiskCoverageCurve:
    """Selective risk at each coverage: the expectation over the orders of tied blocks.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        Two columns of length n, by rising coverage; NaN past the rows that count,
        and throughout if a confidence is NaN.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    require_examples(correct, mask)
    return over_ranking(curve_of_counts, confidence, correct, mask)


def area_under_risk_coverage(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """Mean selective risk over all coverages.

    AURC = 1/N sum_{i=1..N} (errors among the i most confident) / i. A tied block
    contributes the mean over all orders of its rows: i places into a block of m rows
    with b errors, i b / m of them are met on average. No trapezoid, no x1000.
    Geifman et al. (2019): https://arxiv.org/abs/1805.08206; Galil et al. (2023):
    https://arxiv.org/abs/2302.11874 (whose code leaves ties to an unstable sort).

    Args:
        confidence: Higher is more confident, on any monotone scale. Give
            -log(1 - p) rather than p: p rounds to 1, and ties there.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1], lower is better; 0 if all are right, 1 if all are wrong. NaN if a
        confidence is, or, under jit, if no row counts.

    Raises:
        ValueError: If no row counts (outside jit).
    """
    require_examples(correct, mask)
    return over_ranking(aurc_of_counts, confidence, correct, mask)


def coverage_at_accuracy(
    confidence: Column,
    correct: Flags,
    *,
    accuracy: float,
    mask: Flags | None = None,
    compat: Literal["galil"] | None = None,
) -> Scalar:
    """The largest share of examples that can be answered at the required accuracy.

    max i / N over the i at which the i most confident examples have accuracy >=
    `accuracy`. A confidence threshold cannot part equal confidences, so a tied block
    is answered whole or not at all: i runs over the ends of blocks. The comparison
    is made in integers.

    `compat="galil"` is the code published with arXiv 2302.11874, as it is: the first
    place past 200 where the accuracy falls below the requirement (an earlier one
    only if there is none), divided by N + 1, and 0 if it never falls below; ties
    broken against the model (wrong rows first), where the code leaves them to its
    sort. The code fails for N <= 200; here the result is NaN.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        accuracy: Required, in [0, 1]; known when tracing.
        mask: Rows that count; None counts all.
        compat: None for the definition above.

    Returns:
        A fraction in [0, 1], higher is better; 0 if no coverage reaches the accuracy.
        NaN if a confidence is, or, under jit, if no row counts.

    Raises:
        ValueError: If the accuracy is outside [0, 1], compat is unknown, or no row
            counts (outside jit).
    """
    if not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy is {accuracy}; wanted a fraction in [0, 1]")
    if compat not in (None, "galil"):
        raise ValueError(f"compat is {compat!r}; wanted None or 'galil'")
    require_examples(correct, mask)
    kernel = _galil_coverage if compat == "galil" else coverage_of_counts
    return over_ranking(kernel, confidence, correct, mask, (accuracy,))


def _galil_coverage(counts: TieCounts, accuracy: float) -> Scalar:
    place = jnp.arange(1, counts.weights.shape[0] + 1, dtype=jnp.int32)
    wrong = place - jnp.cumsum(counts.correct, dtype=jnp.int32)
    below = (wrong > whole_part(place, 1.0 - accuracy)) & (place <= counts.total)
    # argmax of all-false is 0, in their NumPy as here.
    strict = jnp.argmax(below)
    loose = jnp.argmax(below & (place > GALIL_GRACE))
    first = jnp.where(loose > GALIL_GRACE, loose, strict)
    coverage = as_float(first) / as_float(counts.total + 1)
    defined = counts.comparable & (counts.total > GALIL_GRACE)
    return jnp.where(defined, coverage, jnp.nan)
