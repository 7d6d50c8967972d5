"""From what `train_population` is given to what its runners work on."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.data import ImageArrays
from jaxbench.data.source import label_misfit
from jaxbench.errors import UserError
from jaxbench.training.data import TrainingData, training_data
from jaxbench.training.halving import Halving
from jaxbench.training.inputs import Augmentation
from jaxbench.training.members import HyperParameters, Trainable, member_problems
from jaxbench.training.optimizers import Optimizer
from jaxbench.training.recipes import Recipe
from jaxbench.training.specs import Distillation, GradientSpec, StepSpec, UpdateSpec
from jaxbench.training.starts import (
    Start,
    frozen_names,
    learning_rates,
    output_names,
    start_problems,
)
from jaxbench.training.tasks import Runner, Task
from jaxbench.training.teachers import Teacher, teacher_problems


def make_task(
    classifier: Trainable,
    optimizer: Optimizer,
    members: Sequence[HyperParameters],
    data: TrainingData | ImageArrays,
    recipe: Recipe,
    *,
    begin: Start | None = None,
    teacher: Teacher | None = None,
    validate_every: int | None = None,
    halving: Halving | None = None,
    problems: Iterable[str] = (),
) -> Task:
    """Checks everything and puts it together.

    Arguments are those of `train_population`, and `problems`, found by earlier checks.

    Raises:
        UserError: If an argument does not fit the others; all such are named.
    """
    members, data, begin = tuple(members), training_data(data), begin or Start()
    found = [
        *_data_problems(classifier, members, data, recipe),
        *member_problems(members, optimizer, recipe),
        *start_problems(classifier, begin),
        *teacher_problems(classifier, teacher, recipe),
        *pairing_problems(optimizer, recipe, begin, halving),
        *problems,
    ]
    if validate_every is not None and validate_every < 1:
        found.append(f"validate_every is {validate_every}, wanted 1 or more steps")
    if found:
        raise UserError(f"train_population: {'; '.join(found)}")
    task = Task(
        _step_spec(classifier, optimizer, recipe, begin, teacher),
        members,
        data,
        recipe,
        begin,
        teacher,
        longest_run=validate_every or len(data.labels) // recipe.batch_size,
    )
    if task.streamed and task.renews_statistics:
        raise UserError(
            f"train_population: {optimizer.name} is evaluated at other parameters than "
            f"it trains at, so {classifier.name} needs its running statistics taken "
            "anew, for which the images must be in memory; do not stream them"
        )
    return task


def plan_problems(
    classifier: Trainable,
    optimizer: Optimizer,
    members: Sequence[HyperParameters],
    recipe: Recipe,
    *,
    begin: Start | None = None,
    halving: Halving | None = None,
    num_images: int | None = None,
) -> list[str]:
    """Checks that run before an image or a weight is read.

    Arguments are those of `train_population`; the variables of `begin` may be empty,
    and `num_images`, of the training set, may be unknown.
    """
    begin = begin or Start()
    problems = [
        *member_problems(members, optimizer, recipe),
        *start_problems(classifier, begin),
        *pairing_problems(optimizer, recipe, begin, halving),
    ]
    if num_images is not None:
        problems += _size_problems(recipe, num_images)
    return problems


def _size_problems(recipe: Recipe, num_images: int) -> Iterator[str]:
    if recipe.batch_size > num_images:
        yield (
            f"batch_size is {recipe.batch_size} and there are {num_images} images, so "
            "no batch can be filled; choose a smaller batch_size"
        )
    steps = recipe.epochs * (num_images // recipe.batch_size)
    if steps >= 2**31:
        yield (
            f"epochs is {recipe.epochs}, which makes {steps:,} steps; steps are "
            "counted in 32 bits, up to 2,147,483,647"
        )


def _step_spec(
    classifier: Trainable,
    optimizer: Optimizer,
    recipe: Recipe,
    begin: Start,
    teacher: Teacher | None,
) -> StepSpec:
    distilled = None
    if teacher is not None:
        distilled = Distillation(
            teacher.classifier,
            recipe.distillation,
            recipe.distillation_kind,
            recipe.distillation_temperature,
        )
    return StepSpec(
        GradientSpec(classifier, Augmentation.of(recipe), recipe.loss, distilled),
        UpdateSpec(
            optimizer,
            recipe.clip_norm,
            classifier.decay_names,
            output_names(classifier),
            learning_rates(classifier, begin),
            averages=recipe.ema_decay is not None,
        ),
        frozen_names(classifier, begin),
    )


def validation_stops(
    task: Task, validate_every: int | None, halving: Halving | None
) -> tuple[int, ...]:
    """Steps after which members are validated; the last is that of the training."""
    total, epoch = task.total_steps, task.steps_per_epoch
    rungs = halving.rungs(task.recipe.epochs) if halving else ()
    stops = set(range(validate_every or epoch, total, validate_every or epoch))
    return tuple(sorted({*stops, *(rung * epoch for rung in rungs), total}))


def population_settings(
    task: Task, runner: Runner, mesh: Mesh | None, halving: Halving | None
) -> dict[str, Any]:
    """What decides a population's numbers, for the folder of its checkpoints."""
    gradient, update = task.spec.gradient, task.spec.update
    shapes = [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(runner.state)
    ]
    return {
        "classifier": gradient.classifier.name,
        "num_classes": gradient.classifier.num_classes,
        "input_spec": asdict(gradient.classifier.input_spec),
        "optimizer": update.optimizer.name,
        "members": [member.settings() for member in task.members],
        "recipe": asdict(task.recipe),
        "start": [task.begin.name, task.begin.layer_decay, list(task.begin.frozen)],
        "teacher": task.teacher and task.teacher.name,
        "halving": asdict(halving) if halving else None,
        "longest_run": task.longest_run,
        "training_set": task.data.fingerprint(),
        "strategy": runner.strategy,
        "num_devices": mesh.size if mesh else 1,
        "state": hashlib.blake2b(repr(shapes).encode(), digest_size=16).hexdigest(),
    }


