"""`ClassificationState` as a metric of Flax NNX.

    metrics = nnx.MultiMetric(
        loss=nnx.metrics.Average("loss"), classification=ClassificationMetric()
    )
    metrics.update(loss=losses, logits=logits, labels=labels, mask=mask)  # in nnx.jit
    metrics.compute()  # {"loss": ..., "classification": {"accuracy": ..., "ece": ...}}
    metrics.reset()

It stands beside Flax's own metrics, and splits and merges as they do.
"""

from flax import nnx

from jaxbench.metrics import ClassificationState
from jaxbench.metrics.binning import NUM_BINS
from jaxbench.metrics.types import Flags, Labels, LabelSets, Logits, Scalar


class ClassificationMetric(nnx.Metric):
    """All metrics of a classifier over the batches seen, at constant size.

    Attributes:
        state: An `nnx.metrics.MetricState` that holds a `ClassificationState`. One
            variable, not one a leaf: `nnx.jit` walks over variables in Python, at
            every call.
        num_bins: Equal-width bins of the calibration errors.
        num_classes: Number of classes, for balanced accuracy; 0 leaves it out.
        classwise: Whether classwise_ece is measured.
    """

    def __init__(
        self, *, num_bins: int = NUM_BINS, num_classes: int = 0, classwise: bool = False
    ):
        """A metric that has seen nothing.

        Args:
            num_bins: Equal-width bins of the calibration errors.
            num_classes: Number of classes, for balanced accuracy.
            classwise: Whether to measure the classwise calibration error, for which
                the number of classes is needed: 120 bytes of state a class.

        Raises:
            ValueError: As `ClassificationState.empty`.
        """
        self.num_bins = num_bins
        self.num_classes = num_classes
        self.classwise = classwise
        self.state = nnx.metrics.MetricState(self._empty())

    def reset(self) -> None:
        """Forgets all examples."""
        self.state.set_value(self._empty())

    def update(
        self,
        *,
        logits: Logits,
        labels: Labels | None = None,
        label_sets: LabelSets | None = None,
        mask: Flags | None = None,
        **_: object,
    ) -> None:
        """Adds a batch. Meant for a step under `nnx.jit`.

        Args:
            logits: Of any float dtype.
            labels: [n], classes in [0, k), or -1 for none of them.
            label_sets: In place of `labels`, [n, m]: see `score_examples`.
            mask: Rows that count, boolean; None counts all. A masked row may hold
                anything, NaN included.
            **_: What else `nnx.MultiMetric` hands to all of its metrics.

        Raises:
            ValueError: As `ClassificationState.update_from_logits`.
        """
        seen: ClassificationState = self.state.get_value()
        self.state.set_value(
            seen.update_from_logits(logits, labels, label_sets=label_sets, mask=mask)
        )

    def compute(self) -> dict[str, Scalar]:
        """The metrics of the examples seen: see `ClassificationState.compute`.

        Raises:
            ValueError: If no example counts (outside jit).
        """
        return self.state.get_value().compute()

    def error_bounds(self) -> dict[str, Scalar]:
        """How far the metrics of order may be from exact, at most.

        See `ClassificationState.error_bounds`.

        Raises:
            ValueError: If no example counts (outside jit).
        """
        return self.state.get_value().error_bounds()

    def _empty(self) -> ClassificationState:
        return ClassificationState.empty(
            self.num_bins, num_classes=self.num_classes, classwise=self.classwise
        )
