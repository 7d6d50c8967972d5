"""From an experiment file to the list of runs, each with the digest that names it."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxbench.config import ExperimentConfig
from jaxbench.data import Source, expand_addresses
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import num_outputs, scoring_of
from jaxbench.engine import Role
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import SCORE_METRICS
from jaxbench.results import run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.own import import_own
from jaxbench.sweeps.pretraining import (
    Pretraining,
    expand_pretrainings,
    pretrain_problems,
    probe_sources,
)
from jaxbench.sweeps.probes import ProbeJob, expand_probes, probe_addresses
from jaxbench.sweeps.subjects import Subject, check_subjects, make_subjects
from jaxbench.sweeps.training import (
    Population,
    expand_populations,
    train_problems,
)


@dataclasses.dataclass(frozen=True)
class Target:
    """One dataset that every model is measured on.

    `reference` is the address of the clean images that it is told apart from, if it is
    out-of-distribution.
    """

    address: str
    role: Role
    source: Source
    digest: str
    reference: str | None = None

    def measuring(self, config: ExperimentConfig) -> dict[str, Any]:
        """What a row needs for its metrics to be computed again from its columns."""
        return {
            "num_resamples": config.evaluate.num_resamples,
            "resampling_seed": config.seed,
            "reference_dataset": self.reference,
        }


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that an experiment does, in the order in which it is done."""

    config: ExperimentConfig
    datasets: Datasets
    populations: tuple[Population, ...]
    subjects: tuple[Subject, ...]
    targets: tuple[Target, ...]
    pretrainings: tuple[Pretraining, ...] = ()
    probes: tuple[ProbeJob, ...] = ()

    def seen_by(self, owner: Any, target: Target) -> Target:
        """A dataset with the labels that a model's outputs have.

        Args:
            owner: A `Subject`, whose outputs may be other classes than the dataset's
                or in another order; or what was trained here, which has the dataset's.
            target: The dataset.
        """
        names = class_names_of(owner)
        if names is None or target.role == "ood":
            return target
        source = self.datasets.labelled_as(target.source, names)
        return dataclasses.replace(target, source=source)

    def calibration_seen_by(self, owner: Any) -> Source | None:
        """Where a model's temperature is fitted, labelled as `seen_by` does."""
        names, source = class_names_of(owner), self.datasets.calibration()
        if source is None or names is None:
            return source
        return self.datasets.labelled_as(source, names)

    @property
    def num_trials(self) -> int:
        """Training runs."""
        jobs = (*self.populations, *self.pretrainings)
        return sum(len(job.trials) for job in jobs)

    @property
    def num_models(self) -> int:
        """Models to measure: trials, and those that come as they are."""
        trials = sum(len(population.trials) for population in self.populations)
        return trials + len(self.subjects)

    @property
    def num_evaluations(self) -> int:
        """Model or probe times dataset."""
        heads = sum(len(job.heads) for job in self.probes)
        return (self.num_models + heads) * len(self.targets)

    def run_ids(self) -> Iterator[str]:
        """The digest of every run."""
        owners = [subject.digest for subject in self.subjects]
        owners += [head.probe_id for job in self.probes for head in job.heads]
        for population in self.populations:
            for trial in population.trials:
                yield trial.trial_id
                owners.append(trial.trial_id)
        for pretraining in self.pretrainings:
            yield from (trial.trial_id for trial in pretraining.trials)
        for owner, target in itertools.product(owners, self.targets):
            yield evaluation_id(owner, target)


def class_names_of(owner: Any) -> tuple[str, ...] | None:
    """The classes of a model's outputs where they are not simply the dataset's."""
    outputs = owner.outputs if isinstance(owner, Subject) else None
    return None if outputs is None else outputs.class_names


