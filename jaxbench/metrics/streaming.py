"""Metrics of a stream: a state of constant size that adds up over batches and devices.

For an evaluation inside a training loop, where the per-example columns are not kept.
Metrics of order (AUROC, AURC, coverage) need the columns: see `summarize`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Float, Int

from jaxbench.metrics.calibration import NUM_BINS, bin_index, binned
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.scores import ExampleScores
from jaxbench.metrics.types import Scalar


class ClassificationState(NamedTuple):
    """Sums over the examples seen so far.

    Every leaf is a plain sum, so states merge by addition, in any order, and a
    `psum` of the leaves over devices is the state of all of them:

        state = ClassificationState.empty().update(score_examples(logits, labels))
        total = jax.lax.psum(state, "data").compute()

    Counts are integers and exact. The float sums round: they agree between batch
    sizes to float32 accuracy.

    Attributes:
        num_examples: Examples that count.
        num_nonfinite: Those of them with a non-finite logit.
        num_correct: Right predictions.
        num_correct_top5: Labels among the five largest logits.
        nll_sum: Sum of negative log-likelihoods, nats.
        brier_sum: Sum of Brier scores.
        bin_count: Examples in each bin of confidence.
        bin_correct: Right predictions in each bin.
        bin_gap: Sum of confidence - correct in each bin: what ECE needs, and small,
            so it rounds less than the sum of confidences.
    """

    num_examples: Int[jax.Array, ""]
    num_nonfinite: Int[jax.Array, ""]
    num_correct: Int[jax.Array, ""]
    num_correct_top5: Int[jax.Array, ""]
    nll_sum: Float[jax.Array, ""]
    brier_sum: Float[jax.Array, ""]
    bin_count: Int[jax.Array, " bins"]
    bin_correct: Int[jax.Array, " bins"]
    bin_gap: Float[jax.Array, " bins"]

    @classmethod
    def empty(cls, num_bins: int = NUM_BINS) -> "ClassificationState":
        """The state of no examples.

        Raises:
            ValueError: If num_bins < 1.
        """
        if num_bins < 1:
            raise ValueError(f"num_bins is {num_bins}; wanted an integer >= 1")
        count = jnp.zeros((), jnp.int32)
        total = jnp.zeros((), jnp.float32)
        bins = jnp.zeros(num_bins, jnp.int32)
        gap = jnp.zeros(num_bins, jnp.float32)
        return cls(count, count, count, count, total, total, bins, bins, gap)

    def update(self, scores: ExampleScores) -> "ClassificationState":
        """The state after a further batch; its masked rows change nothing."""
        num_bins = self.bin_count.shape[-1]
        valid = valid_rows(scores.mask, scores.mask)
        correct = jnp.asarray(scores.correct) & valid
        confidence = jnp.where(valid, jnp.asarray(scores.confidence), 0.0)
        bins = bin_index(confidence, num_bins)
        inside = bins[:, None] == jnp.arange(num_bins, dtype=jnp.int32)[None, :]
        gap = confidence - correct.astype(jnp.float32)

        def count(flags):
            return jnp.sum(flags, axis=0, dtype=jnp.int32)

        batch = ClassificationState(
            num_examples=count(valid),
            num_nonfinite=count(valid & ~jnp.asarray(scores.finite)),
            num_correct=count(correct),
            num_correct_top5=count(valid & jnp.asarray(scores.correct_top5)),
            nll_sum=jnp.sum(jnp.where(valid, jnp.asarray(scores.nll), 0.0)),
            brier_sum=jnp.sum(jnp.where(valid, jnp.asarray(scores.brier), 0.0)),
            bin_count=count(inside & valid[:, None]),
            bin_correct=count(inside & correct[:, None]),
            bin_gap=jnp.sum(binned(gap, bins, num_bins), axis=0),
        )
        return self.merge(batch)

    def merge(self, other: "ClassificationState") -> "ClassificationState":
        """The state of both sets of examples.

        Raises:
            ValueError: If the two have different numbers of bins.
        """
        if self.bin_count.shape != other.bin_count.shape:
            raise ValueError(
                f"states of {self.bin_count.shape[-1]} and "
                f"{other.bin_count.shape[-1]} bins do not merge; "
                "make both with the same num_bins"
            )
        return jax.tree.map(jnp.add, self, other)

    def compute(self) -> dict[str, Scalar]:
        """The metrics of the examples seen, under their names in `METRICS`.

        Returns:
            accuracy, top_5_accuracy, nll, brier, ece and mean_confidence. All NaN
            if no example counts, under jit.

        Raises:
            ValueError: If no example counts (outside jit).
        """
        seen = self.num_examples
        if not isinstance(seen, Tracer) and not jax.device_get(seen).any():
            raise ValueError(
                "ClassificationState.compute: no example counts so far; "
                "update the state with a batch that has valid rows"
            )
        total = as_float(seen)
        confidence_sum = jnp.sum(self.bin_gap) + as_float(self.num_correct)
        return {
            "accuracy": as_float(self.num_correct) / total,
            "top_5_accuracy": as_float(self.num_correct_top5) / total,
            "nll": self.nll_sum / total,
            "brier": self.brier_sum / total,
            "ece": jnp.sum(jnp.abs(self.bin_gap)) / total,
            "mean_confidence": confidence_sum / total,
        }
