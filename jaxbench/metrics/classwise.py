"""Calibration of every class's probability, not only the prediction's."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics.binning import NUM_BINS, upper_edges
from jaxbench.metrics.checks import check_count, require_rows
from jaxbench.metrics.logit_checks import check_scored
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.records import record
from jaxbench.metrics.scores import Inputs
from jaxbench.metrics.sums import ExactSum, add_states
from jaxbench.metrics.types import Flags, Labels, Logits, Scalar

# Logits that are binned at a time, so that what lies between stays in cache.
_CHUNK = 1 << 18


@record
class ClasswiseSums(NamedTuple):
    """Sums over examples for each bin of each class's probability; they add up.

    Attributes:
        gap: Sum of p_k - [label is k].
        broken: Rows that count and are not finite or have no class.
    """

    gap: ExactSum
    broken: Float[jax.Array, ""]


def classwise_calibration_error(
    logits: Logits,
    labels: Labels,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
    inputs: Inputs | None = None,
) -> Scalar:
    """Mean over classes of the ECE of "the label is k" at its probability p_k.

    cwECE = 1/K sum_k sum_b n_bk / n |share of class k in the bin - mean p_k|, over
    equal-width bins of p_k as in `expected_calibration_error`. With many classes most
    probabilities are near 0 and the number is small by construction. Kull et al.
    (2019), section 2: https://arxiv.org/abs/1910.12656; Nixon et al. (2019) call it
    static calibration error: https://arxiv.org/abs/1904.01685.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k).
        num_bins: Number of bins.
        mask: Rows that count; None counts all.
        inputs: As in `score_examples`.

    Returns:
        A fraction in [0, 1], lower is better. NaN, under jit, if no row counts, or
        one that does is not finite or has no class.

    Raises:
        ValueError: If shapes, dtypes or num_bins do not fit, a label is not a class, a
            logit is not finite, or no row counts (the last three outside jit).
    """
    check_count("num_bins", num_bins)
    check_scored(logits, labels, mask, None, 1.0, inputs)
    require_rows(logits.shape[0], mask)
    return _error(logits, labels, mask, num_bins, inputs or "logits")


@partial(compiled, static_argnames=("num_bins", "inputs"))
def _error(logits, labels, mask, num_bins: int, inputs: Inputs) -> Scalar:
    sums = classwise_sums(logits, labels, mask, num_bins, inputs)
    count = jnp.sum(valid_rows(labels, mask), dtype=jnp.int32)
    return classwise_error_of_sums(sums.gap.total, sums.broken, as_float(count))


def classwise_error_of_sums(
    gap: Float[jax.Array, "bins k"], broken: Scalar, count: Scalar
) -> Scalar:
    """The error from sums of gaps; NaN if a row was broken or none counts."""
    error = jnp.sum(jnp.abs(gap)) / (count * gap.shape[1])
    return jnp.where(broken > 0.0, jnp.nan, error)


@partial(compiled, static_argnames=("num_bins", "inputs"))
def classwise_sums(
    logits: Logits,
    labels: Labels,
    mask: Flags | None,
    num_bins: int,
    inputs: Inputs = "logits",
) -> ClasswiseSums:
    """Bins every class's probability of every example, a few rows at a time."""
    num_rows, num_classes = logits.shape
    labels, valid = jnp.asarray(labels, jnp.int32), valid_rows(labels, mask)
    size = max(1, min(num_rows, _CHUNK // num_classes))
    num_chunks = -(-num_rows // size)

    def one(chunk):
        # The last chunk starts early enough to be a whole one, and counts no row twice.
        start = jnp.minimum(chunk * size, num_rows - size)
        new = jnp.arange(size) + start >= chunk * size
        rows = (
            jax.lax.dynamic_slice_in_dim(column, start, size)
            for column in (jnp.asarray(logits), labels, valid)
        )
        z, label, counted = rows
        return _sums(z, label, counted & new, num_bins, inputs)

    first = one(0)
    if num_chunks == 1:
        return first

    def add(chunk, sums):
        return add_states(sums, one(chunk))

    return jax.lax.fori_loop(1, num_chunks, add, first)


def _sums(logits, labels, valid, num_bins: int, inputs: Inputs) -> ClasswiseSums:
    z = jnp.asarray(logits, jnp.float32)
    num_classes = z.shape[1]
    known = (labels >= 0) & (labels < num_classes)
    sound = valid & known & jnp.all(jnp.isfinite(z), axis=1)
    p = z if inputs == "probabilities" else jax.nn.softmax(z, axis=1)
    if inputs == "probabilities":
        sound &= jnp.all((z >= 0.0) & (z <= 1.0), axis=1)
        sound &= jnp.abs(jnp.sum(z, axis=1) - 1.0) < 1e-2
    p = jnp.where(sound[:, None], p, 0.0)
    classes = jnp.arange(num_classes, dtype=jnp.int32)[None, :]
    own = (sound & known)[:, None] & (labels[:, None] == classes)
    gap = jnp.where(own, p - jnp.float32(1.0), p)

    def above(edge):
        """Sums over the entries beyond an edge, for every class."""
        return jnp.sum(jnp.where(p > edge, gap, jnp.float32(0.0)), axis=0)

    beyond = jax.lax.map(above, jnp.asarray(upper_edges(num_bins)))
    nested = jnp.concatenate([jnp.sum(gap, axis=0)[None], beyond])
    # Sums beyond each edge, so a bin is the difference of two.
    bins = nested - jnp.concatenate([nested[1:], jnp.zeros_like(nested[:1])])
    broken = jnp.sum((valid & ~sound).astype(jnp.float32))
    return ClasswiseSums(ExactSum(bins, jnp.zeros_like(bins)), broken=broken)
