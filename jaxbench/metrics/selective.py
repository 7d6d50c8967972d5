"""Selective prediction: answer the most confident examples, decline the rest.

The coverage is the share answered, the selective risk the error rate on it.
El-Yaniv and Wiener (2010): https://jmlr.org/papers/v11/el-yaniv10a.html.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics import galil
from jaxbench.metrics.checks import check_choice, check_columns, check_fraction
from jaxbench.metrics.ranked import (
    TieCounts,
    as_float,
    harmonic_between,
    over_ranking,
    ramp_between,
    whole_part,
)
from jaxbench.metrics.records import record
from jaxbench.metrics.sums import accurate_sum
from jaxbench.metrics.types import Column, Flags, Scalar

Scale = Literal["mean", "per_mille", "trapezoid"]


@record
class RiskCoverageCurve(NamedTuple):
    """Selective risk at each coverage i / N, i = 1..n; NaN past the N that count."""

    coverage: Float[jax.Array, " n"]
    risk: Float[jax.Array, " n"]


def curve_of_counts(counts: TieCounts) -> RiskCoverageCurve:
    """The curve from block counts under unit weights; see `risk_coverage_curve`."""
    place = jnp.arange(1, counts.weights.shape[0] + 1, dtype=jnp.int32)
    wrong_before, wrong_inside, size = _errors_of_blocks(counts)
    # Over the orders of a block, its errors are met at a steady rate on average.
    share = as_float(place - counts.rows_before) / size
    wrong = wrong_before + wrong_inside * share
    defined = (place <= counts.total) & counts.comparable
    return RiskCoverageCurve(
        coverage=jnp.where(defined, as_float(place) / as_float(counts.total), jnp.nan),
        risk=jnp.where(defined, wrong / as_float(place), jnp.nan),
    )


def _errors_of_blocks(counts: TieCounts):
    """Errors before each example's block, inside it, and its size."""
    size = counts.rows_through - counts.rows_before
    wrong_before = counts.rows_before - counts.correct_before
    wrong_inside = size - (counts.correct_through - counts.correct_before)
    return as_float(wrong_before), as_float(wrong_inside), as_float(size)


def aurc_of_counts(counts: TieCounts) -> Scalar:
    """AURC from block counts; see `area_under_risk_coverage`.

    A block that follows r places with w errors and holds m with b adds
    sum_{i=1..m} (w + i b / m) / (r + i). No part of it is negative, so that none
    cancels another.
    """
    wrong_before, wrong_inside, size = _errors_of_blocks(counts)
    met = counts.ends_block & (size > 0)
    rate = wrong_inside / jnp.where(met, size, 1.0)
    block = counts.rows_before, counts.rows_through
    area = wrong_before * harmonic_between(*block) + rate * ramp_between(*block)
    total = accurate_sum(jnp.where(met, area, 0.0))
    return jnp.where(counts.comparable, total / as_float(counts.total), jnp.nan)


def excess_aurc_of_counts(counts: TieCounts) -> Scalar:
    """E-AURC from block counts; see `excess_area_under_risk_coverage`.

    The oracle has R right examples first, and then meets an error at every place. So
    a block's excess is its own errors up to place R, and past it the right examples
    that are still to come.
    """
    wrong_before, wrong_inside, size = _errors_of_blocks(counts)
    met = counts.ends_block & (size > 0)
    size = jnp.where(met, size, 1.0)
    start, end = counts.rows_before, counts.rows_through
    middle = jnp.clip(counts.total_correct, start, end)
    errors = wrong_before * harmonic_between(start, middle)
    errors += wrong_inside / size * ramp_between(start, middle)
    # Of a block's right examples, the share up to the middle is met before it.
    share = (size - wrong_inside) / size
    later = as_float(counts.total_correct - counts.correct_before)
    later -= share * as_float(middle - start)
    missed = later * harmonic_between(middle, end) - share * ramp_between(middle, end)
    total = accurate_sum(jnp.where(met, errors + missed, 0.0))
    excess = jnp.maximum(total, 0.0) / as_float(counts.total)
    return jnp.where(counts.comparable, excess, jnp.nan)


def excess_augrc_of_counts(counts: TieCounts) -> Scalar:
    """E-AUGRC from block counts: the share of pairs in the wrong order."""
    wrong_before, wrong_inside, _ = _errors_of_blocks(counts)
    right = counts.correct_through - counts.correct_before
    inverted = as_float(right) * (wrong_before + wrong_inside / 2.0)
    pairs = accurate_sum(jnp.where(counts.ends_block, inverted, 0.0))
    share = pairs / as_float(counts.total) / as_float(counts.total)
    return jnp.where(counts.comparable, share, jnp.nan)


