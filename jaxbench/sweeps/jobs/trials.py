"""Trials: the points of a `[train]` table's grids, and the recipe they share."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from jaxbench.config import BEST_TRIAL, GridConfig, TrainConfig
from jaxbench.data import AUGMENTATIONS, Source
from jaxbench.errors import UserError, unknown_name
from jaxbench.sweeps.expansion import expand_models, model_problems
from jaxbench.sweeps.own import own_options
from jaxbench.sweeps.starts import teacher_entry
from jaxbench.sweeps.subjects import check_subjects
from jaxbench.training import (
    LOSSES,
    OPTIMIZERS,
    RECIPES,
    SHARED_OPTIONS,
    Halving,
    HyperParameters,
    Optimizer,
    Recipe,
    Start,
    get_optimizer,
    get_recipe,
    plan_problems,
)
from model_zoo import Classifier, InputSpec, create_model

# Images of a training set that are kept on the device whole, where a table does not say
# otherwise, in bytes: CIFAR at its own size and a few times that.
RESIDENT_BYTES = 4 * 2**30
Made = TypeVar("Made")

# Keys of a table that change its recipe, where they are given.
_RECIPE_KEYS = tuple(
    field.name
    for field in dataclasses.fields(Recipe)
    if not field.name.startswith("distillation")
)
# Keys for which a zero in the file means none.
_ZERO_IS_NONE = ("rand_augment", "clip_norm", "ema_decay")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run: a point of a grid.

    Attributes:
        train: The table.
        model: The backbone's name.
        optimizer: The optimizer's name.
        hyper: The point.
        num_classes: Of the dataset.
        spec: The images that the network sees.
        trial_id: Names the run and the weights that it leaves.
    """

    train: TrainConfig
    model: str
    optimizer: str
    hyper: HyperParameters
    num_classes: int
    spec: InputSpec
    trial_id: str

    # Its outputs are the classes of the dataset, in their order.
    class_names = None

    @property
    def digest(self) -> str:
        """The trial as a model to measure: `trial_id`."""
        return self.trial_id

    @property
    def title(self) -> str:
        """A name for the screen."""
        rate = self.hyper.learning_rate
        return f"{self.model} + {self.optimizer} (lr {rate:g})"

    def settings(self) -> dict[str, Any]:
        """What identifies the trial in a row."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "trial_id": self.trial_id,
            "dtype": self.train.dtype,
            **self.hyper.settings(),
            **own_options(self.optimizer, self.hyper.options),
        }

    def classifier(self) -> Classifier:
        """The network, with the recipe's regularisation."""
        train, recipe = self.train, make_recipe(self.train)
        classifier = create_model(
            self.model,
            num_classes=self.num_classes,
            image_size=train.image_size,
            dtype=np.dtype(train.dtype),
            drop_rate=recipe.drop_rate,
            drop_path_rate=recipe.drop_path_rate,
        )
        return dataclasses.replace(classifier, input_spec=self.spec)


def make_recipe(train: TrainConfig, limit: int | None = None) -> Recipe:
    """The part of a training table that is the same for all of its trials.

    Args:
        train: The table.
        limit: Images that a trial run is cut to: a batch is never larger.

    Raises:
        UserError: If the recipe does not exist, or a value does not fit the others.
    """
    given = {name: getattr(train, name) for name in _RECIPE_KEYS}
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= {name: None for name in _ZERO_IS_NONE if changes.get(name) == 0}
    if train.teacher is not None:
        changes |= {
            "distillation": train.teacher.weight,
            "distillation_kind": train.teacher.kind,
            "distillation_temperature": train.teacher.temperature,
        }
    recipe = get_recipe(train.recipe)
    if "epochs" in changes and "warmup_epochs" not in changes:
        # A short run of a long recipe keeps its proportions.
        longest = recipe.warmup_epochs * min(1.0, changes["epochs"] / recipe.epochs)
        changes["warmup_epochs"] = longest
    recipe = dataclasses.replace(recipe, **changes)
    size = min(recipe.batch_size, limit or recipe.batch_size)
    return dataclasses.replace(recipe, batch_size=size)


def recipe_settings(train: TrainConfig, limit: int | None) -> dict[str, Any]:
    """How a trial was trained, beside what sets it apart from its population."""
    recipe = dataclasses.asdict(make_recipe(train, limit))
    recipe["train_batch_size"] = recipe.pop("batch_size")
    recipe["augmentations"] = " ".join(recipe["augmentations"])
    recipe["recipe"] = train.recipe
    names = ("image_size", "crop_fraction", "interpolation", "strategy", "layer_decay")
    return recipe | {
        **{name: getattr(train, name) for name in names},
        "image_limit": limit,
        "started_from": train.weights,
        "frozen": " ".join(train.frozen),
        "teacher": train.teacher and f"{train.teacher.name} {train.teacher.weights}",
    }


