"""From `[train]` tables to populations and the evaluation of their trials."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxbench.config import BEST_TRIAL, ExperimentConfig, TrainConfig
from jaxbench.data import Source
from jaxbench.errors import UserError
from jaxbench.results import run_digest
from jaxbench.sweeps.expansion import expand_models
from jaxbench.sweeps.jobs.evaluation import Evaluation
from jaxbench.sweeps.jobs.protocol import Job, Kind, Plan
from jaxbench.sweeps.jobs.training import Training
from jaxbench.sweeps.jobs.trials import (
    Trial,
    check_values,
    grid_points,
    make_recipe,
    name_problems,
    streams,
)
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.own import trained_parts
from jaxbench.sweeps.starts import find_start, teacher_subject
from jaxbench.training import HyperParameters, get_optimizer
from model_zoo import create_model


def expand_trainings(plan: Plan, train: TrainConfig) -> Iterator[Training]:
    """The populations of a table, in the order of models and optimizers.

    Args:
        plan: The plan so far; a teacher may be among its trials.
        train: The table.

    Raises:
        UserError: If a recipe or hyper-parameter is out of range, or the teacher is
            missing.
    """
    config, datasets = plan.config, plan.datasets
    source = datasets.open(train.dataset)
    check_values(train, source, config.limit)
    num_classes, taught_by = len(source.class_names), _taught_by(plan, train)
    teacher = None
    if not taught_by:
        stated = config.classes is not None
        teacher = teacher_subject(train, source, stated=stated)
    shared: dict[str, Any] = {
        "version": NUMBERS_VERSION["trial"],
        "kind": "trial",
        "dataset": source.fingerprint,
        "validation": datasets.open(train.validation).fingerprint,
        "num_classes": num_classes,
        "dtype": train.dtype,
        "on_error": config.on_error,
        "recipe": dataclasses.asdict(make_recipe(train, config.limit)),
        "validate_every": train.validate_every,
        "halving": train.halving and train.halving.model_dump(mode="json"),
        "start": [train.weights, train.layer_decay, list(train.frozen)],
        "teacher": teacher.digest if teacher else None,
    }
    if taught_by:
        # Which of them is the best follows from what they are.
        shared["teacher"] = sorted(id for job in taught_by for id in job.run_ids())
    for model in expand_models(train.models):
        spec = create_model(model, image_size=train.image_size).input_spec
        choices = (train.crop_fraction, train.interpolation)
        shared["input"] = dataclasses.asdict(spec.adjusted(*choices))
        shared["images"] = "stream" if streams(train, source, spec) else "resident"
        start = None
        if train.weights is not None:
            start = find_start(train, model, num_classes)
            shared["weights"] = start.digest
            # Images are normalised as those were that the weights come from.
            own = start.pretrained.classifier.input_spec
            spec = dataclasses.replace(own, size=spec.size)
        fixed = (num_classes, spec.adjusted(*choices))
        for optimizer, grid in train.grid.items():
            points = grid_points(get_optimizer(optimizer), grid, train.seeds)
            size = train.max_members or len(points)
            for first in range(0, len(points), size):
                part = points[first : first + size]
                named = shared | {"model": model, "optimizer": optimizer}
                if train.halving is not None:
                    # Who goes on depends on who is there.
                    named["grid"] = [point.settings() for point in part]
                of = (train, model, optimizer)
                trials = tuple(
                    Trial(*of, point, *fixed, _trial_id(named, train, point))
                    for point in part
                )
                yield Training(*of, trials, taught_by, start, teacher)


def _trial_id(
    shared: Mapping[str, Any], train: TrainConfig, hyper: HyperParameters
) -> str:
    payload = {**shared, **hyper.settings()}
    payload |= trained_parts(shared["model"], shared["optimizer"])
    if shared["optimizer"] == "adan" and train.layer_decay != 1 and hyper.weight_decay:
        # Its decay once ignored the rates by layer; those runs are other ones.
        payload["decay"] = "by layer"
    return run_digest(payload)


def _taught_by(plan: Plan, train: TrainConfig) -> tuple[Training, ...]:
    """The jobs whose trials a teacher with the weights "best-trial" is chosen among.

    Raises:
        UserError: If no table before this one trains it, or those that do cannot be
            compared, or are of other classes.
    """
    teacher = train.teacher
    if teacher is None or teacher.weights != BEST_TRIAL:
        return ()
    earlier = plan.of(Training)
    # Equal tables make equal jobs.
    named = {job.digest: job for job in earlier if job.model == teacher.name}
    found = tuple(named.values())
    if not found:
        names = ", ".join(sorted({job.model for job in earlier})) or "nothing"
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
    if problems := list(_teacher_problems(plan, train, found)):
        raise UserError(f"teacher {teacher.name!r}: {'; '.join(problems)}")
    return found


def _teacher_problems(
    plan: Plan, train: TrainConfig, jobs: Iterable[Training]
) -> Iterator[str]:
    """Reasons why earlier trials cannot be the teachers of a table."""
    every, datasets = plan.config.train, plan.datasets
    # Equal tables make the same trials.
    tables = {every.index(job.train) + 1: job.train for job in jobs}
    validations = {datasets.open(t.validation).fingerprint for t in tables.values()}
    if len(validations) > 1:
        scored = (f"table {n} on {t.validation!r}" for n, t in sorted(tables.items()))
        yield (
            "its best trial is the one with the best validation accuracy, and the "
            "[[train]] tables that train it have other validation images: "
            f"{', '.join(scored)}; give them the same `validation`"
        )
    classes = tuple(datasets.open(train.dataset).class_names)
    for number, table in sorted(tables.items()):
        found = tuple(datasets.open(table.dataset).class_names)
        if found != classes:
            yield (
                f"[[train]] table {number} trains it on {table.dataset!r} "
                f"({_listed(found)}), the student in table {every.index(train) + 1} "
                f"learns {train.dataset!r} ({_listed(classes)}); teacher and student "
                "need the same class names in the same order"
            )


def _listed(names: tuple[str, ...]) -> str:
    few = ", ".join(names[:3])
    return f"{len(names)} classes: {few}{', ...' if len(names) > 3 else ''}"


def _plan(plan: Plan) -> Iterator[Job]:
    """Each population, and the evaluation of its trials after it."""
    for train in plan.config.train:
        found = tuple(expand_trainings(plan, train))
        plan = dataclasses.replace(plan, jobs=(*plan.jobs, *found))
        for job in found:
            yield job
            yield Evaluation(job.trials, plan.targets, job)


def _problems(config: ExperimentConfig) -> Iterator[str]:
    for train in config.train:
        yield from name_problems(train)


def _sources(plan: Plan) -> dict[str, Source]:
    tables = plan.config.train
    found = (address for t in tables for address in (t.dataset, t.validation))
    return {address: plan.datasets.open(address) for address in found}


TRAINING = Kind(_plan, _problems, _sources)
