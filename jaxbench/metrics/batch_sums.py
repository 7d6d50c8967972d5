"""The sums of one batch, which a streaming state adds to its own."""

from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxbench.metrics.histogram import histogram_of
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.reliability import bin_sums
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.sums import ExactSum, sum_by_pieces


@partial(compiled, static_argnames=("num_bins", "num_classes"))
def batch_sums(
    scores: ExampleScores, num_bins: int, num_classes: int
) -> dict[str, Any]:
    """The leaves of a `ClassificationState` of one batch alone, by name.

    Args:
        scores: Of the batch.
        num_bins: Equal-width bins of the calibration errors.
        num_classes: Number of classes; 0 leaves them out.

    Returns:
        All but the classwise tables, which scores do not fill.
    """
    return sum_by_pieces(
        lambda rows: _sums_of_rows(rows, num_bins, num_classes), scores
    )


def _sums_of_rows(
    scores: ExampleScores, num_bins: int, num_classes: int
) -> dict[str, Any]:
    valid = jnp.asarray(scores.mask)
    sound = valid & jnp.asarray(scores.finite)
    correct = jnp.asarray(scores.correct) & valid
    confidence = jnp.where(sound, jnp.asarray(scores.confidence), 0.0)
    bins = bin_sums(confidence, correct, sound, num_bins)
    label = jnp.asarray(scores.label)
    classified = valid & (label >= 0)
    if num_classes:
        classified &= label < num_classes
    zero = jnp.zeros((), jnp.float32)

    def count(flags):
        return jnp.sum(flags, dtype=jnp.int32)

    def add(column):
        # A label of no class has no likelihood: NaN, which makes the mean NaN.
        total = jnp.sum(jnp.where(sound, jnp.asarray(column), 0.0))
        return ExactSum(total, zero)

    def by_class(flags):
        if not num_classes:
            return None
        place = jnp.where(flags, label, num_classes)
        return jnp.zeros(num_classes, jnp.int32).at[place].add(1, mode="drop")

    return {
        "num_examples": count(valid),
        "num_nonfinite": count(valid & ~sound),
        "num_correct": count(correct),
        "num_correct_top5": count(valid & (jnp.asarray(scores.label_rank) < 5)),
        "nll_sum": add(scores.nll),
        "brier_sum": add(scores.brier),
        "bin_count": bins.num_examples,
        "bin_correct": bins.correct,
        "bin_gap": ExactSum(bins.gap, jnp.zeros_like(bins.gap)),
        "order": histogram_of(scores, sound, confidence),
        "class_count": by_class(classified),
        "class_correct": by_class(classified & correct),
        "num_classless": count(valid & ~classified),
    }