def evaluation_id(owner: str, target: Target) -> str:
    """The digest of measuring one model on one dataset.

    Args:
        owner: `Trial.trial_id`, `Subject.digest` or `ProbeHead.probe_id`.
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
    stated = config.classes is not None
    first = targets[0]
    subjects = _unique(
        subject
        for entry in config.evaluate.models
        for subject in make_subjects(entry, first.source, first.address, stated=stated)
    )
    _check_classes(config, datasets, targets, subjects)
    populations: tuple[Population, ...] = ()
    for train in config.train:
        found = expand_populations(config, train, datasets, earlier=populations)
        populations += tuple(found)
    _check_trials(populations)
    pretrainings = _unique(
        pretraining
        for table in config.pretrain
        for pretraining in expand_pretrainings(config, table, datasets)
    )
    probes = expand_probes(config, datasets, targets)
    plan = Plan(config, datasets, populations, subjects, targets, pretrainings, probes)
    _check_labels(plan)
    return plan


def _unique(items: Iterable[Any]) -> tuple[Any, ...]:
    """Drops what is the same work under another name; the first one stays."""
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(item.digest, item)
    return tuple(first.values())


def _check_labels(plan: Plan) -> None:
    """Labels every dataset as every model has its classes.

    Raises:
        UserError: If a dataset has a class that a model's list lacks.
    """
    problems: dict[str, None] = {}
    for subject in plan.subjects:
        try:
            plan.calibration_seen_by(subject)
            for target in plan.targets:
                plan.seen_by(subject, target)
        except UserError as error:
            problems[f"{subject.name}: {error}"] = None
    if problems:
        raise UserError("\n".join(problems))


def _check_classes(
    config: ExperimentConfig,
    datasets: Datasets,
    targets: Sequence[Target],
    subjects: Sequence[Subject],
) -> None:
    """Label i must be the same class in every dataset that a model sees.

    Models whose outputs have names see each dataset under labels of their own.

    Raises:
        UserError: If it is not, or if the temperature would be judged by the images
            that it was fitted on.
    """
    calibration = datasets.calibration()
    problems = _calibration_problems(targets, calibration)
    trained = bool(config.train or config.pretrain or config.probe)
    if trained or any(class_names_of(subject) is None for subject in subjects):
        sources = {t.address: t.source for t in targets if t.role != "ood"}
        for train in config.train:
            for address in (train.dataset, train.validation):
                sources[address] = datasets.open(address)
        for table in config.pretrain:
            for source in probe_sources(table, datasets):
                sources[source.name] = source
        probed = probe_addresses(config)
        sources |= {address: datasets.open(address) for address in probed}
        if calibration is not None:
            sources["calibration"] = calibration
        problems = [*_class_problems(sources), *problems]
    if problems:
        raise UserError("\n".join(problems))


def _class_problems(sources: Mapping[str, Source]) -> list[str]:
    """Where datasets disagree about the classes or their order."""
    # Coarse classes are made of the models' own, and have no order in common with them.
    fine = {a: s for a, s in sources.items() if not _is_coarse(s)}
    counts = {address: num_outputs(source) for address, source in sources.items()}
    problems = []
    if not fine and len(set(counts.values())) > 1:
        problems.append(f"the datasets are for different numbers of classes: {counts}")
    first, known = next(((a, s.class_names) for a, s in fine.items()), ("", ()))
    problems += [
        f"{address} is made of {count} classes, {first} has {len(known)}; give "
        "`classes`, a file with the models' class names in order"
        for address, count in counts.items()
        if first and address not in fine and count != len(known)
    ]
    for address, source in fine.items():
        pairs = enumerate(zip(known, source.class_names, strict=False))
        found = next(((i, a, b) for i, (a, b) in pairs if a != b), None)
        if found is not None:
            problems.append(
                f"label {found[0]} is {found[1]!r} in {first} and {found[2]!r} in "
                f"{address}; give `classes`, a file with the class names in order"
            )
    return problems


def _calibration_problems(
    targets: Sequence[Target], calibration: Source | None
) -> list[str]:
    """Temperatures must not be judged by the images that they were fitted on."""
    return [
        f"{target.address} is evaluated and {count} of its images are in the "
        "calibration set; choose others"
        for target in targets
        if calibration is not None
        and (count := common_images(target.source, calibration))
    ]


def _is_coarse(source: Source) -> bool:
    scoring = scoring_of(source)
    return scoring is not None and scoring.groups is not None


def _check_names(config: ExperimentConfig) -> None:
    problems = check_subjects(config.evaluate.models)
    for probe in config.probe:
        problems += check_subjects(probe.models)
    problems += [
        unknown_name("metric", name, SCORE_METRICS)
        for name in config.evaluate.metrics or ()
        if name not in SCORE_METRICS
    ]
    for train in config.train:
        problems += train_problems(train)
    for table in config.pretrain:
        problems += pretrain_problems(table)
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
    first = reference = None
    for role, patterns in listed:
        for address in expand_addresses(patterns):
            if seen.setdefault(address, role) != role:
                raise UserError(f"{address} is both {seen[address]} and {role}")
            if role == "ood":
                source = datasets.open(address, foreign=True)
            else:
                source = datasets.evaluated(address)
            if reference is None:
                first, reference = address, source.fingerprint
            scoring = scoring_of(source)
            digest = run_digest(
                ({"scoring": scoring.digest} if scoring else {})
                | {
                    "version": NUMBERS_VERSION["evaluation"],
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
            compared = first if role == "ood" else None
            yield Target(address, role, source, digest, compared)


def _check_trials(populations: Sequence[Population]) -> None:
    """Tables that ask for the same trial twice are a mistake, not twice the work."""
    seen: dict[str, Population] = {}
    for population in populations:
        for trial in population.trials:
            if trial.trial_id in seen:
                raise UserError(
                    f"{population.title} with {trial.hyper.settings()} stands in two "
                    "[[train]] tables; take it out of one"
                )
            seen[trial.trial_id] = population
