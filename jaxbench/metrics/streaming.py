"""Metrics of a stream: a state of constant size that adds up over batches and devices.

For an evaluation inside a training loop, where the per-example columns are not kept.
Whoever keeps the columns has the exact values: see `summarize`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxbench.metrics import binning
from jaxbench.metrics.batch_sums import batch_sums
from jaxbench.metrics.binning import NUM_BINS, BinSums
from jaxbench.metrics.catalog import METRICS
from jaxbench.metrics.checks import check_count, is_known
from jaxbench.metrics.classwise import classwise_error_of_sums, classwise_sums
from jaxbench.metrics.histogram import (
    NUM_ORDER_BINS,
    OrderHistogram,
    counts_of,
    error_bounds,
    on_mesh,
    smooth_bound,
)
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float
from jaxbench.metrics.ranking import auroc_of_counts
from jaxbench.metrics.records import from_zero, record, require_single, varying_over
from jaxbench.metrics.samples import equal_mass_bins
from jaxbench.metrics.scores import ExampleScores, Inputs, score_examples
from jaxbench.metrics.selective import (
    augrc_of_counts,
    aurc_of_counts,
    coverage_of_counts,
    excess_augrc_of_counts,
    excess_aurc_of_counts,
    risk_of_counts,
)
from jaxbench.metrics.smooth import smooth_error
from jaxbench.metrics.sums import ExactSum, add_states
from jaxbench.metrics.types import ClassMask, Flags, Labels, LabelSets, Logits, Scalar


@record
class ClassificationState(NamedTuple):
    """Sums over the examples seen so far.

    Every leaf is a plain sum, so states merge by addition (`merge`, `+`, `sum`), in
    any order, and a `psum` of the leaves over devices is the state of all of them:

        state = ClassificationState.empty().update(score_examples(logits, labels))
        total = jax.lax.psum(state, "data").compute()

    Counts are integers, exact up to 2^31 - 1 examples. Sums carry what they rounded
    away, and agree between batch sizes to float32 accuracy. Metrics of order come
    from a histogram, with a bound on their error: see `error_bounds`.

    Attributes:
        num_examples: Examples that count.
        num_nonfinite: Those of them with a non-finite logit.
        num_correct: Right predictions.
        num_correct_top5: Labels among the five largest logits.
        nll_sum: Sum of negative log-likelihoods, nats.
        brier_sum: Sum of Brier scores.
        bin_count: Examples in each equal-width bin of confidence.
        bin_correct: Right predictions in each bin.
        bin_gap: Sum of confidence - correct in each bin: what ECE needs, and small,
            so it rounds less than the sum of confidences.
        order: Counts, right ones and gaps in fine bins of -log(1 - confidence).
        class_count: Examples of each class; None unless classes were asked for.
        class_correct: Right ones of them.
        num_classless: Examples that count and belong to no class.
        class_gap: Sums of p_k - [label is k] in each bin of each class's probability;
            None unless asked for.
        class_broken: Examples that `class_gap` could not take.
    """

    num_examples: Int[jax.Array, ""]
    num_nonfinite: Int[jax.Array, ""]
    num_correct: Int[jax.Array, ""]
    num_correct_top5: Int[jax.Array, ""]
    nll_sum: ExactSum
    brier_sum: ExactSum
    bin_count: Int[jax.Array, " bins"]
    bin_correct: Int[jax.Array, " bins"]
    bin_gap: ExactSum
    order: OrderHistogram
    class_count: Int[jax.Array, " k"] | None
    class_correct: Int[jax.Array, " k"] | None
    num_classless: Int[jax.Array, ""]
    class_gap: ExactSum | None
    class_broken: Float[jax.Array, ""]

    @classmethod
    def empty(
        cls,
        num_bins: int = NUM_BINS,
        *,
        num_classes: int = 0,
        classwise: bool = False,
        varying: str | tuple[str, ...] = (),
    ) -> "ClassificationState":
        """The state of no examples.

        Args:
            num_bins: Equal-width bins of the calibration errors.
            num_classes: Number of classes, for balanced accuracy: 8 bytes a class.
            classwise: Whether to keep the tables of the classwise calibration error,
                120 bytes a class; they are filled by `update_from_logits`.
            varying: Inside `jax.shard_map`, the mesh axes over which the batches to
                come differ, so that the state may be the carry of a `scan` there.

        Raises:
            ValueError: If num_bins < 1, or the tables are asked for without a number
                of classes.
        """
        check_count("num_bins", num_bins)
        if num_classes < 0 or (classwise and not num_classes):
            raise ValueError(
                f"num_classes is {num_classes}; wanted the number of classes"
                + (" for classwise=True" if classwise else ", or 0 for none")
            )
        order = OrderHistogram(
            _counts(NUM_ORDER_BINS),
            _counts(NUM_ORDER_BINS),
            ExactSum.zeros(NUM_ORDER_BINS),
        )
        # Every leaf has a buffer of its own, so that a step may be given them to keep.
        # None rather than arrays of size zero: checkpoints refuse those.
        state = cls(
            num_examples=_counts(),
            num_nonfinite=_counts(),
            num_correct=_counts(),
            num_correct_top5=_counts(),
            nll_sum=ExactSum.zeros(),
            brier_sum=ExactSum.zeros(),
            bin_count=_counts(num_bins),
            bin_correct=_counts(num_bins),
            bin_gap=ExactSum.zeros(num_bins),
            order=order,
            class_count=_counts(num_classes) if num_classes else None,
            class_correct=_counts(num_classes) if num_classes else None,
            num_classless=_counts(),
            class_gap=ExactSum.zeros(num_bins, num_classes) if classwise else None,
            class_broken=jnp.zeros((), jnp.float32),
        )
        return varying_over(state, varying)

    def update(self, scores: ExampleScores) -> "ClassificationState":
        """The state after a further batch; its masked rows change nothing.

        Raises:
            ValueError: If the state keeps classwise tables, which need the logits, or
                states are stacked.
        """
        if self.class_gap is not None:
            raise ValueError(
                "ClassificationState.update: this state keeps classwise tables, which "
                "scores do not fill; give the logits to update_from_logits"
            )
        require_single("ClassificationState.update", self.num_examples)
        return self.merge(self._of_batch(scores, None, jnp.zeros((), jnp.float32)))

    def update_from_logits(
        self,
        logits: Logits,
        labels: Labels | None = None,
        *,
        label_sets: LabelSets | None = None,
        mask: Flags | None = None,
        class_mask: ClassMask | None = None,
        inputs: Inputs | None = None,
    ) -> "ClassificationState":
        """The state after a further batch of logits; see `score_examples`.

        Raises:
            ValueError: As `score_examples`; if states are stacked; and if the state
                keeps classwise tables and the batch has sets of labels or a class
                mask, which they lack.
        """
        require_single("ClassificationState.update_from_logits", self.num_examples)
        scores = score_examples(
            logits,
            labels,
            label_sets=label_sets,
            mask=mask,
            class_mask=class_mask,
            inputs=inputs,
        )
        if self.class_count is not None and len(self.class_count) != logits.shape[1]:
            raise ValueError(
                f"logits of shape {logits.shape} and a state of num_classes="
                f"{len(self.class_count)}; wanted as many classes in both"
            )
        gap, broken = None, jnp.zeros((), jnp.float32)
        if self.class_gap is not None:
            if labels is None or class_mask is not None:
                raise ValueError(
                    "classwise tables know neither sets of labels nor a class mask; "
                    "make the state with classwise=False"
                )
            num_bins = self.class_gap.value.shape[-2]
            sums = classwise_sums(logits, labels, mask, num_bins, inputs or "logits")
            gap, broken = sums.gap, sums.broken
        return self.merge(self._of_batch(scores, gap, broken))

    def _of_batch(
        self,
        scores: ExampleScores,
        class_gap: ExactSum | None,
        class_broken: Float[jax.Array, ""],
    ) -> "ClassificationState":
        """The state of one batch alone, of this state's sizes."""
        sizes = self._sizes()
        sums = batch_sums(scores, sizes["bins"], sizes["classes"])
        return ClassificationState(
            **sums, class_gap=class_gap, class_broken=class_broken
        )

    def merge(self, other: "ClassificationState") -> "ClassificationState":
        """The state of both sets of examples.

        Raises:
            ValueError: If the two have different numbers of bins or classes, or one
                is stacked and the other is not.
        """
        mine, theirs = (s._sizes() for s in (self, other))
        if mine != theirs:
            raise ValueError(
                f"states of {mine} and {theirs} do not merge; make both with the same "
                "num_bins, num_classes and classwise"
            )
        stacks = self.num_examples.shape, other.num_examples.shape
        if stacks[0] != stacks[1]:
            raise ValueError(
                f"ClassificationState.merge: states stacked to {stacks[0]} and "
                f"{stacks[1]} do not merge; jax.vmap(ClassificationState.merge) takes "
                "them one by one, with in_axes=(0, None) where one goes to all"
            )
        return add_states(self, other)

    def __add__(self, other: object) -> "ClassificationState":  # pyright: ignore[reportIncompatibleMethodOverride]
        """`merge`."""
        if not isinstance(other, ClassificationState):
            return NotImplemented
        return self.merge(other)

    def __radd__(self, other: object) -> "ClassificationState":
        """`sum` of states, which starts from 0."""
        return from_zero(self, other)

    def _sizes(self) -> dict[str, int]:
        """What two states must have alike."""
        return {
            "bins": self.bin_count.shape[-1],
            "classes": 0 if self.class_count is None else self.class_count.shape[-1],
            "classwise": 0
            if self.class_gap is None
            else self.class_gap.value.shape[-1],
        }

    def compute(self) -> dict[str, Scalar]:
        """The metrics of the examples seen, under their names in `METRICS`.

        Returns:
            Every metric of `SCORE_METRICS`, balanced accuracy only if the state knows
            the classes; and classwise_ece if it keeps the tables. Metrics of order,
            ks_calibration_error, smooth_ece and the bins of equal mass come from the
            histogram; the rest is exact but for float32 rounding. All NaN if no
            example counts, under jit; all but accuracy and top-5 accuracy NaN if a
            logit was not finite.

        Raises:
            ValueError: If states are stacked; and, outside jit, if no example counts.
        """
        self._require_examples("compute")
        return _in_order(_compute(self))

    def error_bounds(self) -> dict[str, Scalar]:
        """How far each value from the histogram may be from the exact one, at most.

        The bounds follow from the counts, not from any assumption: the examples of
        one of the 4,608 bins of -log(1 - confidence) may stand in any order.

        Returns:
            Bounds on |streamed - exact|, before float32 rounding (1e-6), for the
            metrics of order, ks_calibration_error, smooth_ece and the bins of equal
            mass. NaN under jit if no example counts.

        Raises:
            ValueError: If states are stacked; and, outside jit, if no example counts.
        """
        self._require_examples("error_bounds")
        return _in_order(_bounds(self))

    def _require_examples(self, method: str) -> None:
        require_single(f"ClassificationState.{method}", self.num_examples)
        if is_known(self.num_examples) and not int(self.num_examples):
            raise ValueError(
                "ClassificationState: no example counts so far; update the state with "
                "a batch that has valid rows"
            )

    def _means(self) -> dict[str, Scalar]:
        total = as_float(self.num_examples)
        overconfidence = jnp.sum(self.bin_gap.total) / total
        return {
            "nll": self.nll_sum.total / total,
            "brier": self.brier_sum.total / total,
            "mean_confidence": overconfidence + as_float(self.num_correct) / total,
            "overconfidence": overconfidence,
        }

    def _calibration(self) -> dict[str, Scalar]:
        bins = BinSums(self.bin_count, self.bin_correct, self.bin_gap.total)
        counts = counts_of(self.order)
        gaps = self.order.gap.total[::-1]
        through = jnp.cumsum(gaps)
        before = through - gaps
        equal = equal_mass_bins(counts, before, through, NUM_BINS)
        below = through[-1] - before
        total = as_float(self.num_examples)
        return {
            "ece": binning.expected_error(bins),
            "mce": binning.maximum_error(bins),
            "ece_equal_mass": binning.expected_error(equal),
            "mce_equal_mass": binning.maximum_error(equal),
            "ece_debiased": binning.debiased_expected_error(bins),
            "rms_calibration_error": jnp.sqrt(binning.squared_error(bins)),
            "ks_calibration_error": jnp.max(jnp.abs(below)) / total,
            "smooth_ece": smooth_error(on_mesh(self.order) / total),
            "brier_reliability": binning.reliability(bins),
            "brier_resolution": binning.resolution(bins),
            "brier_uncertainty": binning.uncertainty(bins),
        }

    def _order(self) -> dict[str, Scalar]:
        counts = counts_of(self.order)
        return {
            "auroc": auroc_of_counts(counts),
            "aurc": aurc_of_counts(counts),
            "excess_aurc": excess_aurc_of_counts(counts),
            "augrc": augrc_of_counts(counts),
            "excess_augrc": excess_augrc_of_counts(counts),
            "coverage_at_95_accuracy": coverage_of_counts(counts, 0.95),
            "coverage_at_99_accuracy": coverage_of_counts(counts, 0.99),
            "risk_at_80_coverage": risk_of_counts(counts, 0.8),
        }


