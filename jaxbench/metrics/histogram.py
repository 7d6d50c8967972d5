"""Order kept in a histogram: how far the metrics of order can be off, at most.

A stream does not keep its examples. It counts them in fine bins of
u = -log(1 - confidence), which does not saturate: the bins are a fixed part of each
octave of u, from 2^-11 (a confidence of 0.0005) to 2^7 (1 - 10^-55). Examples of one
bin are then tied, and the metrics of order are the means over their orders. The best
and the worst order of each bin bound what any order, and so the exact value, can be.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.ranked import (
    TieCounts,
    as_float,
    harmonic_between,
    whole_part,
)
from jaxbench.metrics.records import record
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.smooth import spread_on_mesh
from jaxbench.metrics.sums import ExactSum
from jaxbench.metrics.types import Scalar

_FIRST_OCTAVE, _LAST_OCTAVE = -11, 7
_BINS_OF_OCTAVE = 256
_MANTISSA_BITS = 23 - 8
# Confidences are counted in steps of 2^-24, in two digits of 12 bits.
_DIGIT = 12
_LAST_DIGIT = (1 << _DIGIT) - 1
_STEPS = 1 << 2 * _DIGIT
# In confidence the bins are widest at u = 1, where a bin is 1/256 of an octave.
WIDEST_BIN = math.exp(-1.0) / _BINS_OF_OCTAVE
NUM_ORDER_BINS = (_LAST_OCTAVE - _FIRST_OCTAVE) * _BINS_OF_OCTAVE


@record
class OrderHistogram(NamedTuple):
    """Examples in bins of u, by rising confidence; every leaf adds up.

    Attributes:
        num_examples: Examples.
        correct: Right ones.
        gap: Sum of confidence - correct.
    """

    num_examples: Int[jax.Array, " order"]
    correct: Int[jax.Array, " order"]
    gap: ExactSum


def order_bin(
    log_one_minus_confidence: Float[jax.Array, " n"],
) -> Int[jax.Array, " n"]:
    """The bin of each example: the leading bits of the float32 number u itself.

    A float's bits rise with its value, and so cut each octave into equal bins. What
    is below the first octave belongs to the first bin, what is above the last to the
    last.
    """
    u = jnp.maximum(-log_one_minus_confidence, 0.0)
    bits = jax.lax.bitcast_convert_type(u, jnp.int32) >> _MANTISSA_BITS
    first = (_FIRST_OCTAVE + 127) * _BINS_OF_OCTAVE
    return jnp.clip(bits - first, 0, NUM_ORDER_BINS - 1)


def histogram_of(
    scores: ExampleScores,
    sound: Bool[jax.Array, " n"],
    confidence: Float[jax.Array, " n"],
) -> OrderHistogram:
    """The histogram of at most 65,536 rows: the sound ones and their confidences.

    Confidences are added in whole multiples of 2^-24, which is what float32 holds from
    1/2 up: a scatter of floats would add up what each addition loses, in an order of
    the accelerator's choice.
    """
    place = order_bin(jnp.asarray(scores.log_one_minus_confidence, jnp.float32))
    place = jnp.where(sound, place, NUM_ORDER_BINS)
    right = (jnp.asarray(scores.correct) & sound).astype(jnp.int32)
    steps = jnp.round(confidence * _STEPS).astype(jnp.int32) - right * _STEPS
    # Two digits of 12 bits each, whose sums fit into 31.
    rows = [jnp.ones_like(right), right, steps >> _DIGIT, steps & _LAST_DIGIT]
    table = jnp.zeros((NUM_ORDER_BINS, 4), jnp.int32)
    # One scatter for all of them.
    table = table.at[place].add(jnp.stack(rows, axis=1), mode="drop")
    count, correct, high, low = table.T
    return OrderHistogram(count, correct, _as_sum(high, low))


def _as_sum(high: Int[jax.Array, " order"], low: Int[jax.Array, " order"]) -> ExactSum:
    """(high 2^12 + low) / 2^24, of which every part is a float32 number."""
    middle = as_float((high & _LAST_DIGIT) + (low >> _DIGIT)) / (1 << _DIGIT)
    total = ExactSum(as_float(high >> _DIGIT), jnp.zeros_like(middle))
    for part in (middle, as_float(low & _LAST_DIGIT) / _STEPS):
        total = total.add(ExactSum(part, jnp.zeros_like(part)))
    return total


def on_mesh(order: OrderHistogram) -> Float[jax.Array, " cells"]:
    """Puts each histogram bin's gap at its mean confidence."""
    count = as_float(jnp.maximum(order.num_examples, 1))
    confidence = (order.gap.total + as_float(order.correct)) / count
    return spread_on_mesh(confidence, order.gap.total)


def counts_of(histogram: OrderHistogram) -> TieCounts:
    """Bins as blocks of tied examples, the most confident first."""
    count, correct = histogram.num_examples[::-1], histogram.correct[::-1]
    rows, rights = jnp.cumsum(jnp.stack([count, correct]), axis=1, dtype=jnp.int32)
    return TieCounts(
        weights=count,
        correct=jnp.ones_like(count, dtype=bool),
        rows_before=rows - count,
        rows_through=rows,
        correct_before=rights - correct,
        correct_through=rights,
        total=rows[-1],
        total_correct=rights[-1],
        ends_block=jnp.ones_like(count, dtype=bool),
        comparable=jnp.array(True),
    )


