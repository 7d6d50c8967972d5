"""The classifiers of a plan: how each is made and compiled ahead."""

import numpy as np
from jax.sharding import Mesh

from jaxbench.config import TrainConfig
from jaxbench.engine import compile_evaluation
from jaxbench.sweeps.plan import Plan, Population, make_recipe
from jaxbench.sweeps.subjects import Subject
from jaxbench.training import compile_population
from model_zoo import Classifier, create_model


def trained_classifier(
    train: TrainConfig, population: Population, num_classes: int
) -> Classifier:
    """The network of a population, with the recipe's regularisation."""
    return create_model(
        population.model,
        num_classes=num_classes,
        image_size=train.image_size,
        dtype=np.dtype(train.dtype),
        drop_rate=train.drop_rate,
        drop_path_rate=train.drop_path_rate,
    )


def training_mesh(train: TrainConfig, mesh: Mesh) -> Mesh | None:
    """The devices to share a population among, if there are several and it may."""
    return mesh if mesh.size > 1 and train.strategy != "loop" else None


def compile_job(plan: Plan, mesh: Mesh, job: Population | Subject) -> None:
    """Compiles what a piece of work will need; see `compiling_ahead`."""
    train, evaluate = plan.config.train, plan.config.evaluate
    calibrated = evaluate.calibration is not None
    if isinstance(job, Population):
        assert train is not None
        source = plan.datasets.open(train.dataset)
        classifier = trained_classifier(train, job, len(source.class_names))
        images = plan.datasets.images(source, classifier.input_spec)
        compile_population(
            classifier,
            job.optimizer,
            images.images,
            images.labels,
            make_recipe(plan.config),
            strategy=train.strategy,
            mesh=training_mesh(train, mesh),
        )
    else:
        classifier = job.classifier()
    size = evaluate.batch_size
    if isinstance(job, Population) and calibrated:
        # Validation during training knows no temperature.
        compile_evaluation(classifier, batch_size=size, mesh=mesh)
    if calibrated:
        compile_evaluation(classifier, keep_logits=True, batch_size=size, mesh=mesh)
    compile_evaluation(classifier, calibrated=calibrated, batch_size=size, mesh=mesh)