def _counts(*shape: int) -> Int[jax.Array, "..."]:
    return jnp.zeros(shape, jnp.int32)


def _in_order(values: dict[str, Scalar]) -> dict[str, Scalar]:
    """As the table has them: jit sorts the names."""
    return {name: values[name] for name in METRICS if name in values}


@compiled
def _compute(state: ClassificationState) -> dict[str, Scalar]:
    broken = state.num_nonfinite > 0
    total = as_float(state.num_examples)
    accuracy = as_float(state.num_correct) / total
    values = state._means() | state._calibration() | state._order()
    if state.class_count is not None and state.class_correct is not None:
        recall = as_float(state.class_correct) / as_float(state.class_count)
        # A class that was not seen has no recall.
        balanced = jnp.nanmean(recall)
        values["balanced_accuracy"] = jnp.where(
            state.num_classless > 0, jnp.nan, balanced
        )
    if state.class_gap is not None:
        values["classwise_ece"] = classwise_error_of_sums(
            state.class_gap.total, state.class_broken, total
        )
    values = {n: jnp.where(broken, jnp.nan, value) for n, value in values.items()}
    top5 = as_float(state.num_correct_top5) / total
    return {"accuracy": accuracy, "top_5_accuracy": top5} | values


@compiled
def _bounds(state: ClassificationState) -> dict[str, Scalar]:
    counts = counts_of(state.order)
    total = as_float(counts.total)
    size = as_float(counts.weights)
    bounds = error_bounds(counts)
    # An edge between two bins of equal mass may cut any part of a histogram bin
    # off, with gaps of any sign; the bins on both its sides see it.
    edges = NUM_BINS - 1
    bounds["ece_equal_mass"] = jnp.minimum(1.0, 2.0 * edges * jnp.max(size) / total)
    least = as_float(counts.total // NUM_BINS)
    bounds["mce_equal_mass"] = jnp.minimum(1.0, 2.0 * jnp.max(size) / least)
    bounds["smooth_ece"] = smooth_bound(state._calibration()["smooth_ece"])
    return bounds
