"""The classifiers of a plan: how each is made and compiled ahead."""

import dataclasses

import numpy as np
from jax.sharding import Mesh

from jaxbench.config import TrainConfig
from jaxbench.engine import compile_evaluation
from jaxbench.sweeps.plan import Plan
from jaxbench.sweeps.starts import find_start, make_start, make_teacher
from jaxbench.sweeps.subjects import Subject
from jaxbench.sweeps.training import Population, make_recipe, streams
from jaxbench.training import ImageStream, compile_population
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
    if train.weights is None:
        return classifier
    found = find_start(train, population.model, num_classes).pretrained
    spec = dataclasses.replace(
        found.classifier.input_spec, size=classifier.input_spec.size
    )
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


def compile_job(plan: Plan, mesh: Mesh, job: Population | Subject) -> None:
    """Compiles what a piece of work will need; see `compiling_ahead`."""
    evaluate = plan.config.evaluate
    calibrated = evaluate.calibration is not None
    size = evaluate.batch_size
    if isinstance(job, Population):
        train = job.train
        num_classes = len(plan.datasets.open(train.dataset).class_names)
        classifier = trained_classifier(job, num_classes)
        compile_population(
            classifier,
            job.optimizer,
            training_set(plan, job, classifier.input_spec),
            make_recipe(train, plan.config.limit),
            begin=make_start(train, job.model, num_classes),
            teacher=make_teacher(train, num_classes),
            strategy=train.strategy,
            mesh=training_mesh(train, mesh),
        )
        if calibrated:
            # Validation during training knows no temperature.
            compile_evaluation(classifier, batch_size=size, mesh=mesh)
    else:
        classifier = job.classifier()
    if calibrated:
        compile_evaluation(classifier, keep_logits=True, batch_size=size, mesh=mesh)
    compile_evaluation(classifier, calibrated=calibrated, batch_size=size, mesh=mesh)
