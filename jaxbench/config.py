"""Experiment files: TOML in, one frozen and validated value out.

An unknown key, a value out of range and a missing table are errors, and all of them
are told at once. Names of models, datasets, optimizers and metrics are looked up
where they are used: this module knows the shape of an experiment, not what exists.
"""

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from jaxbench.errors import UserError, unknown_name

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
OnError = Literal["raise", "skip"]


class _Table(pydantic.BaseModel):
    """A TOML table: frozen, strict about types, closed to unknown keys."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


Values = Annotated[tuple[float, ...], Field(min_length=1, strict=False)]


class GridConfig(_Table):
    """The hyper-parameters to try for one optimizer; their product is the grid.

    Other keys are the optimizer's own hyper-parameters (`beta1 = [0.9, 0.95]`), or
    `label_smoothing` and `ema_decay`; each is a list of values.
    """

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Values]  # pyright: ignore[reportIncompatibleVariableOverride]

    learning_rate: Annotated[tuple[Rate, ...], Field(min_length=1, strict=False)]
    weight_decay: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, strict=False)
    ] = (0.0,)

    @property
    def options(self) -> dict[str, tuple[float, ...]]:
        """The other keys, in alphabetical order."""
        return dict(sorted((self.__pydantic_extra__ or {}).items()))


class HalvingConfig(_Table):
    """Stops the trials of a population that fall behind: successive halving.

    Attributes:
        first_epoch: The first rung; the others are `factor` times the one before.
        factor: At each rung, one in so many goes on.
        metric: The validation metric that decides.
    """

    first_epoch: Count = 1
    factor: Annotated[int, Field(ge=2)] = 2
    metric: Literal["accuracy", "nll", "ece", "aurc"] = "accuracy"


class TeacherConfig(_Table):
    """A trained network to learn from besides the labels.

    Attributes:
        name: Zoo name, or `module:attribute`.
        weights: As for a model that is evaluated.
        weight: Its part of the loss.
        kind: "soft" probabilities at `temperature`, or "hard" decisions.
        temperature: Of the kind "soft".
        image_size: Height and width in pixels; the model's own when None.
    """

    name: Name
    weights: Name
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    kind: Literal["soft", "hard"] = "soft"
    temperature: Rate = 1.0
    image_size: Count | None = None


class TrainConfig(_Table):
    """Populations to train: every model with every optimizer of `grid`.

    Attributes:
        models: Names of the zoo, wildcards allowed.
        dataset: Address of the training images.
        validation: Address of the images that are scored at every point of a curve.
        grid: Optimizer name to its hyper-parameters.
        seeds: One member for each seed and point of the grid.
        recipe: Name of the recipe that the keys from `epochs` to `ema_decay` change.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        warmup_epochs: Linear warm-up before the cosine.
        loss: Name of the loss.
        label_smoothing: Share of the target spread over all classes.
        augmentations: Names from the augmentation table, applied in this order.
        rand_augment: Magnitude of RandAugment; 0 for none.
        random_erasing: Chance that a part of an image is erased.
        mixup: Parameter of mixup; 0 for none.
        cutmix: Parameter of CutMix; 0 for none.
        clip_norm: Largest global gradient norm; 0 for no clipping.
        drop_rate: Dropout before the head.
        drop_path_rate: Stochastic depth of the last block.
        ema_decay: Of the averaged weights; 0 for none.
        teacher: A network to learn from, if any.
        weights: Trained weights to start from: "pretrained" for those on the hub by the
            model's name, a file, or a folder; from scratch when None.
        layer_decay: Learning rates fall by this factor from layer to layer.
        frozen: Patterns of names of parts that are not trained.
        image_size: Height and width in pixels; the model's own when None.
        dtype: What activations are computed in.
        strategy: How a population is compiled; "auto" chooses by backend.
        max_members: Most trials in one population; a larger grid becomes several of
            them. All of a grid's trials when None; their states and activations must
            fit on the devices together, unless the strategy is "loop".
        images: "resident" on the device whole, "stream"ed; "auto" decides by size.
        validate_every: Steps between two points of a curve; an epoch's when None.
        halving: Stops what falls behind, if given.
        checkpoint_seconds: Least time between two checkpoints of a population.
    """

    models: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    dataset: Name
    validation: Name
    grid: Annotated[dict[str, GridConfig], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)] = (0,)
    recipe: Name = "plain"
    epochs: Count | None = None
    batch_size: Count | None = None
    warmup_epochs: NotNegative | None = None
    loss: Name | None = None
    label_smoothing: Fraction | None = None
    augmentations: Annotated[tuple[Name, ...], Field(strict=False)] | None = None
    rand_augment: Annotated[float, Field(ge=0, le=10)] | None = None
    random_erasing: Annotated[float, Field(ge=0, le=1)] | None = None
    mixup: NotNegative | None = None
    cutmix: NotNegative | None = None
    clip_norm: NotNegative | None = None
    drop_rate: Fraction | None = None
    drop_path_rate: Fraction | None = None
    ema_decay: Fraction | None = None
    teacher: TeacherConfig | None = None
    weights: Name | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    frozen: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    image_size: Count | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    strategy: Literal["auto", "vmap", "unroll", "loop"] = "auto"
    max_members: Count | None = None
    images: Literal["auto", "resident", "stream"] = "auto"
    validate_every: Count | None = None
    halving: HalvingConfig | None = None
    checkpoint_seconds: NotNegative = 10.0


# Weights that are to be fetched from the hub by the model's name.
PRETRAINED = "pretrained"


class SubjectConfig(_Table):
    """A model that is evaluated without being trained here.

    Attributes:
        name: Zoo name, wildcards allowed; or `module:attribute`, a user's own
            classifier made with `classifier_from_function`.
        weights: "pretrained" for those on the hub; a file of weights, or a folder of
            them that is searched by name; or "random:SEED" for an untrained network.
        num_classes: Outputs of the head; the number of the clean dataset's classes
            when None.
        image_size: Height and width in pixels; the model's own when None.
        dtype: What activations are computed in.
    """

    name: Name
    weights: Name = PRETRAINED
    num_classes: Count | None = None
    image_size: Count | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"


class EvaluateConfig(_Table):
    """What every trained and every named model is measured on.

    Attributes:
        clean: Addresses of in-distribution images; the first one is what
            out-of-distribution images are told apart from.
        shifted: Addresses of images of the same classes under a shift.
        ood: Addresses of images of other classes.
        calibration: Where the temperature is fitted: an address, or how many images
            of the first clean dataset to set apart, the same number of every class
            as near as can be; they are left out of every clean or shifted dataset
            that has them. No temperature scaling when None.
        metrics: Names of the metrics on clean and shifted images; all when None.
        models: Models to evaluate beside those that are trained.
        batch_size: Images in a step, rounded up to a multiple of the devices.
        num_resamples: Bootstrap resamples behind every interval; none when 0.
    """

    clean: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    shifted: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    ood: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    calibration: str | int | None = None
    metrics: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)] | None = (
        None
    )
    models: Annotated[tuple[SubjectConfig, ...], Field(strict=False)] = ()
    batch_size: Count = 256
    num_resamples: Annotated[int, Field(ge=0)] = 1000

    @pydantic.field_validator("calibration", mode="before")
    @classmethod
    def _address_or_count(cls, value: Any) -> Any:
        count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is None or count or (isinstance(value, str) and value):
            return value
        raise ValueError("wanted an address, or a number of images, 1 or more")


class ExperimentConfig(_Table):
    """A whole experiment file.

    Attributes:
        name: What the report is headed with.
        results: Folder of the results, relative to the working directory.
        seed: Of everything that is drawn outside training, such as resamples.
        limit: First images of every dataset to use, for a trial run; all when None.
        on_error: What an unreadable image does: "raise" fails the run and names it,
            "skip" leaves it out and counts it.
        classes: A text file with one class name a line: line i is label i. For
            folders that hold a part of the classes that a model knows.
        imports: A user's modules to import first: they register models of their own.
        train: Populations to train, if any: one table, or several (`[[train]]`).
        evaluate: What to measure, always.
    """

    name: Name
    results: Name
    seed: int = 0
    limit: Count | None = None
    on_error: OnError = "raise"
    classes: Name | None = None
    imports: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    train: Annotated[tuple[TrainConfig, ...], Field(strict=False)] = ()
    evaluate: EvaluateConfig

    @pydantic.field_validator("train", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, dict) else value

    @pydantic.model_validator(mode="after")
    def _has_work(self) -> "ExperimentConfig":
        if not self.train and not self.evaluate.models:
            raise ValueError(
                "nothing to do; give a [train] table or [[evaluate.models]] entries"
            )
        return self


def load_config(path: str | Path) -> ExperimentConfig:
    """Reads an experiment file.

    Args:
        path: A TOML file.

    Raises:
        UserError: If the file is missing, is not TOML, or holds unknown keys or
            values out of range; every problem is named.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    return parse_config(table, origin=str(path))


