"""What is common to all members of a population: schedule, batches, regularisation."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxbench.data.augment import AUGMENTATIONS
from jaxbench.errors import UserError, unknown_name


@dataclass(frozen=True)
class Recipe:
    """How a population is trained, apart from what differs between its members.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images of a step. The last images of an epoch that fill no batch
            are left out of it; each epoch has its own order, so they are others.
        warmup_epochs: Length of the linear warm-up, in [0, epochs], fractions allowed.
        label_smoothing: In [0, 1), see `cross_entropy`.
        augmentations: Names of `jaxbench.data.augment.AUGMENTATIONS`, in the order in
            which they are applied; kept as a tuple.
        clip_norm: Largest global norm of the gradient, above which it is scaled down
            to it; None leaves it alone.
        drop_rate: Dropout before the head, in [0, 1).
        drop_path_rate: Stochastic depth, in [0, 1).

    The two drop rates belong to the network: whoever creates the classifier hands them
    to `create_model`.

    Raises:
        UserError: If a value is outside its range; all such values are named.
    """

    epochs: int = 10
    batch_size: int = 128
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    augmentations: Sequence[str] = ()
    clip_norm: float | None = None
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.augmentations, str):
            object.__setattr__(self, "augmentations", tuple(self.augmentations))
        if problems := list(self._problems()):
            raise UserError(f"Recipe: {'; '.join(problems)}")

    def _problems(self) -> Iterator[str]:
        epochs = self.epochs if _is_count(self.epochs) else math.inf
        fraction = "a number in [0, 1)"
        wanted = {
            "epochs": (_is_count(self.epochs), "an integer of at least 1"),
            "batch_size": (_is_count(self.batch_size), "an integer of at least 1"),
            "warmup_epochs": (
                _is_number(self.warmup_epochs) and 0 <= self.warmup_epochs <= epochs,
                "a number from 0 to `epochs`",
            ),
            "label_smoothing": (_is_fraction(self.label_smoothing), fraction),
            "clip_norm": (
                self.clip_norm is None
                or (_is_number(self.clip_norm) and self.clip_norm > 0),
                "a positive number, or None for no clipping",
            ),
            "drop_rate": (_is_fraction(self.drop_rate), fraction),
            "drop_path_rate": (_is_fraction(self.drop_path_rate), fraction),
            "augmentations": (
                not isinstance(self.augmentations, str),
                "a sequence of names",
            ),
        }
        for name, (holds, what) in wanted.items():
            if not holds:
                yield f"{name} is {getattr(self, name)!r}, wanted {what}"
        if not isinstance(self.augmentations, str):
            for name in self.augmentations:
                if name not in AUGMENTATIONS:
                    yield unknown_name("augmentation", name, AUGMENTATIONS)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _is_fraction(value: object) -> bool:
    return _is_number(value) and 0 <= value < 1  # pyright: ignore[reportOperatorIssue]
