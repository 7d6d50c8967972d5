"""What is common to all members of a population: schedule, images, regularisation.

`RECIPES` holds those of the backbone-optimizer study as data; an experiment file names
one and may change any part of it.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

from jaxbench.data.augment import AUGMENTATIONS
from jaxbench.errors import UserError, unknown_name
from jaxbench.training.losses import LOSSES, DistillationKind, LossName


@dataclass(frozen=True)
class Recipe:
    """How a population is trained, apart from what differs between its members.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images of a step. The last images of an epoch that fill no batch
            are left out of it; each epoch has its own order, so they are others.
        warmup_epochs: Length of the linear warm-up, in [0, epochs], fractions allowed.
        loss: A name in `LOSSES`.
        label_smoothing: In [0, 1), see `cross_entropy`.
        augmentations: Names of `jaxbench.data.augment.AUGMENTATIONS`, in the order in
            which they are applied; kept as a tuple.
        rand_augment: Magnitude of RandAugment in [0, 10], applied after
            `augmentations`; None for none.
        random_erasing: Chance that a part of an image is erased, in [0, 1].
        mixup: Parameter of mixup's Beta distribution; 0 for no mixup.
        cutmix: That of CutMix; 0 for none. With both, either is drawn for each batch.
        clip_norm: Largest global norm of the gradient, above which it is scaled down
            to it; None leaves it alone.
        drop_rate: Dropout before the head, in [0, 1).
        drop_path_rate: Stochastic depth, in [0, 1).
        ema_decay: Keeps an exponential moving average of all variables, with this decay
            in [0, 1), which is what is validated and kept; None keeps none.
        distillation: Weight of the teacher's part of the loss, in [0, 1]; 0 for none.
        distillation_kind: See `losses.distillation`.
        distillation_temperature: Positive, for the kind "soft".

    The two drop rates belong to the network: whoever creates the classifier hands them
    to `create_model`.

    Raises:
        UserError: If a value is outside its range; all such values are named.
    """

    epochs: int = 10
    batch_size: int = 128
    warmup_epochs: float = 1.0
    loss: LossName = "cross_entropy"
    label_smoothing: float = 0.0
    augmentations: Sequence[str] = ()
    rand_augment: float | None = None
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_norm: float | None = None
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    ema_decay: float | None = None
    distillation: float = 0.0
    distillation_kind: DistillationKind = "soft"
    distillation_temperature: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.augmentations, str):
            object.__setattr__(self, "augmentations", tuple(self.augmentations))
        if problems := list(self._problems()):
            raise UserError(f"Recipe: {'; '.join(problems)}")

    def _problems(self) -> Iterator[str]:
        for name, (holds, what) in self._wanted().items():
            if not holds:
                yield f"{name} is {getattr(self, name)!r}, wanted {what}"
        if self.loss not in LOSSES:
            yield unknown_name("loss", str(self.loss), LOSSES)
        kinds = get_args(DistillationKind)
        if self.distillation_kind not in kinds:
            yield unknown_name("distillation_kind", str(self.distillation_kind), kinds)
        if not isinstance(self.augmentations, str):
            for name in self.augmentations:
                if name not in AUGMENTATIONS:
                    yield unknown_name("augmentation", name, AUGMENTATIONS)

    def _wanted(self) -> dict[str, tuple[bool, str]]:
        epochs = self.epochs if _is_count(self.epochs) else math.inf
        count, fraction = "an integer of at least 1", "a number in [0, 1)"
        clip, temperature = self.clip_norm, self.distillation_temperature
        return {
            "epochs": (_is_count(self.epochs), count),
            "batch_size": (_is_count(self.batch_size), count),
            "warmup_epochs": (
                _is_within(self.warmup_epochs, 0, epochs),
                "a number from 0 to `epochs`",
            ),
            "label_smoothing": (_is_fraction(self.label_smoothing), fraction),
            "rand_augment": (
                self.rand_augment is None or _is_within(self.rand_augment, 0, 10),
                "a number in [0, 10], or None for no RandAugment",
            ),
            "random_erasing": (_is_within(self.random_erasing, 0, 1), "in [0, 1]"),
            "mixup": (_is_within(self.mixup, 0), "0 or more"),
            "cutmix": (_is_within(self.cutmix, 0), "0 or more"),
            "clip_norm": (
                clip is None or (_is_number(clip) and clip > 0),
                "a positive number, or None for no clipping",
            ),
            "drop_rate": (_is_fraction(self.drop_rate), fraction),
            "drop_path_rate": (_is_fraction(self.drop_path_rate), fraction),
            "ema_decay": (
                self.ema_decay is None or _is_fraction(self.ema_decay),
                f"{fraction}, or None for no average",
            ),
            "distillation": (_is_within(self.distillation, 0, 1), "in [0, 1]"),
            "distillation_temperature": (
                _is_number(temperature) and temperature > 0,
                "a positive number",
            ),
            "augmentations": (
                not isinstance(self.augmentations, str),
                "a sequence of names",
            ),
        }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _is_within(value: object, low: float | int, high: float | int = math.inf) -> bool:
    return _is_number(value) and low <= value <= high  # pyright: ignore[reportOperatorIssue]


def _is_fraction(value: object) -> bool:
    return _is_number(value) and 0 <= value < 1  # pyright: ignore[reportOperatorIssue]


_CIFAR_STUDY = Recipe(epochs=200, batch_size=100, augmentations=("crop", "flip"))
_DEIT = dataclasses.replace(
    _CIFAR_STUDY,
    warmup_epochs=20.0,
    label_smoothing=0.1,
    rand_augment=9.0,
    random_erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    clip_norm=5.0,
    drop_path_rate=0.1,
)

# "plain" is what an experiment starts from that names none. The others are those of
# arXiv 2410.06373, table A3, with the values of its published configuration files where
# the two differ (the table has the warm-ups of DeiT and ConvNeXt exchanged). They are
# written for CIFAR-100; what ImageNet needs is a matter of epochs, batch size and
# "resized_crop". Repeated augmentation is left out.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "plain": Recipe(),
        "pytorch": dataclasses.replace(_CIFAR_STUDY, warmup_epochs=0.0),
        "deit": _DEIT,
        "convnext": dataclasses.replace(
            _DEIT, warmup_epochs=5.0, clip_norm=None, ema_decay=0.9999
        ),
        "rsb_a2": dataclasses.replace(
            _CIFAR_STUDY,
            warmup_epochs=5.0,
            loss="binary_cross_entropy",
            rand_augment=7.0,
            mixup=0.1,
            cutmix=1.0,
            drop_path_rate=0.05,
        ),
    }
)


def get_recipe(name: str) -> Recipe:
    """Looks a recipe up.

    Raises:
        UserError: If there is none of that name; the nearest names are given.
    """
    if name not in RECIPES:
        raise UserError(unknown_name("recipe", name, RECIPES))
    return RECIPES[name]
