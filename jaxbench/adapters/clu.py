"""`ClassificationState` with the methods of `clu.metrics.Metric`.

CLU itself is not needed: its `Collection` asks of an entry that it has these methods,
and nothing more.

    metrics = ClassificationMetric.empty()
    for batch in batches:  # from_model_output in the jitted step
        params, update = train_step(params, batch)
        metrics = metrics.merge(update)
    metrics.compute()  # {"accuracy": ..., "ece": ..., "aurc": ...}

CLU's interface: https://github.com/google/CommonLoopUtils/blob/main/clu/metrics.py.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar, TypeVar

import jax
from jaxtyping import PyTree

from jaxbench.metrics import ClassificationState
from jaxbench.metrics.binning import NUM_BINS
from jaxbench.metrics.types import Flags, Labels, LabelSets, Logits, Scalar

M = TypeVar("M", bound="ClassificationMetric")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ClassificationMetric:
    """All metrics of a classifier over the batches seen, at constant size.

    A pytree that merges by addition, in any order. The sizes belong to the class, for
    `empty` and `from_model_output` take none: see `configured`.

    Attributes:
        state: The sums.
        num_bins: Equal-width bins of the calibration errors.
        num_classes: Number of classes, for balanced accuracy; 0 leaves it out.
        classwise: Whether classwise_ece is measured.
    """

    state: ClassificationState
    num_bins: ClassVar[int] = NUM_BINS
    num_classes: ClassVar[int] = 0
    classwise: ClassVar[bool] = False

    @classmethod
    def configured(
        cls: type[M],
        *,
        num_bins: int = NUM_BINS,
        num_classes: int = 0,
        classwise: bool = False,
    ) -> type[M]:
        """The class with these sizes: a subclass, the same one for the same sizes.

        Args:
            num_bins: Equal-width bins of the calibration errors.
            num_classes: Number of classes, for balanced accuracy.
            classwise: Whether to measure the classwise calibration error, for which
                the number of classes is needed: 120 bytes of state a class.

        Raises:
            ValueError: As `ClassificationState.empty`.
        """
        # Checked without an array: classes are made at import time, and a program may
        # have to set up its devices after that.
        sizes = {"num_classes": num_classes, "classwise": classwise}
        jax.eval_shape(partial(ClassificationState.empty, num_bins, **sizes))
        if (num_bins, num_classes, classwise) == cls._sizes():
            return cls
        return _subclass(cls, num_bins, num_classes, classwise)

    @classmethod
    def empty(cls: type[M], *, varying: str | tuple[str, ...] = ()) -> M:
        """The metric of no examples; merging it changes nothing.

        Args:
            varying: Mesh axes over which the batches to come differ, inside
                `jax.shard_map`: the metric may then be the carry of a `scan` there.
        """
        num_bins, num_classes, classwise = cls._sizes()
        state = ClassificationState.empty(
            num_bins, num_classes=num_classes, classwise=classwise, varying=varying
        )
        return cls(state)

    @classmethod
    def from_model_output(
        cls: type[M],
        *,
        logits: Logits,
        labels: Labels | None = None,
        label_sets: LabelSets | None = None,
        mask: Flags | None = None,
        **_: object,
    ) -> M:
        """The metric of one batch. Meant for a jitted step.

        Args:
            logits: Of any float dtype.
            labels: [n], classes in [0, k), or -1 for none of them.
            label_sets: In place of `labels`, [n, m]: see `score_examples`.
            mask: Rows that count, boolean; None counts all. A masked row may hold
                anything, NaN included.
            **_: Other model outputs, which other metrics may want.

        Raises:
            ValueError: As `ClassificationState.update_from_logits`.
        """
        empty = cls.empty().state
        return cls(
            empty.update_from_logits(logits, labels, label_sets=label_sets, mask=mask)
        )

    @classmethod
    def gather_from_model_output(
        cls: type[M], axis_name: Hashable = "batch", **model_output: PyTree
    ) -> M:
        """The metric of all devices' batches, the same on each of them.

        For `shard_map`, `pmap` or `vmap` with a named axis. One `psum` of the sums:
        what an `all_gather` and a `reduce` would give, and known to be replicated, so
        that `shard_map` takes it for `out_specs=P()`.

        Args:
            axis_name: The axis, or a tuple of axes, that the batch is split over.
            **model_output: What `from_model_output` takes, of this device.
        """
        return jax.lax.psum(cls.from_model_output(**model_output), axis_name)

    def merge(self: M, other: M) -> M:
        """The metric of both sets of examples.

        Raises:
            ValueError: If the two differ in their sizes, or one is stacked and the
                other is not.
        """
        mine, theirs = (metric.state.num_examples.shape for metric in (self, other))
        if mine != theirs:
            raise ValueError(
                f"metrics stacked to {mine} and {theirs} do not merge; call reduce() "
                "on what was gathered first"
            )
        return type(self)(self.state.merge(other.state))

    def reduce(self: M) -> M:
        """The metric of all that are stacked along the leading axis.

        Stacks come from `jax.lax.all_gather`, `jax.vmap` or `jax.lax.scan`.

        Raises:
            ValueError: If nothing is stacked.
        """
        shape = self.state.num_examples.shape
        if not shape or not shape[0]:
            raise ValueError(
                f"reduce() of a metric stacked to {shape}; wanted a leading axis of at "
                "least one metric"
            )
        first = jax.tree.map(lambda leaf: leaf[0], self)
        rest = jax.tree.map(lambda leaf: leaf[1:], self)
        # One by one, not a sum over the axis: a merge keeps what additions round away.
        return jax.lax.scan(lambda sums, one: (sums.merge(one), None), first, rest)[0]

    def compute(self) -> dict[str, Scalar]:
        """The metrics of the examples seen: see `ClassificationState.compute`.

        Raises:
            ValueError: If metrics are stacked; and, outside jit, if no example counts.
        """
        return self._one_state().compute()

    def error_bounds(self) -> dict[str, Scalar]:
        """How far the metrics of order may be from exact, at most.

        See `ClassificationState.error_bounds`.

        Raises:
            ValueError: As `compute`.
        """
        return self._one_state().error_bounds()

    @classmethod
    def _sizes(cls) -> tuple[int, int, bool]:
        return cls.num_bins, cls.num_classes, cls.classwise

    def _one_state(self) -> ClassificationState:
        seen = self.state.num_examples
        if seen.ndim:
            raise ValueError(
                f"ClassificationMetric: metrics stacked to {seen.shape}; call reduce() "
                "to add them up, or jax.vmap to measure each"
            )
        return self.state


# A second class of the same sizes would be another type of pytree: it would compile
# anew, and would not map together with the first.
@cache
def _subclass(cls: type[M], num_bins: int, num_classes: int, classwise: bool) -> type:
    sizes = {"num_bins": num_bins, "num_classes": num_classes, "classwise": classwise}
    names = {"__module__": cls.__module__, "__doc__": cls.__doc__, **sizes}
    return jax.tree_util.register_dataclass(type(cls.__name__, (cls,), names))