def make_halving(train: TrainConfig) -> Halving | None:
    """How members that fall behind are stopped, if at all."""
    rule = train.halving
    if rule is None:
        return None
    maximize = rule.metric == "accuracy"
    return Halving(rule.first_epoch, rule.factor, rule.metric, maximize=maximize)


def grid_points(
    optimizer: Optimizer, grid: GridConfig, seeds: tuple[int, ...]
) -> list[HyperParameters]:
    """The product of a grid's values, without repeats.

    Where no rate is given, rate and decay are the optimizer's defaults.

    Raises:
        UserError: If the optimizer has no default rate either.
    """
    default = {} if grid.learning_rate else optimizer.defaults
    if not (rates := grid.learning_rate or _one(default, "learning_rate")):
        raise UserError(
            f"{optimizer.name} has no default learning rate; give `learning_rate`"
        )
    decays = grid.weight_decay or _one(default, "weight_decay") or (0.0,)
    points = itertools.product(rates, decays, seeds, *grid.options.values())
    found = []
    for rate, decay, seed, *values in dict.fromkeys(points):
        options = dict(zip(grid.options, values, strict=True))
        common = {n: options.pop(n) for n in SHARED_OPTIONS if n in options}
        found.append(HyperParameters(rate, decay, int(seed), options=options, **common))
    return found


def _one(values: Mapping[str, float], name: str) -> tuple[float, ...]:
    return (values[name],) if name in values else ()


def streams(train: TrainConfig, source: Source, spec: InputSpec) -> bool:
    """Whether images are decoded as they are needed, and not kept on the device.

    What is kept beside them has no say: the order of a stream is another one, so the
    choice is part of what a trial is.
    """
    if train.images != "auto":
        return train.images == "stream"
    height, width = spec.size
    return len(source) * height * width * 3 > RESIDENT_BYTES


def name_problems(train: TrainConfig) -> Iterator[str]:
    """Names in a table that do not exist."""
    yield from model_problems(train.models)
    named = {"recipe": (train.recipe, RECIPES), "loss": (train.loss, LOSSES)}
    for what, (name, known) in named.items():
        if name is not None and name not in known:
            yield unknown_name(what, name, known)
    for name in train.augmentations or ():
        if name not in AUGMENTATIONS:
            yield unknown_name("augmentation", name, AUGMENTATIONS)
    for name, grid in train.grid.items():
        if name not in OPTIMIZERS:
            yield unknown_name("optimizer", name, OPTIMIZERS)
            continue
        own = OPTIMIZERS[name].options
        known = ("learning_rate", "weight_decay", *SHARED_OPTIONS, *own)
        for key in grid.options:
            if key not in known:
                yield unknown_name(f"hyper-parameter of {name}", key, known)
    if train.teacher is not None and train.teacher.weights != BEST_TRIAL:
        yield from check_subjects((teacher_entry(train.teacher),))


def check_values(train: TrainConfig, source: Source, limit: int | None) -> None:
    """Tries every value of a table before anything is computed.

    Args:
        train: The table.
        source: The training images.
        limit: As for `make_recipe`.

    Raises:
        UserError: If values do not fit; all of them are named.
    """
    problems: list[str] = []
    recipe = _tried(problems, "recipe", lambda: make_recipe(train, limit))
    begin = Start({} if train.weights else None, train.layer_decay, train.frozen)
    # Made once each: a network's names cost a fifth of a second.
    classifiers = {
        model: create_model(
            model, num_classes=len(source.class_names), image_size=train.image_size
        )
        for model in expand_models(train.models)
    }
    for name, grid in train.grid.items():
        points = _tried(
            problems,
            f"grid.{name}",
            lambda name=name, grid=grid: grid_points(
                get_optimizer(name), grid, train.seeds
            ),
        )
        if recipe is None or points is None:
            continue
        for model, classifier in classifiers.items():
            found = plan_problems(
                classifier,
                get_optimizer(name),
                points,
                recipe,
                begin=begin,
                halving=make_halving(train),
                num_images=len(source),
            )
            problems += [f"{model} + {name}: {problem}" for problem in found]
    if problems:
        raise UserError("\n".join(f"train: {problem}" for problem in problems))


def _tried(problems: list[str], place: str, make: Callable[[], Made]) -> Made | None:
    try:
        return make()
    except UserError as error:
        problems.append(f"{place}: {error}")
        return None