def parse_config(table: dict[str, Any], *, origin: str) -> ExperimentConfig:
    """Validates an experiment given as nested dictionaries.

    Args:
        table: As `tomllib.load` returns it.
        origin: What to call it in messages.

    Raises:
        UserError: As for `load_config`.
    """
    try:
        return ExperimentConfig.model_validate(table)
    except pydantic.ValidationError as error:
        # An item that was refused leaves a list that looks too short: one mistake.
        single = isinstance(table.get("train"), dict)
        problems = [
            _describe(problem | {"loc": _location(problem["loc"], single)})
            for problem in error.errors()
            if not (problem["type"] == "too_short" and problem["input"])
        ]
        listing = "\n".join(f"  - {problem}" for problem in problems)
        raise UserError(f"{origin}: {len(problems)} problem(s)\n{listing}") from None


def config_digest(config: pydantic.BaseModel) -> str:
    """A digest of every value of a config, defaults included."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _location(parts: tuple, single: bool) -> tuple:
    """Where a problem is, as the file says it: one `[train]` table has no number."""
    return parts[:1] + parts[2:] if single and parts[:1] == ("train",) else parts


def _describe(problem) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        known = _fields_at(parents)
        where = ".".join(map(str, parents)) or "the top level"
        return f"{where}: {unknown_name('key', str(key), known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{place}: required, not given{_misspelt(problem)}"
    if isinstance(problem["input"], dict):
        return f"{place}: {message}"
    return f"{place}: {message}, got {problem['input']!r}"


def _misspelt(problem) -> str:
    """A key that stands where one is missing and looks like it, in words."""
    given = problem["input"] if isinstance(problem["input"], dict) else {}
    wanted = problem["loc"][-1]
    near = difflib.get_close_matches(str(wanted), map(str, given), n=1, cutoff=0.8)
    return f"; there is {near[0]!r}, did you mean {wanted!r}?" if near else ""


def _fields_at(parents) -> list[str]:
    """The keys that the table at `parents` may hold."""
    table: Any = ExperimentConfig
    for part in parents:
        if isinstance(part, str) and part in _TABLES and table is ExperimentConfig:
            table = _TABLES[part]
        elif part in _INNER:
            table = _INNER[part]
    return list(table.model_fields)


_TABLES = {"train": TrainConfig, "evaluate": EvaluateConfig}
_INNER = {
    "models": SubjectConfig,
    "grid": GridConfig,
    "teacher": TeacherConfig,
    "halving": HalvingConfig,
}