def augrc_of_counts(counts: TieCounts) -> Scalar:
    """AUGRC from block counts; see `area_under_generalized_risk_coverage`."""
    wrong = as_float(counts.total - counts.total_correct) / as_float(counts.total)
    return excess_augrc_of_counts(counts) + wrong * wrong / 2.0


def coverage_of_counts(counts: TieCounts, accuracy: float) -> Scalar:
    """Coverage from block counts; see `coverage_at_accuracy`."""
    wrong_through = counts.rows_through - counts.correct_through
    accepted = wrong_through <= whole_part(counts.rows_through, 1.0 - accuracy)
    most = jnp.max(jnp.where(accepted, counts.rows_through, 0))
    coverage = as_float(most) / as_float(counts.total)
    return jnp.where(counts.comparable, coverage, jnp.nan)


def risk_of_counts(counts: TieCounts, coverage: float) -> Scalar:
    """Risk from block counts; see `risk_at_coverage`."""
    place = counts.total - whole_part(counts.total, 1.0 - coverage)
    wrong_before, wrong_inside, size = _errors_of_blocks(counts)
    there = (counts.rows_before < place) & (place <= counts.rows_through)
    met = counts.ends_block & there
    share = as_float(place - counts.rows_before) / jnp.where(met, size, 1.0)
    wrong = jnp.sum(jnp.where(met, wrong_before + wrong_inside * share, 0.0))
    return jnp.where(counts.comparable, wrong / as_float(place), jnp.nan)


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
        and, under jit, throughout if a confidence is NaN.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    return _measured(curve_of_counts, confidence, correct, mask)


def area_under_risk_coverage(
    confidence: Column,
    correct: Flags,
    *,
    mask: Flags | None = None,
    scale: Scale = "mean",
    compat: Literal["galil"] | None = None,
) -> Scalar | float:
    """Mean selective risk over all coverages.

    AURC = 1/N sum_{i=1..N} (errors among the i most confident) / i. A tied block
    contributes the mean over all orders of its rows: i places into a block of m rows
    with b errors, i b / m of them are met on average. Geifman et al. (2019):
    https://arxiv.org/abs/1805.08206; Galil et al. (2023):
    https://arxiv.org/abs/2302.11874 (whose code leaves ties to an unstable sort).

    Args:
        confidence: Higher is more confident, on any monotone scale. Give
            -log(1 - p) rather than p: p rounds to 1, and ties there.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.
        scale: "mean" is the definition above, in [0, 1]. "per_mille" is a thousand
            times that, as tables print it. "trapezoid" is the area under the same
            curve by the trapezoid rule from coverage 1/N to 1, divided by 1 - 1/N,
            as torch-uncertainty has it; NaN for a single example.
        compat: "galil" for the code published with arXiv 2302.11874, on the host in
            float64: see `jaxbench.metrics.galil`. Only on scale "mean".

    Returns:
        Lower is better; 0 if all are right, 1 (or 1000) if all are wrong. NaN, under
        jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If columns or settings do not fit, a confidence is NaN, or no row
            counts (the last two outside jit).
    """
    check_choice("scale", scale, ("mean", "per_mille", "trapezoid"))
    check_choice("compat", compat, (None, "galil"))
    if compat == "galil":
        check_choice("scale, with compat='galil',", scale, ("mean",))
        check_columns(
            mask, floats={"confidence": confidence}, flags={"correct": correct}
        )
        return galil.aurc(confidence, correct, mask)
    kernels = {
        "mean": aurc_of_counts,
        "per_mille": _per_mille,
        "trapezoid": _trapezoid,
    }
    return _measured(kernels[scale], confidence, correct, mask)


def _per_mille(counts: TieCounts) -> Scalar:
    return 1000.0 * aurc_of_counts(counts)


def _trapezoid(counts: TieCounts) -> Scalar:
    total = as_float(counts.total)
    curve = curve_of_counts(counts)
    # Half of the first and of the last risk are what the mean counts and the
    # trapezoid does not.
    place = jnp.arange(1, counts.weights.shape[0] + 1, dtype=jnp.int32)
    ends = (place == 1) | (place == counts.total)
    half = jnp.sum(jnp.where(ends, curve.risk, 0.0)) / 2.0
    area = (aurc_of_counts(counts) * total - half) / (total - 1.0)
    return jnp.where(counts.total > 1, area, jnp.nan)


