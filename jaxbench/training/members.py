"""The members of a population and everything that their seeds decide."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, UInt

from jaxbench.errors import UserError, unknown_name
from jaxbench.training.optimizers import Hyper, Optimizer
from jaxbench.training.recipes import Recipe
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
        shapes: Shape and dtype of every variable.
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
    def shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]: ...  # noqa: D102

    @property
    def parameter_names(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def state_names(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def decay_names(self) -> frozenset[str]: ...  # noqa: D102

    def init(self, key: Any) -> Any:
        """Draws the variables, flat and with dotted names."""
        ...

    def apply(self, variables: Any, images: Any) -> Any:
        """Gives outputs with `.logits` [n, k], in evaluation mode."""
        ...

    def apply_train(self, variables: Any, images: Any, key: Any) -> Any:
        """Gives outputs with `.logits` [n, k], and the updated statistics."""
        ...


@dataclass(frozen=True)
class HyperParameters:
    """What sets one member of a population apart.

    All of these are arguments of the compiled programs: none asks for a compilation.

    Attributes:
        learning_rate: Peak of the schedule, positive.
        weight_decay: Of the parameters that decay, not negative; what it multiplies is
            the optimizer's affair.
        seed: In [0, 2^32). Decides the initial weights, the order of the images, the
            augmentations and the dropout, and these alone.
        label_smoothing: In [0, 1); None takes the recipe's.
        ema_decay: Of the averaged weights, in [0, 1); None takes the recipe's, which
            must have one.
        options: The optimizer's own, by name (`Optimizer.options` lists them with
            their defaults), such as `{"beta1": 0.95}`.

    Raises:
        UserError: If a value is outside its range; all such values are named.
    """

    learning_rate: float
    weight_decay: float = 0.0
    seed: int = 0
    label_smoothing: float | None = None
    ema_decay: float | None = None
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Sorted, so that equal members are written down alike.
        options = {name: float(value) for name, value in sorted(self.options.items())}
        object.__setattr__(self, "options", MappingProxyType(options))
        problems = [
            f"{name} is {value!r}, wanted {what}"
            for name, value, holds, what in self._checks()
            if not holds
        ]
        if problems:
            raise UserError(f"HyperParameters: {'; '.join(problems)}")

    def __hash__(self) -> int:
        return hash((self.learning_rate, self.weight_decay, self.seed))

    def _checks(self) -> Iterator[tuple[str, Any, bool, str]]:
        rate, decay, seed = self.learning_rate, self.weight_decay, self.seed
        yield (
            "learning_rate",
            rate,
            math.isfinite(rate) and rate > 0,
            "a positive number",
        )
        yield (
            "weight_decay",
            decay,
            math.isfinite(decay) and decay >= 0,
            "a number that is not negative",
        )
        yield "seed", seed, 0 <= seed < 2**32, "an integer in [0, 2^32)"
        for name in ("label_smoothing", "ema_decay"):
            value = getattr(self, name)
            yield name, value, value is None or 0 <= value < 1, "a number in [0, 1)"
        for name, value in self.options.items():
            yield name, value, math.isfinite(value), "a finite number"

    def settings(self) -> dict[str, float | int]:
        """What was given, flat and by name: for digests, rows and messages."""
        shared = {
            name: value
            for name in ("label_smoothing", "ema_decay")
            if (value := getattr(self, name)) is not None
        }
        return {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "seed": self.seed,
            **shared,
            **self.options,
        }


class MemberScalars(NamedTuple):
    """A member's `HyperParameters` as arrays, which programs take as arguments.

    Attributes:
        hyper: For the optimizer; the rate is the schedule's peak.
        label_smoothing: In [0, 1).
        ema_decay: In [0, 1); 0 where nothing is averaged.
        seed: Of everything that is drawn.
    """

    hyper: Hyper
    label_smoothing: Float[Array, "*members"]
    ema_decay: Float[Array, "*members"]
    seed: UInt[Array, "*members"]


def member_scalars(
    member: HyperParameters, optimizer: Optimizer, recipe: Recipe
) -> MemberScalars:
    """The arguments in which members differ, float32 and uint32."""
    options = dict(optimizer.options) | dict(member.options)
    hyper = Hyper(member.learning_rate, member.weight_decay, options)  # pyright: ignore[reportArgumentType]
    smoothing, decay = member.label_smoothing, member.ema_decay
    return MemberScalars(
        jax.tree.map(np.float32, hyper),
        np.float32(recipe.label_smoothing if smoothing is None else smoothing),  # pyright: ignore[reportArgumentType]
        np.float32((recipe.ema_decay or 0.0) if decay is None else decay),  # pyright: ignore[reportArgumentType]
        np.uint32(member.seed),  # pyright: ignore[reportArgumentType]
    )


def member_problems(
    members: Sequence[HyperParameters], optimizer: Optimizer, recipe: Recipe
) -> Iterator[str]:
    """What members ask for that the optimizer or the recipe does not have."""
    names = {name for member in members for name in member.options}
    for name in sorted(names - optimizer.options.keys()):
        known = ("learning_rate", "weight_decay", *optimizer.options, *SHARED_OPTIONS)
        yield unknown_name(f"hyper-parameter of {optimizer.name}", name, known)
    for name in sorted(names & optimizer.options.keys()):
        below_one = name.startswith(_FRACTIONS) and name != "momentum_decay"
        for value in sorted({m.options[name] for m in members if name in m.options}):
            if value < 0 or (below_one and value >= 1):
                wanted = "a number in [0, 1)" if below_one else "0 or more"
                yield f"{name} of {optimizer.name} is {value:g}, wanted {wanted}"
    averages = optimizer.evaluated is not None
    if averages and any(m.options.get("beta1") == 0 for m in members):
        yield f"beta1 of {optimizer.name} is 0, of which no average can be taken"
    if recipe.ema_decay is None and any(m.ema_decay is not None for m in members):
        yield (
            "a member has an ema_decay and the recipe averages no weights; give the "
            "recipe an ema_decay too"
        )


# How options begin that are the weight of what was before.
_FRACTIONS = ("beta", "momentum", "alpha", "shampoo_beta")
# What a grid may vary whatever the optimizer.
SHARED_OPTIONS = ("label_smoothing", "ema_decay")


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
