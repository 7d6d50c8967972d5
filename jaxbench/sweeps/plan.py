"""From an experiment file to the list of runs, each with the digest that names it."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxbench.config import ExperimentConfig, TrainConfig
from jaxbench.data import AUGMENTATIONS, Source, expand_addresses
from jaxbench.engine import Role
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import SCORE_METRICS
from jaxbench.results import run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.own import import_own
from jaxbench.sweeps.subjects import Subject, check_subjects, make_subjects
from jaxbench.training import OPTIMIZERS, HyperParameters, Recipe
from model_zoo import list_models

# Part of every digest: a change that moves numbers raises it, and old runs are redone.
NUMBERS_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run: a point of a grid."""

    model: str
    optimizer: str
    hyper: HyperParameters
    trial_id: str


@dataclasses.dataclass(frozen=True)
class Population:
    """Trials of one backbone and one optimizer, trained together."""

    model: str
    optimizer: str
    trials: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """How it is called on the screen."""
        return f"{self.model} + {self.optimizer}"


@dataclasses.dataclass(frozen=True)
class Target:
    """One dataset that every model is measured on."""

    address: str
    role: Role
    source: Source
    digest: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that an experiment does, in the order in which it is done."""

    config: ExperimentConfig
    datasets: Datasets
    populations: tuple[Population, ...]
    subjects: tuple[Subject, ...]
    targets: tuple[Target, ...]

    @property
    def num_trials(self) -> int:
        """Training runs."""
        return sum(len(population.trials) for population in self.populations)

    @property
    def num_models(self) -> int:
        """Models to measure: trials, and those that come as they are."""
        return self.num_trials + len(self.subjects)

    @property
    def num_evaluations(self) -> int:
        """Model times dataset."""
        return self.num_models * len(self.targets)

    def run_ids(self) -> Iterator[str]:
        """The digest of every run."""
        owners = [subject.digest for subject in self.subjects]
        for population in self.populations:
            for trial in population.trials:
                yield trial.trial_id
                owners.append(trial.trial_id)
        for owner, target in itertools.product(owners, self.targets):
            yield evaluation_id(owner, target)


def evaluation_id(owner: str, target: Target) -> str:
    """The digest of measuring one model on one dataset.

    Args:
        owner: `Trial.trial_id` or `Subject.digest`.
        target: The dataset.
    """
    return run_digest({"kind": "evaluation", "model": owner, "target": target.digest})


def make_plan(config: ExperimentConfig) -> Plan:
    """Looks every name up and opens every dataset.

    Raises:
        UserError: If a model, optimizer, augmentation or dataset does not exist; all
            such names are told at once.
    """
    for module in config.imports:
        import_own(module)
    _check_names(config)
    datasets = Datasets(config)
    targets = _unique(_targets(config, datasets))
    _check_classes(config, datasets, targets)
    populations = (
        tuple(_populations(config, config.train, datasets)) if config.train else ()
    )
    subjects = _unique(
        subject
        for entry in config.evaluate.models
        for subject in make_subjects(
            entry,
            len(targets[0].source.class_names),
            targets[0].address,
            config.classes,
        )
    )
    return Plan(config, datasets, populations, subjects, targets)


def make_recipe(config: ExperimentConfig) -> Recipe:
    """The part of a training table that is the same for all of its trials.

    Under a limit a batch is never larger than what is left of the dataset.
    """
    train = config.train
    assert train is not None
    return Recipe(
        epochs=train.epochs,
        batch_size=min(train.batch_size, config.limit or train.batch_size),
        warmup_epochs=train.warmup_epochs,
        label_smoothing=train.label_smoothing,
        augmentations=train.augmentations,
        clip_norm=train.clip_norm,
        drop_rate=train.drop_rate,
        drop_path_rate=train.drop_path_rate,
    )


def _unique(items: Iterable[Any]) -> tuple[Any, ...]:
    """Drops what is the same work under another name; the first one stays."""
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(item.digest, item)
    return tuple(first.values())


def _check_classes(
    config: ExperimentConfig, datasets: Datasets, targets: Sequence[Target]
) -> None:
    """Label i must be the same class in every dataset that a model sees.

    Raises:
        UserError: If it is not, or if the temperature would be judged by the images
            that it was fitted on.
    """
    calibration = datasets.calibration()
    sources = {t.address: t.source for t in targets if t.role != "ood"}
    if config.train:
        for address in (config.train.dataset, config.train.validation):
            sources[address] = datasets.open(address)
    if calibration is not None:
        sources["calibration"] = calibration
    first, known = next((a, s.class_names) for a, s in sources.items())
    problems = []
    for address, source in sources.items():
        pairs = enumerate(zip(known, source.class_names, strict=False))
        found = next(((i, a, b) for i, (a, b) in pairs if a != b), None)
        if found is not None:
            problems.append(
                f"label {found[0]} is {found[1]!r} in {first} and {found[2]!r} in "
                f"{address}; give `classes`, a file with the class names in order"
            )
    problems += [
        f"{target.address} is evaluated and is the calibration set too; choose others"
        for target in targets
        if calibration is not None
        and target.source.fingerprint == calibration.fingerprint
    ]
    if problems:
        raise UserError("\n".join(problems))


def _check_names(config: ExperimentConfig) -> None:
    problems = check_subjects(config.evaluate.models)
    problems += [
        unknown_name("metric", name, SCORE_METRICS)
        for name in config.evaluate.metrics or ()
        if name not in SCORE_METRICS
    ]
    if config.train:
        known = list_models()
        problems += [
            unknown_name("model", pattern, known)
            for pattern in config.train.models
            if not list_models(pattern, pretrained=False)
        ]
        problems += [
            unknown_name("optimizer", name, OPTIMIZERS)
            for name in config.train.grid
            if name not in OPTIMIZERS
        ]
        problems += [
            unknown_name("augmentation", name, AUGMENTATIONS)
            for name in config.train.augmentations
            if name not in AUGMENTATIONS
        ]
    if problems:
        raise UserError("\n".join(problems))


def _targets(config: ExperimentConfig, datasets: Datasets) -> Iterator[Target]:
    evaluate = config.evaluate
    calibration = datasets.calibration()
    listed: list[tuple[Role, tuple[str, ...]]] = [
        ("clean", evaluate.clean),
        ("shifted", evaluate.shifted),
        ("ood", evaluate.ood),
    ]
    seen: dict[str, Role] = {}
    reference: str | None = None
    for role, patterns in listed:
        for address in expand_addresses(patterns):
            if seen.setdefault(address, role) != role:
                raise UserError(f"{address} is both {seen[address]} and {role}")
            if role == "ood":
                source = datasets.open(address, foreign=True)
            else:
                source = datasets.evaluated(address)
            reference = reference or source.fingerprint
            digest = run_digest(
                {
                    "version": NUMBERS_VERSION,
                    "dataset": source.fingerprint,
                    "role": role,
                    "reference": reference if role == "ood" else None,
                    "calibration": calibration and calibration.fingerprint,
                    "metrics": evaluate.metrics and list(evaluate.metrics),
                    "num_resamples": evaluate.num_resamples,
                    "seed": config.seed,
                    "on_error": config.on_error,
                }
            )
            yield Target(address, role, source, digest)


def _populations(
    config: ExperimentConfig, train: TrainConfig, datasets: Datasets
) -> Iterator[Population]:
    source, validation = datasets.open(train.dataset), datasets.open(train.validation)
    shared: dict[str, Any] = {
        "version": NUMBERS_VERSION,
        "kind": "trial",
        "dataset": source.fingerprint,
        "validation": validation.fingerprint,
        "num_classes": len(source.class_names),
        "image_size": train.image_size,
        "dtype": train.dtype,
        "on_error": config.on_error,
        "recipe": dataclasses.asdict(make_recipe(config)),
    }
    for model in _expand_models(train.models):
        for optimizer, grid in train.grid.items():
            points = itertools.product(
                grid.learning_rate, grid.weight_decay, train.seeds
            )
            hypers = [HyperParameters(*point) for point in dict.fromkeys(points)]
            yield Population(
                model,
                optimizer,
                tuple(_trial(shared, model, optimizer, hyper) for hyper in hypers),
            )


def _trial(shared: dict, model: str, optimizer: str, hyper: HyperParameters) -> Trial:
    payload = {"model": model, "optimizer": optimizer} | dataclasses.asdict(hyper)
    return Trial(model, optimizer, hyper, run_digest(shared | payload))


def _expand_models(patterns: tuple[str, ...]) -> tuple[str, ...]:
    found = (
        name for pattern in patterns for name in list_models(pattern, pretrained=False)
    )
    return tuple(dict.fromkeys(found))
