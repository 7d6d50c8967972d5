"""From a `[train]` table to populations, and what each of them needs."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from jaxbench.config import BEST_TRIAL, ExperimentConfig, GridConfig, TrainConfig
from jaxbench.data import AUGMENTATIONS, Source
from jaxbench.errors import UserError, unknown_name
from jaxbench.results import run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.starts import find_start, teacher_entry, teacher_subject
from jaxbench.sweeps.subjects import check_subjects
from jaxbench.training import (
    LOSSES,
    OPTIMIZERS,
    RECIPES,
    SHARED_OPTIONS,
    Halving,
    HyperParameters,
    Recipe,
    Start,
    get_optimizer,
    get_recipe,
    plan_problems,
)
from model_zoo import InputSpec, create_model, list_models

# Images of a training set that are kept on the device whole, where a table does not say
# otherwise, in bytes: CIFAR at its own size and a few times that.
RESIDENT_BYTES = 4 * 2**30
Made = TypeVar("Made")
# What learning curves show; the networks that are kept get every metric at the end.
CURVE_METRICS = ("accuracy", "nll", "ece", "aurc")

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
    """One training run: a point of a grid."""

    train: TrainConfig
    model: str
    optimizer: str
    hyper: HyperParameters
    trial_id: str


@dataclasses.dataclass(frozen=True)
class Population:
    """Trials of one backbone and one optimizer, trained together.

    Attributes:
        teachers: Trials of earlier tables, the best of which they learn from, if so.
        start: Digest of the weights that they start from, if they do.
        teacher: Digest of the teacher, if it is none of `teachers`.
    """

    train: TrainConfig
    model: str
    optimizer: str
    trials: tuple[Trial, ...]
    teachers: tuple[Trial, ...] = ()
    start: str | None = None
    teacher: str | None = None

    @property
    def title(self) -> str:
        """How it is called on the screen."""
        return f"{self.model} + {self.optimizer}"


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
    for name in _ZERO_IS_NONE:
        if changes.get(name) == 0:
            changes[name] = None
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


def train_problems(train: TrainConfig) -> list[str]:
    """Names in a table that do not exist, in words."""
    known = list_models()
    problems = [
        unknown_name("model", pattern, known)
        for pattern in train.models
        if not list_models(pattern, pretrained=False)
    ]
    if train.recipe not in RECIPES:
        problems.append(unknown_name("recipe", train.recipe, RECIPES))
    if train.loss is not None and train.loss not in LOSSES:
        problems.append(unknown_name("loss", train.loss, LOSSES))
    problems += [
        unknown_name("augmentation", name, AUGMENTATIONS)
        for name in train.augmentations or ()
        if name not in AUGMENTATIONS
    ]
    for name, grid in train.grid.items():
        problems += _grid_problems(name, grid)
    if train.teacher is not None and train.teacher.weights != BEST_TRIAL:
        problems += check_subjects((teacher_entry(train.teacher),))
    return problems


def _grid_problems(name: str, grid: GridConfig) -> Iterator[str]:
    if name not in OPTIMIZERS:
        yield unknown_name("optimizer", name, OPTIMIZERS)
        return
    own = OPTIMIZERS[name].options
    known = ("learning_rate", "weight_decay", *SHARED_OPTIONS, *own)
    for key in grid.options:
        if key not in known:
            yield unknown_name(f"hyper-parameter of {name}", key, known)


def expand_populations(
    config: ExperimentConfig,
    train: TrainConfig,
    datasets: Datasets,
    earlier: Iterable[Population] = (),
) -> Iterator[Population]:
    """Every population of a table, in the order of models and optimizers.

    Args:
        config: The experiment.
        train: The table.
        datasets: Opens its addresses.
        earlier: The populations of the tables before it: a teacher may be among them.

    Raises:
        UserError: If a recipe or hyper-parameter is out of range, or the teacher is
            none.
    """
    source, validation = datasets.open(train.dataset), datasets.open(train.validation)
    _check_table(config, train, source)
    num_classes = len(source.class_names)
    teachers = _teachers(config, train, datasets, earlier)
    stated = config.classes is not None
    teacher = None if teachers else teacher_subject(train, source, stated=stated)
    shared: dict[str, Any] = {
        "version": NUMBERS_VERSION["trial"],
        "kind": "trial",
        "dataset": source.fingerprint,
        "validation": validation.fingerprint,
        "num_classes": num_classes,
        "dtype": train.dtype,
        "on_error": config.on_error,
        "recipe": dataclasses.asdict(make_recipe(train, config.limit)),
        "validate_every": train.validate_every,
        "halving": train.halving and train.halving.model_dump(mode="json"),
        "start": [train.weights, train.layer_decay, list(train.frozen)],
        "teacher": teacher.digest if teacher else None,
    }
    if teachers:
        # Which of them is the best follows from what they are.
        shared["teacher"] = sorted(trial.trial_id for trial in teachers)
    for model in expand_models(train.models):
        spec = create_model(model, image_size=train.image_size).input_spec
        spec = spec.adjusted(train.crop_fraction, train.interpolation)
        shared["input"] = dataclasses.asdict(spec)
        shared["images"] = "stream" if streams(train, source, spec) else "resident"
        if train.weights is not None:
            shared["weights"] = find_start(train, model, num_classes).digest
        for optimizer, grid in train.grid.items():
            points = grid_points(grid, train.seeds)
            size = train.max_members or len(points)
            for first in range(0, len(points), size):
                part = points[first : first + size]
                if train.halving is not None:
                    # Who goes on depends on who is there.
                    shared["grid"] = [point.settings() for point in part]
                trials = (_trial(shared, train, model, optimizer, p) for p in part)
                yield Population(
                    *(train, model, optimizer, tuple(trials), teachers),
                    start=shared.get("weights"),
                    teacher=teacher.digest if teacher else None,
                )


def _teachers(
    config: ExperimentConfig,
    train: TrainConfig,
    datasets: Datasets,
    earlier: Iterable[Population],
) -> tuple[Trial, ...]:
    """The trials that a teacher with the weights "best-trial" is chosen among.

    Raises:
        UserError: If no table before this one trains it, or those that do cannot be
            compared, or are of other classes.
    """
    teacher = train.teacher
    if teacher is None or teacher.weights != BEST_TRIAL:
        return ()
    trained = [trial for population in earlier for trial in population.trials]
    found = tuple(trial for trial in trained if trial.model == teacher.name)
    if not found:
        names = ", ".join(sorted({trial.model for trial in trained})) or "nothing"
        raise UserError(
            f"teacher {teacher.name!r} with weights {BEST_TRIAL!r}: no [[train]] table "
            f"before the student's trains it (they train {names}); put one there, or "
            "give a file of weights"
        )
    if teacher.image_size is not None:
        raise UserError(
            f"teacher {teacher.name!r}: with weights {BEST_TRIAL!r} its image_size is "
            "that of the table that trains it; leave it out here"
        )
    if problems := list(_teacher_problems(config, train, datasets, found)):
        raise UserError(f"teacher {teacher.name!r}: {'; '.join(problems)}")
    return found


def _teacher_problems(
    config: ExperimentConfig,
    train: TrainConfig,
    datasets: Datasets,
    teachers: Iterable[Trial],
) -> Iterator[str]:
    """What keeps trials of earlier tables from being the teachers of a table."""
    # Equal tables make the same trials.
    numbers = sorted({config.train.index(trial.train) for trial in teachers})
    tables = [config.train[number] for number in numbers]
    validations = {datasets.open(table.validation).fingerprint for table in tables}
    if len(validations) > 1:
        scored = (f"table {n + 1} on {config.train[n].validation!r}" for n in numbers)
        yield (
            "its best trial is the one with the best validation accuracy, and the "
            f"[[train]] tables that train it have other validation images: "
            f"{', '.join(scored)}; give them the same `validation`"
        )
    classes = tuple(datasets.open(train.dataset).class_names)
    for number, table in zip(numbers, tables, strict=True):
        found = tuple(datasets.open(table.dataset).class_names)
        if found != classes:
            yield (
                f"[[train]] table {number + 1} trains it on {table.dataset!r} "
                f"({_classes(found)}), the student in table "
                f"{config.train.index(train) + 1} learns {train.dataset!r} "
                f"({_classes(classes)}); teacher and student need the same class "
                "names in the same order"
            )


def _classes(names: tuple[str, ...]) -> str:
    few = ", ".join(names[:3])
    return f"{len(names)} classes: {few}{', ...' if len(names) > 3 else ''}"


def streams(train: TrainConfig, source: Source, spec: InputSpec) -> bool:
    """Whether images are decoded as they are needed, and not kept on the device.

    What is kept beside them has no say: the order of a stream is another one, so the
    choice is part of what a trial is.
    """
    if train.images != "auto":
        return train.images == "stream"
    height, width = spec.size
    return len(source) * height * width * 3 > RESIDENT_BYTES


def _check_table(config: ExperimentConfig, train: TrainConfig, source: Source) -> None:
    """Tries every value of a table before anything is computed.

    Raises:
        UserError: Naming all that do not fit, and where they stand.
    """
    problems: list[str] = []
    recipe = _tried(problems, "recipe", lambda: make_recipe(train, config.limit))
    halving = make_halving(train)
    given = {} if train.weights else None
    begin = Start(given, train.layer_decay, train.frozen)
    # Made once each: a network's names cost a fifth of a second.
    classifiers = {
        model: create_model(
            model, num_classes=len(source.class_names), image_size=train.image_size
        )
        for model in expand_models(train.models)
    }
    for name, grid in train.grid.items():
        points = _tried(
            problems, f"grid.{name}", lambda grid=grid: grid_points(grid, train.seeds)
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
                halving=halving,
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


def grid_points(grid: GridConfig, seeds: tuple[int, ...]) -> list[HyperParameters]:
    """The product of a grid's values, without repeats."""
    names = tuple(grid.options)
    points = itertools.product(
        grid.learning_rate, grid.weight_decay, seeds, *grid.options.values()
    )
    found = []
    for point in dict.fromkeys(points):
        (rate, decay, *values), seed = point[:2] + point[3:], int(point[2])
        options = dict(zip(names, values, strict=True))
        common = {n: options.pop(n) for n in SHARED_OPTIONS if n in options}
        found.append(HyperParameters(rate, decay, seed, options=options, **common))
    return found


def _trial(
    shared: Mapping[str, Any],
    train: TrainConfig,
    model: str,
    optimizer: str,
    hyper: HyperParameters,
) -> Trial:
    payload = {"model": model, "optimizer": optimizer} | hyper.settings()
    if optimizer == "adan" and train.layer_decay != 1 and hyper.weight_decay:
        # Its decay once ignored the rates by layer; those runs are other ones.
        payload["decay"] = "by layer"
    return Trial(train, model, optimizer, hyper, run_digest({**shared, **payload}))


def expand_models(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The zoo's names that patterns stand for, without repeats."""
    found = (
        name for pattern in patterns for name in list_models(pattern, pretrained=False)
    )
    return tuple(dict.fromkeys(found))


def make_halving(train: TrainConfig) -> Halving | None:
    """How members that fall behind are stopped, if at all."""
    if train.halving is None:
        return None
    return Halving(
        train.halving.first_epoch,
        train.halving.factor,
        train.halving.metric,
        maximize=train.halving.metric == "accuracy",
    )
