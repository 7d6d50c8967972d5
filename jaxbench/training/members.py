"""The members of a population and everything that their seeds decide."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, UInt

from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

# Name to array, of NumPy or of JAX.
Variables = Mapping[str, Any]


@runtime_checkable
class Trainable(Protocol):
    """What training needs of a network; `model_zoo.Classifier` is one.

    It must be hashable and compare equal where it computes the same function: compiled
    programs are looked up by it.

    Attributes:
        name: For messages and checkpoints.
        num_classes: Length of the logits.
        input_spec: Size and normalisation of the images.
        parameter_names: Variables that the optimizer changes.
        state_names: Variables that `apply_train` itself updates (statistics).
        decay_names: Parameters that weight decay applies to.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (the class says it)

    @property
    def num_classes(self) -> int: ...  # noqa: D102

    @property
    def input_spec(self) -> InputSpec: ...  # noqa: D102

    @property
    def parameter_names(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def state_names(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def decay_names(self) -> frozenset[str]: ...  # noqa: D102

    def init(self, key: Any) -> Any:
        """Draws the variables, flat and with dotted names."""
        ...

    def apply_train(self, variables: Any, images: Any, key: Any) -> Any:
        """Gives outputs with `.logits` [n, k], and the updated statistics."""
        ...


@dataclass(frozen=True)
class HyperParameters:
    """What sets one member of a population apart.

    Attributes:
        learning_rate: Peak of the schedule, positive.
        weight_decay: Of the parameters that decay, not negative; what it multiplies is
            the optimizer's affair.
        seed: In [0, 2^32). Decides the initial weights, the order of the images, the
            augmentations and the dropout, and these alone.

    Raises:
        UserError: If a value is outside its range; all such values are named.
    """

    learning_rate: float
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        wanted = {
            "learning_rate": (
                math.isfinite(self.learning_rate) and self.learning_rate > 0,
                "a positive number",
            ),
            "weight_decay": (
                math.isfinite(self.weight_decay) and self.weight_decay >= 0,
                "a number that is not negative",
            ),
            "seed": (0 <= self.seed < 2**32, "an integer in [0, 2^32)"),
        }
        problems = [
            f"{name} is {getattr(self, name)!r}, wanted {what}"
            for name, (holds, what) in wanted.items()
            if not holds
        ]
        if problems:
            raise UserError(f"HyperParameters: {'; '.join(problems)}")


class MemberScalars(NamedTuple):
    """A member's `HyperParameters` as arrays, which programs take as arguments."""

    learning_rate: Float[Array, "*members"]
    weight_decay: Float[Array, "*members"]
    seed: UInt[Array, "*members"]


def member_scalars(member: HyperParameters) -> MemberScalars:
    """The arguments that tell one member from another, float32 and uint32."""
    return MemberScalars(
        np.float32(member.learning_rate),  # pyright: ignore[reportArgumentType]
        np.float32(member.weight_decay),  # pyright: ignore[reportArgumentType]
        np.uint32(member.seed),  # pyright: ignore[reportArgumentType]
    )


def initial_variables(classifier: Trainable, seed: int) -> dict[str, np.ndarray]:
    """The weights a member starts from: `classifier.init(jax.random.key(seed))`."""
    variables = classifier.init(jax.random.key(seed))
    return {name: np.asarray(value) for name, value in variables.items()}


def epoch_order(
    seed: int, epoch: int, *, num_images: int, batch_size: int
) -> np.ndarray:
    """Which images a member sees in which step of an epoch.

    Drawn with NumPy from (seed, epoch) alone, so a resumed run needs no generator's
    state and no member depends on another.

    Returns:
        int32 [steps, batch_size], all different; the `num_images % batch_size` images
        that fill no batch are left out.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(num_images).astype(np.int32)
    steps = num_images // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)