def _data_problems(
    classifier: Trainable,
    members: Sequence[HyperParameters],
    data: TrainingData,
    recipe: Recipe,
) -> Iterator[str]:
    size, labels = tuple(classifier.input_spec.size), data.labels
    if not members:
        yield "members is empty; give at least one HyperParameters"
    if tuple(data.size) != size:
        yield (
            f"images are {tuple(data.size)} (height, width), {classifier.name} wants "
            f"{size}; load them with its input_spec"
        )
    yield from _size_problems(recipe, len(labels))
    if misfit := label_misfit(np.asarray(labels)):
        yield misfit
    elif len(labels) and not (
        labels.min() >= 0 and labels.max() < classifier.num_classes
    ):
        yield (
            f"labels span {labels.min()} to {labels.max()}, {classifier.name} has the "
            f"classes 0 to {classifier.num_classes - 1}"
        )


def pairing_problems(
    optimizer: Optimizer, recipe: Recipe, begin: Start, halving: Halving | None
) -> Iterator[str]:
    """What does not go together, whatever the network and the images."""
    if halving is not None and not halving.rungs(recipe.epochs):
        yield (
            f"halving begins after epoch {halving.first_epoch} of {recipe.epochs}, so "
            "it would stop nobody; choose an earlier first_epoch, or leave it out"
        )
    if optimizer.single_rate is not None and begin.layer_decay != 1:
        yield (
            f"{optimizer.name} cannot have rates by layer: {optimizer.single_rate}; "
            "set layer_decay to 1"
        )
    if optimizer.evaluated is not None and recipe.ema_decay is not None:
        yield (
            f"{optimizer.name} averages its weights itself; take ema_decay out of the "
            "recipe"
        )
