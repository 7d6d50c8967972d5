"""The classifiers of a plan: how each is made and compiled ahead."""

import dataclasses
import math

import numpy as np
from jax.sharding import Mesh

from jaxbench.config import TrainConfig
from jaxbench.data.scoring import Scoring, scoring_of
from jaxbench.engine import compile_evaluation
from jaxbench.engine.trial_weights import trained_weights
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.sweeps.plan import Plan
from jaxbench.sweeps.starts import find_start, make_start, make_teacher
from jaxbench.sweeps.subjects import Subject
from jaxbench.sweeps.training import Population, Trial, make_recipe, streams
from jaxbench.training import ImageStream, Teacher, compile_population
from model_zoo import Classifier, InputSpec, create_model


def trained_classifier(population: Population, num_classes: int) -> Classifier:
    """The network of a population, with the recipe's regularisation.

    One that starts from trained weights sees images normalised as those were.
    """
    train, recipe = population.train, make_recipe(population.train)
    classifier = create_model(
        population.model,
        num_classes=num_classes,
        image_size=train.image_size,
        dtype=np.dtype(train.dtype),
        drop_rate=recipe.drop_rate,
        drop_path_rate=recipe.drop_path_rate,
    )
    spec = classifier.input_spec
    if train.weights is not None:
        found = find_start(train, population.model, num_classes).pretrained
        spec = dataclasses.replace(found.classifier.input_spec, size=spec.size)
    spec = spec.adjusted(train.crop_fraction, train.interpolation)
    return dataclasses.replace(classifier, input_spec=spec)


def training_set(plan: Plan, population: Population, spec: InputSpec):
    """The images to train on: in memory where the table says so, or where they fit."""
    train = population.train
    source = plan.datasets.open(train.dataset)
    if streams(train, source, spec):
        return ImageStream(source, spec, on_error=plan.config.on_error)
    return plan.datasets.images(source, spec)


def training_mesh(train: TrainConfig, mesh: Mesh) -> Mesh | None:
    """The devices to share a population among, if there are several and it may."""
    return mesh if mesh.size > 1 and train.strategy != "loop" else None


def best_teacher(store: ResultStore, population: Population) -> Trial | None:
    """The best of the earlier trials that a population learns from, if it does.

    Raises:
        UserError: If these are not finished, or all diverged.
    """
    teachers = {trial.trial_id: trial for trial in population.teachers}
    if not teachers:
        return None
    title = f"teacher {population.teachers[0].model}"
    rows = [row for row in store.summary("trial").to_pylist() if row["status"] == "ok"]
    rows = [row for row in rows if row["run_id"] in teachers]
    if len(rows) < len(teachers):
        raise UserError(
            f"{title}: {len(teachers) - len(rows)} of its {len(teachers)} trials are "
            "not finished, so the best is not known; see why, and run the same again"
        )
    sane = [row for row in rows if math.isfinite(row["val_accuracy"])]
    if not sane:
        raise UserError(f"{title}: all {len(rows)} trials diverged; change its table")
    # Of equals the one that comes first in the file.
    order = list(teachers)
    best = min(sane, key=lambda r: (-r["val_accuracy"], order.index(r["run_id"])))
    return teachers[best["run_id"]]


def population_teacher(
    plan: Plan, store: ResultStore, population: Population
) -> Teacher | None:
    """The network that a population learns from, with its weights, if there is one.

    Raises:
        UserError: If it is to be the best of earlier trials, and these are not
            finished, all diverged, or the weights of the best are not at hand.
    """
    source = plan.datasets.open(population.train.dataset)
    trial = best_teacher(store, population)
    if trial is None:
        stated = plan.config.classes is not None
        return make_teacher(population.train, source, population.teacher, stated=stated)
    variables = trained_weights(store, trial.trial_id)
    own = Population(trial.train, trial.model, trial.optimizer, (trial,))
    name = f"{trial.model} {trial.trial_id}"
    classifier = trained_classifier(own, len(source.class_names))
    return Teacher(classifier, variables, name)


def compile_job(
    plan: Plan, store: ResultStore, mesh: Mesh, job: Population | Subject
) -> None:
    """Compiles what a piece of work will need; see `compiling_ahead`."""
    calibration = plan.datasets.calibration()
    size = plan.config.evaluate.batch_size
    if isinstance(job, Population):
        train = job.train
        num_classes = len(plan.datasets.open(train.dataset).class_names)
        classifier = trained_classifier(job, num_classes)
        compile_population(
            classifier,
            job.optimizer,
            training_set(plan, job, classifier.input_spec),
            make_recipe(train, plan.config.limit),
            begin=make_start(train, job.model, num_classes, job.start),
            teacher=population_teacher(plan, store, job),
            strategy=train.strategy,
            mesh=training_mesh(train, mesh),
        )
        if calibration is not None:
            # Validation during training knows no temperature.
            count = len(plan.datasets.open(train.validation))
            compile_evaluation(
                classifier, batch_size=size, num_examples=count, mesh=mesh
            )
    else:
        classifier = job.classifier()
    if calibration is not None:
        compile_evaluation(
            classifier,
            keep_logits=True,
            batch_size=size,
            num_examples=len(calibration),
            mesh=mesh,
        )
    for scoring, count in _passes(plan, job):
        compile_evaluation(
            classifier,
            calibrated=calibration is not None,
            batch_size=size,
            num_examples=count,
            mesh=mesh,
            scoring=scoring,
        )


def _passes(plan: Plan, job: Population | Subject) -> list[tuple[Scoring | None, int]]:
    """Scoring and size of each dataset; equal programs are compiled once."""
    targets = [plan.seen_by(job, target) for target in plan.targets]
    reference = scoring_of(targets[0].source)
    found = []
    for target in targets:
        scoring = scoring_of(target.source)
        if target.role == "ood":
            # These images are scored as the first clean ones were.
            scoring = reference and reference.without_sets()
        found.append((scoring, len(target.source)))
    return found