def excess_area_under_risk_coverage(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """AURC less that of an oracle that ranks every right example above every wrong.

    E-AURC = AURC - 1/N sum_{j=1..e} j / (N - e + j), e = number of errors. The oracle
    is that of the N examples, so that its own excess is 0; the closed form
    r + (1 - r) log(1 - r) of Geifman et al. (2019),
    https://arxiv.org/abs/1805.08206, is the same for N to infinity, and lower by
    about r / (2 N) else.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1), lower is better; 0 for the best possible order, and if all are
        right or all are wrong. NaN, under jit, if a confidence is NaN or no row
        counts.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    return _measured(excess_aurc_of_counts, confidence, correct, mask)


def area_under_generalized_risk_coverage(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """Mean over coverages of the share of all examples that are answered wrongly.

    The generalized risk at coverage i/N is (errors among the i most confident) / N:
    unlike the selective risk it does not weigh the errors at low coverage up. With
    the trapezoid rule from coverage 0 to 1, and ties in the mean over their orders,

    AUGRC = (1 - AUROC) a (1 - a) + (1 - a)^2 / 2, a = accuracy.

    Traub et al. (2024), eq. 6 and 7: https://arxiv.org/abs/2407.01032.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1/2], lower is better; 0 if all are right, 1/2 if all are wrong. NaN,
        under jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    return _measured(augrc_of_counts, confidence, correct, mask)


def excess_area_under_generalized_risk_coverage(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """AUGRC less that of the best order, which is (1 - accuracy)^2 / 2.

    E-AUGRC = (1 - AUROC) a (1 - a): the share of pairs of examples, of all N^2, in
    which a wrong one stands above a right one (ties one half). Traub et al. (2024):
    https://arxiv.org/abs/2407.01032.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1/4], lower is better; 0 if all are right or all are wrong. NaN, under
        jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If columns do not fit, a confidence is NaN, or no row counts
            (the last two outside jit).
    """
    return _measured(excess_augrc_of_counts, confidence, correct, mask)


def risk_at_coverage(
    confidence: Column,
    correct: Flags,
    *,
    coverage: float,
    mask: Flags | None = None,
) -> Scalar:
    """Error rate on the most confident examples that make up a share of all.

    The ceil(coverage N) most confident are answered; where the last place falls into
    a tied block, the risk is the mean over the block's orders. Geifman and El-Yaniv
    (2017): https://arxiv.org/abs/1705.08500.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        coverage: In (0, 1]; known when tracing.
        mask: Rows that count; None counts all.

    Returns:
        In [0, 1], lower is better. NaN, under jit, if a confidence is NaN or no row
        counts.

    Raises:
        ValueError: If the coverage is outside (0, 1], columns do not fit, a
            confidence is NaN, or no row counts (the last two outside jit).
    """
    check_fraction("coverage", coverage, low_open=True)
    return _measured(risk_of_counts, confidence, correct, mask, coverage)


def coverage_at_accuracy(
    confidence: Column,
    correct: Flags,
    *,
    accuracy: float,
    mask: Flags | None = None,
    compat: Literal["galil"] | None = None,
) -> Scalar | float:
    """The largest share of examples that can be answered at the required accuracy.

    max i / N over the i at which the i most confident examples have accuracy >=
    `accuracy`. A confidence threshold cannot part equal confidences, so a tied block
    is answered whole or not at all: i runs over the ends of blocks. The comparison
    is made in integers.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        accuracy: Required, in [0, 1]; known when tracing.
        mask: Rows that count; None counts all.
        compat: "galil" for the code published with arXiv 2302.11874, which answers
            another question, on the host in float64: see `jaxbench.metrics.galil`.

    Returns:
        A fraction in [0, 1], higher is better; 0 if no coverage reaches the accuracy.
        NaN, under jit, if a confidence is NaN or no row counts.

    Raises:
        ValueError: If the accuracy is outside [0, 1], columns do not fit, a
            confidence is NaN, or no row counts (the last two outside jit).
    """
    check_fraction("accuracy", accuracy)
    check_choice("compat", compat, (None, "galil"))
    if compat == "galil":
        check_columns(
            mask, floats={"confidence": confidence}, flags={"correct": correct}
        )
        return galil.coverage_at_accuracy(confidence, correct, mask, accuracy)
    return _measured(coverage_of_counts, confidence, correct, mask, accuracy)


def _measured(kernel, confidence: Column, correct: Flags, mask, *parameters: float):
    check_columns(mask, floats={"confidence": confidence}, flags={"correct": correct})
    return over_ranking(kernel, confidence, correct, mask, parameters)
