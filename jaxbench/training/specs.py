"""What a step takes and gives, and what decides its program.

Everything in a `...Spec` is part of a program's identity; everything else is an
argument of it, so that it may change without a compilation.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Int

from jaxbench.training.inputs import Augmentation
from jaxbench.training.losses import DistillationKind, LossName
from jaxbench.training.members import Trainable
from jaxbench.training.optimizers import Hyper, Leaves, Optimizer

# Value of `diverged_step` while a member is sound.
SOUND = -1


class Horizon(NamedTuple):
    """Lengths that a step needs; traced, so that they ask for no compilation.

    Attributes:
        warmup_steps: Of the schedule.
        total_steps: Of the schedule.
        window_start: The step at which `loss_sum` begins anew.
    """

    warmup_steps: Int[Array, ""]
    total_steps: Int[Array, ""]
    window_start: Int[Array, ""]


class Shared(NamedTuple):
    """Arrays that all members share and none changes, flat.

    Attributes:
        frozen: Variables of the network that are not trained.
        teacher: The teacher's variables; empty without one.
    """

    frozen: dict[str, Any]
    teacher: dict[str, Any]


class MemberState(NamedTuple):
    """Everything that changes while a member trains.

    Attributes:
        parameters: What the optimizer changes, flat.
        statistics: What the forward pass updates (BatchNorm), flat.
        average: Moving average of both, flat; empty where the recipe keeps none.
        optimizer: The optimizer's own state.
        step: Steps gone by, frozen ones too.
        diverged_step: The first step whose loss or result was not finite, or `SOUND`.
        loss_sum: Over the steps since `Horizon.window_start` that were applied.
    """

    parameters: dict[str, Any]
    statistics: dict[str, Any]
    average: dict[str, Any]
    optimizer: Any
    step: Int[Array, "*members"]
    diverged_step: Int[Array, "*members"]
    loss_sum: Float[Array, "*members"]


class Gradient(NamedTuple):
    """What the first half of a step hands to the second.

    Attributes:
        loss: Mean over the batch.
        gradient: Of the loss.
        statistics: After the step.
        curvature: See `Optimizer.curvature_every`; empty where it was not asked for.
    """

    loss: Float[Array, "*members"]
    gradient: dict[str, Any]
    statistics: dict[str, Any]
    curvature: dict[str, Any]


@dataclass(frozen=True)
class Distillation:
    """A teacher and its part in the loss; see `Recipe` for the fields."""

    teacher: Trainable
    weight: float
    kind: DistillationKind
    temperature: float


@dataclass(frozen=True)
class GradientSpec:
    """What decides the first half's program, besides shapes."""

    classifier: Trainable
    augmentation: Augmentation
    loss: LossName
    distillation: Distillation | None = None
    curvature: bool = False


@dataclass(frozen=True)
class UpdateSpec:
    """What decides the second half's program, besides shapes.

    Attributes:
        optimizer: A row of the table.
        clip_norm: See `Recipe`.
        decay_names: Parameters that decay.
        output_names: Kernels of the output layer.
        rates: Factors of the learning rate by parameter, where they are not 1.
        averages: Whether a moving average is kept.
    """

    optimizer: Optimizer
    clip_norm: float | None
    decay_names: frozenset[str]
    output_names: frozenset[str] = frozenset()
    rates: tuple[tuple[str, float], ...] = ()
    averages: bool = False

    def transformation(self, hyper: Hyper, parameters: dict[str, Any]):
        """The optimizer for these hyper-parameters."""
        leaves = Leaves(
            decay={name: name in self.decay_names for name in parameters},
            output={name: name in self.output_names for name in parameters},
            rates=dict(self.rates),
        )
        return optax.with_extra_args_support(self.optimizer.build(hyper, leaves))


@dataclass(frozen=True)
class StepSpec:
    """Both halves.

    Attributes:
        gradient: The first.
        update: The second.
        frozen: Variables that stay as they are.
    """

    gradient: GradientSpec
    update: UpdateSpec
    frozen: frozenset[str] = frozenset()

    @property
    def curved(self) -> GradientSpec:
        """The first half of those steps in which the curvature is wanted."""
        return dataclasses.replace(self.gradient, curvature=True)

    def split(self, variables: dict[str, Any]) -> tuple[dict, dict, dict]:
        """Trained parameters, updated statistics, and what is frozen."""
        classifier = self.gradient.classifier
        trained = classifier.parameter_names - self.frozen
        updated = classifier.state_names - self.frozen
        groups = (trained, updated, self.frozen)
        return tuple({n: variables[n] for n in sorted(names)} for names in groups)  # pyright: ignore[reportReturnType]