def error_bounds(counts: TieCounts) -> dict[str, Scalar]:
    """How far each metric of order may be from its exact value, at most.

    Args:
        counts: From `counts_of`.

    Returns:
        Bounds on |streamed - exact|, by the metrics' names, before float32 rounding.
    """
    total = as_float(counts.total)
    right = counts.correct_through - counts.correct_before
    size = counts.rows_through - counts.rows_before
    wrong = size - right
    # A pair inside a bin counts one half, and is worth 0 or 1.
    pairs = jnp.sum(as_float(right) * as_float(wrong)) / 2.0
    wrong_total = as_float(counts.total - counts.total_correct)
    auroc = pairs / (as_float(counts.total_correct) * wrong_total)
    aurc = jnp.maximum(*_area_deviations(counts, right, wrong))
    augrc = pairs / total / total
    largest_bin = as_float(jnp.max(size)) / total
    bounds = {
        "auroc": auroc,
        "aurc": aurc,
        "excess_aurc": aurc,
        "augrc": augrc,
        "excess_augrc": augrc,
        "risk_at_80_coverage": _risk_deviation(counts, right, wrong, 0.8),
        "ks_calibration_error": largest_bin,
    }
    for percent in (95, 99):
        name = f"coverage_at_{percent}_accuracy"
        bounds[name] = _coverage_deviation(counts, right, wrong, percent / 100)
    return bounds


def _area_deviations(counts: TieCounts, right, wrong) -> tuple[Scalar, Scalar]:
    """How far AURC can lie below and above the mean over orders.

    With r places and w errors before a bin, its m places add, if the errors come
    first, sum_i (w + min(i, b)) / (r + i), and if they come last
    sum_i (w + max(0, i - m + b)) / (r + i).
    """
    start, end = counts.rows_before, counts.rows_through
    errors, rights = as_float(wrong), as_float(right)
    size = jnp.maximum(errors + rights, 1.0)
    whole = harmonic_between(start, end)
    mean = errors - as_float(start) * errors / size * whole
    # Errors first: b - r (H(r + b) - H(r)) + b (H(r + m) - H(r + b)).
    head = harmonic_between(start, start + wrong)
    worst = errors - as_float(start) * head + errors * (whole - head)
    # Errors last: b - (r + m - b) (H(r + m) - H(r + m - b)).
    tail = harmonic_between(end - wrong, end)
    best = errors - as_float(end - wrong) * tail
    mixed = (right > 0) & (wrong > 0)
    total = as_float(counts.total)
    below = jnp.sum(jnp.where(mixed, mean - best, 0.0)) / total
    above = jnp.sum(jnp.where(mixed, worst - mean, 0.0)) / total
    return below, above


def _risk_deviation(counts: TieCounts, right, wrong, coverage: float) -> Scalar:
    """The risk at a place inside a bin, with its errors first or last."""
    place = counts.total - whole_part(counts.total, 1.0 - coverage)
    there = (counts.rows_before < place) & (place <= counts.rows_through)
    into = as_float(place - counts.rows_before)
    size = jnp.maximum(as_float(right + wrong), 1.0)
    mean = into * as_float(wrong) / size
    most = jnp.minimum(into, as_float(wrong))
    least = jnp.maximum(into - as_float(right), 0.0)
    off = jnp.where(there, jnp.maximum(most - mean, mean - least), 0.0)
    return jnp.max(off) / as_float(place)


def _coverage_deviation(counts: TieCounts, right, wrong, accuracy: float) -> Scalar:
    """The furthest place that could hold the accuracy, less the one that does.

    With the right ones of a bin first, place i of it has max(0, i - right) errors
    more than stand before it.
    """
    wrong_before = counts.rows_before - counts.correct_before
    tops = counts.rows_before + right
    # Largest j with wrong_before + j <= (1 - a) (tops + j).
    spare = whole_part(tops, 1.0 - accuracy) - wrong_before
    more = jnp.floor((as_float(spare) + 1.0) / accuracy).astype(jnp.int32)
    reach = tops + jnp.clip(more, 0, wrong)
    reach = jnp.where((right + wrong > 0) & (spare >= 0), reach, 0)
    wrong_through = counts.rows_through - counts.correct_through
    accepted = wrong_through <= whole_part(counts.rows_through, 1.0 - accuracy)
    held = jnp.max(jnp.where(accepted, counts.rows_through, 0))
    # Places inside a bin whose head is right hold it, too, if its start does.
    return as_float(jnp.maximum(jnp.max(reach) - held, 0)) / as_float(counts.total)


def smooth_bound(error: Scalar) -> Scalar:
    """How far the smooth calibration error moves if confidences move by a bin.

    A residual moved by d changes smECE_s by at most d sqrt(2 / pi) / s, the mean
    absolute slope of the Gaussian; and since smECE_s falls with s, the point where it
    equals s moves by no more than that at the larger of the two points.
    """
    return jnp.minimum(1.0, WIDEST_BIN * math.sqrt(2.0 / math.pi) / error)
