"""What a population is to do, and what every way of doing it offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxbench.training.data import ImageStream, TrainingData
from jaxbench.training.members import (
    HyperParameters,
    MemberScalars,
    epoch_order,
    member_scalars,
)
from jaxbench.training.recipes import Recipe
from jaxbench.training.specs import Horizon, StepSpec
from jaxbench.training.starts import Start, starting_variables
from jaxbench.training.teachers import Teacher

# Batches that statistics are taken from anew where an optimizer evaluates elsewhere
# than it trains: with a momentum of 0.9 the old ones count for half a percent then.
STATISTICS_STEPS = 50


@dataclass(frozen=True)
class Task:
    """What a runner is to do.

    Attributes:
        spec: The step.
        members: Hyper-parameters of each member.
        data: The training set, on the host.
        recipe: What the members share.
        begin: What they start from.
        teacher: The network to learn from, if there is one.
        longest_run: Steps between two validations at most.
    """

    spec: StepSpec
    members: tuple[HyperParameters, ...]
    data: TrainingData
    recipe: Recipe
    begin: Start
    teacher: Teacher | None
    longest_run: int

    @property
    def teacher_variables(self) -> dict[str, Any]:
        """Empty without a teacher."""
        return dict(self.teacher.variables) if self.teacher else {}

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training set."""
        return len(self.data.labels) // self.recipe.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def streamed(self) -> bool:
        """Whether images are decoded as they are needed."""
        return isinstance(self.data, ImageStream)

    def scalars(self, member: HyperParameters) -> MemberScalars:
        """The member's arguments of the programs."""
        return member_scalars(member, self.spec.update.optimizer, self.recipe)

    def horizon(self, window_start: int) -> Horizon:
        """The arguments that say how long everything is."""
        warmup = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        lengths = (warmup, self.total_steps, window_start)
        return Horizon(*(np.int32(length) for length in lengths))  # pyright: ignore[reportArgumentType]

    def rows(self, member: HyperParameters, epoch: int) -> np.ndarray:
        """The member's batches of an epoch, int32 [steps, batch]."""
        # A stream is one for all members, so its order is not theirs.
        seed = self.data.seed if isinstance(self.data, ImageStream) else member.seed
        return epoch_order(
            seed,
            epoch,
            num_images=len(self.data.labels),
            batch_size=self.recipe.batch_size,
        )

    def streamed_rows(self, start: int, stop: int) -> np.ndarray:
        """The stream's rows of the steps of one epoch, [stop - start, batch]."""
        epoch = start // self.steps_per_epoch
        first = epoch * self.steps_per_epoch
        return self.rows(self.members[0], epoch)[start - first : stop - first]

    def statistics_batches(
        self, member: HyperParameters
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The member's first steps, to take statistics from: step, rows, first step.

        The same whatever was trained already, so that all strategies agree.
        """
        for step in range(STATISTICS_STEPS):
            epoch = step // self.steps_per_epoch
            first = epoch * self.steps_per_epoch
            yield np.int32(step), self.rows(member, epoch), np.int32(first)  # pyright: ignore[reportReturnType]

    def initial(self, member: HyperParameters) -> dict[str, np.ndarray]:
        """The member's variables before the first step."""
        return starting_variables(
            self.spec.gradient.classifier, self.begin, member.seed
        )

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The steps from `start` to before `stop`, cut at the ends of epochs."""
        while start < stop:
            end = (start // self.steps_per_epoch + 1) * self.steps_per_epoch
            yield start, min(end, stop)
            start = min(end, stop)

    @property
    def renews_statistics(self) -> bool:
        """Whether members are measured elsewhere than their statistics were taken."""
        return bool(
            self.spec.update.optimizer.evaluated
            and self.spec.gradient.classifier.state_names - self.spec.frozen
        )


@runtime_checkable
class Runner(Protocol):
    """A population at work.

    Attributes:
        strategy: "loop", "vmap" or "unroll".
        state: Of all members; what a checkpoint has to keep. One that was kept may be
            assigned.
        compile_seconds: Spent on compilation so far.
        program_seconds: What compiling its programs took, whoever asked for them first.
        memory_bytes: What the largest of its programs takes, arguments included; None
            where the compiler does not say.
        optimizer_bytes: One member's optimizer state.
    """

    strategy: str
    state: Any
    compile_seconds: float
    program_seconds: float
    memory_bytes: int | None
    optimizer_bytes: int

    def run(self, start: int, stop: int, active: Sequence[int]) -> None:
        """Trains the active members from step `start` to before `stop`, and waits."""
        ...

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """`diverged_step` and `loss_sum` of every member, fetched."""
        ...

    def variables(self, member: int) -> dict[str, jax.Array]:
        """What a member is measured by, valid until the next `run`."""
        ...


def default_device() -> SingleDeviceSharding:
    """Where JAX puts an array that nobody placed, as a commitment."""
    return SingleDeviceSharding(jnp.zeros(()).devices().pop())


def tree_bytes(tree: Any) -> int:
    """Size of all leaves."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
