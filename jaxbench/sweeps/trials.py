"""Trains the trials of a population as their table says."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxbench.data import ImageArrays
from jaxbench.engine import evaluate
from jaxbench.sweeps.models import training_mesh
from jaxbench.sweeps.plan import Plan
from jaxbench.sweeps.starts import make_start
from jaxbench.sweeps.training import (
    CURVE_METRICS,
    Population,
    make_halving,
    make_recipe,
)
from jaxbench.training import (
    HyperParameters,
    ImageStream,
    PopulationResult,
    Teacher,
    train_population,
)
from model_zoo import Classifier


@dataclasses.dataclass(frozen=True)
class TrialsResult(PopulationResult):
    """What became of trials, and which trial taught them.

    Attributes:
        teacher_trial: Of the trials of earlier tables the one that they learned from;
            None without such a teacher.
    """

    teacher_trial: str | None


def train_trials(
    plan: Plan,
    population: Population,
    classifier: Classifier,
    members: Sequence[HyperParameters],
    images: ImageArrays | ImageStream,
    mesh: Mesh,
    checkpoints: Path,
    teacher: Teacher | None,
    progress: Callable[[int, int], None],
) -> TrialsResult:
    """Trains members of a population, or goes on where a killed run left off.

    Args:
        plan: The experiment.
        population: Which of its populations.
        classifier: Its network.
        members: Those of its trials that are to be trained.
        images: To train on.
        mesh: Devices.
        checkpoints: A folder for these members alone.
        teacher: What they learn from besides the labels, if anything.
        progress: Called with points of the curves, done and in all.
    """
    train, num_classes = population.train, classifier.num_classes
    recipe = make_recipe(train, plan.config.limit)
    # The stops of halving come on top; a display may as well forget them.
    steps = recipe.epochs * (len(images.labels) // recipe.batch_size)
    points = steps // train.validate_every if train.validate_every else recipe.epochs
    result = train_population(
        classifier,
        population.optimizer,
        members,
        images,
        recipe,
        begin=make_start(train, population.model, num_classes, population.start),
        teacher=teacher,
        strategy=train.strategy,
        mesh=training_mesh(train, mesh),
        validate=_validation(plan, population, classifier, mesh),
        validate_every=train.validate_every,
        halving=make_halving(train),
        checkpoint_dir=checkpoints,
        checkpoint_seconds=train.checkpoint_seconds,
        on_point=lambda point, _: progress(point + 1, max(points, point + 1)),
    )
    return TrialsResult(**vars(result), teacher_trial=taught_by(population, teacher))


def taught_by(population: Population, teacher: Teacher | None) -> str | None:
    """The trial that a teacher is, if it is one: a teacher's name ends with its id."""
    if teacher is None:
        return None
    ids = (trial.trial_id for trial in population.teachers)
    return next((found for found in ids if teacher.name.endswith(found)), None)


def _validation(
    plan: Plan, population: Population, classifier: Classifier, mesh: Mesh
) -> Callable[[Mapping[str, jax.Array]], dict[str, float]]:
    """What scores a member on the validation images, as often as it is asked."""
    datasets = plan.datasets
    images = datasets.feed(
        datasets.open(population.train.validation), classifier.input_spec, uses=2
    )

    def validate(variables: Mapping[str, jax.Array]) -> dict[str, float]:
        return evaluate(
            classifier,
            variables,
            images,
            metrics=CURVE_METRICS,
            batch_size=plan.config.evaluate.batch_size,
            mesh=mesh,
            on_error=plan.config.on_error,
            num_resamples=0,
        ).metrics

    return validate
