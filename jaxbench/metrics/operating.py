"""An operating point with a guarantee: which images to answer.

It is chosen on images of its own, and holds for further images drawn from the same
distribution; it says nothing of a shifted one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from jaxbench.metrics.binomial import binomial_log_tails, upper_bound
from jaxbench.metrics.checks import check_columns, check_fraction
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import TieCounts, as_float, count_ties, rank
from jaxbench.metrics.records import record
from jaxbench.metrics.types import Column, Flags, Scalar


@record
class GuaranteedThreshold(NamedTuple):
    """Where to answer so that the error rate stays below a target.

    Attributes:
        threshold: Answer where confidence >= threshold, in float32; +inf where
            nothing can be guaranteed.
        coverage: The share of these examples that is answered.
        risk: The error rate on them; NaN where none is.
        risk_bound: What the true error rate exceeds with probability at most delta;
            NaN where nothing is answered.
        feasible: Whether any threshold keeps the target.
    """

    threshold: Scalar
    coverage: Scalar
    risk: Scalar
    risk_bound: Scalar
    feasible: Bool[jax.Array, ""]


def guaranteed_threshold(
    confidence: Column,
    correct: Flags,
    *,
    accuracy: float,
    delta: float = 0.001,
    mask: Flags | None = None,
) -> GuaranteedThreshold:
    """The threshold that answers most at a guaranteed accuracy.

    With probability 1 - delta over the draw of the N examples, the images that the
    threshold answers have a true error rate of at most 1 - accuracy. Selection with
    guaranteed risk: a bisection over the ranks, in which the i most confident
    examples with e errors are accepted if P(X <= e) <= delta / k for X ~ binomial(i,
    1 - accuracy), that is, if the Clopper-Pearson bound on their risk keeps the
    target; k = ceil(log2(N + 1)) is the number of tests. Geifman and El-Yaniv (2017),
    algorithm 1: https://arxiv.org/abs/1705.08500; which writes ceil(log2 N), never
    tests all N at once, and returns the last threshold it tested, not the last it
    accepted.

    Dividing delta by the tests that were made presumes that the true error rate rises
    with coverage: then the first test to fail is one of k that do not depend on the
    outcomes of the others.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        accuracy: Wanted of the images that are answered, in (0, 1).
        delta: Probability that the guarantee fails, in (0, 1).
        mask: Rows that count; None counts all.

    Returns:
        The threshold with its coverage and risk on these examples. A block of equal
        confidences is answered whole or not at all. At an accuracy of 0.99 and a
        delta of 0.001, fewer than about 900 examples cannot guarantee anything. All
        NaN and not feasible if a confidence is NaN, or no row counts, under jit.

    Raises:
        ValueError: If accuracy or delta is outside (0, 1), columns do not fit, no row
            counts or a confidence is NaN (the last two outside jit).
    """
    check_fraction("accuracy", accuracy, low_open=True, high_open=True)
    check_fraction("delta", delta, low_open=True, high_open=True)
    check_columns(mask, floats={"confidence": confidence}, flags={"correct": correct})
    levels = jnp.float32(1.0 - accuracy), jnp.log(jnp.float32(delta))
    return _guarantee(confidence, correct, mask, *levels)


@compiled
def _guarantee(
    confidence: Column,
    correct: Flags,
    mask: Flags | None,
    target: Scalar,
    log_delta: Scalar,
) -> GuaranteedThreshold:
    ranking, (ordered,) = rank(confidence, correct, mask=mask, columns=(confidence,))
    counts = count_ties(ranking)
    # ceil(log2(N + 1)), which is how many bits N has.
    num_tests = 32 - jax.lax.clz(counts.total)
    log_share = log_delta - jnp.log(as_float(num_tests))
    accepted = _search(counts, target, log_share)

    at = jnp.maximum(accepted - 1, 0)
    errors = accepted - counts.correct_through[at]
    bound = upper_bound(errors, accepted, log_share)
    feasible = (accepted > 0) & counts.comparable

    def answered(value, otherwise=jnp.nan):
        value = jnp.where(accepted > 0, value, otherwise)
        return jnp.where(counts.comparable & (counts.total > 0), value, jnp.nan)

    return GuaranteedThreshold(
        threshold=answered(ordered[at], jnp.inf),
        coverage=answered(as_float(accepted) / as_float(counts.total), 0.0),
        risk=answered(as_float(errors) / as_float(accepted)),
        risk_bound=answered(bound),
        feasible=feasible,
    )


def _search(counts: TieCounts, target: Scalar, log_share: Scalar) -> Int[jax.Array, ""]:
    """How many of the most confident examples are accepted, by bisection."""

    def test(_, bounds):
        # Accepted are the first `low` examples, refused those through `high`.
        low, high = bounds
        at = jnp.maximum((low + high) // 2 - 1, 0)
        rows = counts.rows_through[at]
        tail, _ = binomial_log_tails(rows - counts.correct_through[at], rows, target)
        accepted, done = tail <= log_share, high - low <= 1
        # The whole block was tested, so the bounds pass over it.
        low = jnp.where(done | ~accepted, low, rows)
        return low, jnp.where(done | accepted, high, counts.rows_before[at] + 1)

    most_tests = counts.weights.shape[0].bit_length()
    # In the image of the data, which may differ between the devices of a shard_map.
    start = jnp.zeros_like(counts.total), counts.total + 1
    low, _ = jax.lax.fori_loop(0, most_tests, test, start)
    return low
