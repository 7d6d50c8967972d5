"""Training many members of one classifier and one optimizer together."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, UInt8

from jaxbench.errors import UserError
from jaxbench.training.checkpoints import PopulationCheckpoints, Progress
from jaxbench.training.history import Curves, History
from jaxbench.training.members import HyperParameters, Trainable
from jaxbench.training.optimizers import Optimizer, get_optimizer
from jaxbench.training.recipes import Recipe
from jaxbench.training.runners import LoopRunner, Runner, Task, VmapRunner
from jaxbench.training.steps import (
    GradientSpec,
    Horizon,
    Images,
    StepSpec,
    UpdateSpec,
)

Strategy = Literal["auto", "vmap", "loop"]
Validate = Callable[[dict[str, jax.Array]], Mapping[str, float]]
OnEpoch = Callable[[int, Curves], object]

# Steps of one call on accelerators: enough to hide the dispatch, few enough that an
# interrupt is heeded soon.
_STEPS_PER_CALL = 32


@dataclass(frozen=True)
class PopulationResult:
    """What became of a population.

    Attributes:
        variables: Per member, the last finite variables, as NumPy arrays.
        curves: Name to float64 [members, epochs]: `train_loss`, the mean over the
            epoch's steps in nats, and `val_*`, what `validate` gave after the epoch.
            NaN from the epoch on in which a member diverged.
        diverged_step: Per member, the first step (from 0, over the whole run) whose
            loss or outcome was not finite; None for a sound member.
        timing: `compile_seconds`, `train_seconds` and `validate_seconds`; `steps`,
            those run for members that were sound when their epoch began, and
            `images_per_second`, their images over `train_seconds`. What an interrupted
            run spent before its last checkpoint is counted.
    """

    variables: list[dict[str, np.ndarray]]
    curves: Curves
    diverged_step: tuple[int | None, ...]
    timing: dict[str, float]


def train_population(
    classifier: Trainable,
    optimizer: str | Optimizer,
    members: Sequence[HyperParameters],
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"],
    recipe: Recipe,
    *,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
    steps_per_call: int | None = None,
    validate: Validate | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_seconds: float = 10.0,
    on_epoch: OnEpoch | None = None,
) -> PopulationResult:
    """Trains members that differ in learning rate, weight decay and seed.

    Programs are compiled for the classifier, the optimizer, the recipe and the shapes,
    never for hyper-parameters: a second population that differs in members only
    compiles nothing. What becomes of a member depends on its own hyper-parameters only:
    not on its companions, and on the strategy up to float32 rounding.

    A member whose loss, parameters or statistics are not finite is frozen at its last
    finite variables. From the next epoch on it costs nothing under "loop"; it is not
    validated again.

    Args:
        classifier: The network; trained from `classifier.init(jax.random.key(seed))`.
        optimizer: A name in `OPTIMIZERS`, or a row of one's own.
        members: At least one.
        images: Pixels in [0, 255], of the size that `classifier.input_spec` wants. They
            are put on the device whole.
        labels: In [0, `classifier.num_classes`).
        recipe: What the members share.
        strategy: "loop" calls the compiled step of one member in turn, "vmap" runs all
            members in one program; "auto" takes "vmap" where there is a mesh or an
            accelerator, and "loop" on CPUs.
        mesh: Devices to share the members among, each with its own copy of the images;
            for "vmap". Axes of type `jax.sharding.AxisType.Auto`.
        steps_per_call: Steps that one "vmap" call runs; None takes 1 on CPUs, where the
            weight gradient of a convolution inside a loop is very slow, and 32
            elsewhere.
        validate: Called for each sound member after each epoch; its numbers become the
            curves `val_NAME`. The variables it gets are valid during the call only.
        checkpoint_dir: A folder for this population alone. If it holds a checkpoint of
            the same population, training goes on from there; on CPUs bit for bit.
        checkpoint_seconds: Least time between two checkpoints, which are written after
            an epoch; 0 writes one after every epoch.
        on_epoch: Called with the epoch, from 0, and the curves so far, [members,
            epoch + 1].

    Raises:
        UserError: If an argument does not fit the others; all such are named. Also if
            `checkpoint_dir` belongs to another population.
    """
    if isinstance(optimizer, str):
        optimizer = get_optimizer(optimizer)
    members = tuple(members)
    _check(classifier, members, images, labels, recipe, strategy, mesh)
    task = _make_task(classifier, optimizer, members, images, labels, recipe)
    runner = _make_runner(task, strategy, mesh, steps_per_call)
    history = History(len(members), recipe.epochs)
    history.seconds["compile_seconds"] = runner.compile_seconds
    if checkpoint_dir is None:
        _train(runner, task, history, validate, on_epoch, None)
    else:
        settings = _settings(task, recipe, runner, mesh)
        with PopulationCheckpoints(
            checkpoint_dir, settings, seconds=checkpoint_seconds
        ) as checkpoints:
            _train(runner, task, history, validate, on_epoch, checkpoints)
    return PopulationResult(
        [_fetch(runner.variables(member)) for member in range(len(members))],
        history.curves,
        history.diverged_step,
        history.timing(task.steps_per_epoch, task.batch_size),
    )


def compile_population(
    classifier: Trainable,
    optimizer: str | Optimizer,
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"],
    recipe: Recipe,
    *,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> None:
    """Compiles what `train_population` will need, where that is cheap to do ahead.

    Safe to call from another thread while another population trains. Only the "loop"
    strategy is compiled ahead, with one member: the programs of "vmap" are made for
    all members at once, and their state beside that of the population at work would
    take twice the memory of the accelerator.

    Args:
        classifier: As for `train_population`, and so are the others.
        optimizer: See there.
        images: See there.
        labels: See there.
        recipe: See there.
        strategy: See there.
        mesh: See there.
    """
    if isinstance(optimizer, str):
        optimizer = get_optimizer(optimizer)
    if _loops(strategy, mesh):
        members = (HyperParameters(1.0),)
        _check(classifier, members, images, labels, recipe, strategy, mesh)
        LoopRunner(_make_task(classifier, optimizer, members, images, labels, recipe))


def _loops(strategy: Strategy, mesh: Mesh | None) -> bool:
    on_cpu = jax.default_backend() == "cpu"
    return strategy == "loop" or (strategy == "auto" and on_cpu and mesh is None)


def _train(
    runner: Runner,
    task: Task,
    history: History,
    validate: Validate | None,
    on_epoch: OnEpoch | None,
    checkpoints: PopulationCheckpoints | None,
) -> None:
    first = _resume(runner, history, checkpoints)
    for epoch in range(first, history.epochs):
        active = history.sound_members()
        if not active:
            break
        started = time.perf_counter()
        runner.run_epoch(epoch, active)
        history.seconds["train_seconds"] += time.perf_counter() - started
        diverged, losses = runner.progress()
        history.record(epoch, diverged, losses / task.steps_per_epoch)
        if validate is not None:
            started = time.perf_counter()
            for member in history.sound_members():
                history.validated(epoch, member, validate(runner.variables(member)))
            history.seconds["validate_seconds"] += time.perf_counter() - started
        if checkpoints is not None:
            checkpoints.save_if_due(
                lambda: Progress(
                    epoch + 1,  # noqa: B023 (called at once)
                    runner.state,
                    history.curves,
                    history.seconds,
                )
            )
        if on_epoch is not None:
            on_epoch(epoch, history.until(epoch))


def _resume(
    runner: Runner, history: History, checkpoints: PopulationCheckpoints | None
) -> int:
    """Takes up the latest checkpoint, if any, and gives the epoch to go on with."""
    found = checkpoints.latest(runner.state) if checkpoints is not None else None
    if found is None:
        return 0
    runner.state = jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding), found.state, runner.state
    )
    history.curves.update(found.curves)
    for name, seconds in found.seconds.items():
        history.seconds[name] += seconds
    history.diverged, _ = runner.progress()
    return found.epoch


def _make_task(classifier, optimizer, members, images, labels, recipe) -> Task:
    steps = len(labels) // recipe.batch_size
    return Task(
        StepSpec(
            GradientSpec(
                classifier, recipe.label_smoothing, tuple(recipe.augmentations)
            ),
            UpdateSpec(optimizer, recipe.clip_norm, classifier.decay_names),
        ),
        members,
        Images(images, labels.astype(np.int32)),
        Horizon(
            np.int32(round(recipe.warmup_epochs * steps)),  # pyright: ignore[reportArgumentType]
            np.int32(recipe.epochs * steps),  # pyright: ignore[reportArgumentType]
        ),
        recipe.batch_size,
    )


def _make_runner(
    task: Task, strategy: Strategy, mesh: Mesh | None, steps_per_call: int | None
) -> Runner:
    if _loops(strategy, mesh):
        return LoopRunner(task)
    default = 1 if jax.default_backend() == "cpu" else _STEPS_PER_CALL
    return VmapRunner(task, mesh, steps_per_call or default)


def _check(classifier, members, images, labels, recipe, strategy, mesh) -> None:
    problems = []
    size = tuple(classifier.input_spec.size)
    if not members:
        problems.append("there are no members; give at least one HyperParameters")
    if images.shape[1:3] != size:
        problems.append(
            f"images are {images.shape[1:3]} (height, width), {classifier.name} wants "
            f"{size}; load them with its input_spec"
        )
    if recipe.batch_size > len(labels):
        problems.append(
            f"batch_size is {recipe.batch_size} and there are {len(labels)} images, "
            "so no batch can be filled; choose a smaller batch_size"
        )
    if len(labels) and not (
        labels.min() >= 0 and labels.max() < classifier.num_classes
    ):
        problems.append(
            f"labels span {labels.min()} to {labels.max()}, {classifier.name} has the "
            f"classes 0 to {classifier.num_classes - 1}"
        )
    if strategy == "loop" and mesh is not None:
        problems.append(
            'strategy "loop" runs on one device and takes no mesh; use "vmap"'
        )
    if problems:
        raise UserError(f"train_population: {'; '.join(problems)}")


def _settings(
    task: Task, recipe: Recipe, runner: Runner, mesh: Mesh | None
) -> dict[str, Any]:
    """What decides a population's numbers, for the checkpoints' folder."""
    gradient, update = task.spec.gradient, task.spec.update
    pixels = hashlib.blake2b(
        np.ascontiguousarray(task.data.images).data, digest_size=16
    )
    pixels.update(np.ascontiguousarray(task.data.labels).data)
    shapes = [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(runner.state)
    ]
    return {
        "classifier": gradient.classifier.name,
        "num_classes": gradient.classifier.num_classes,
        "input_spec": asdict(gradient.classifier.input_spec),
        "optimizer": update.optimizer.name,
        "members": [asdict(member) for member in task.members],
        "recipe": asdict(recipe),
        "training_set": pixels.hexdigest(),
        "strategy": type(runner).__name__,
        "num_devices": mesh.size if mesh else 1,
        "state": hashlib.blake2b(repr(shapes).encode(), digest_size=16).hexdigest(),
    }


def _fetch(variables: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    # Copies: on CPUs a fetched array may be a view of the device's buffer.
    return {name: np.array(value) for name, value in variables.items()}
