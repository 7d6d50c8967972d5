"""Training many members of one classifier and one optimizer together."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.data import ImageArrays
from jaxbench.errors import UserError, unknown_name
from jaxbench.training.checkpoints import PopulationCheckpoints, Progress
from jaxbench.training.data import TrainingData
from jaxbench.training.halving import Halving
from jaxbench.training.history import Curves, History
from jaxbench.training.loop import LoopRunner
from jaxbench.training.members import HyperParameters, Trainable
from jaxbench.training.optimizers import Optimizer, get_optimizer
from jaxbench.training.planning import make_task, population_settings, validation_stops
from jaxbench.training.recipes import Recipe
from jaxbench.training.stacked import StackedRunner
from jaxbench.training.starts import Start
from jaxbench.training.tasks import Runner, Task
from jaxbench.training.teachers import Teacher

Strategy = Literal["auto", "vmap", "unroll", "loop"]
Validate = Callable[[dict[str, jax.Array]], Mapping[str, float]]
OnPoint = Callable[[int, Curves], object]


@dataclass(frozen=True)
class PopulationResult:
    """What became of a population.

    Attributes:
        variables: Per member, the last finite variables, as NumPy arrays: the moving
            average where the recipe keeps one.
        stops: Steps gone by at each point of the curves.
        curves: Name to float64 [members, points]: `train_loss`, the mean over the steps
            since the point before, in nats; `seconds`, the member's share of the time
            spent on training so far (its population's over those trained); and
            `val_*`, what `validate` gave. NaN from the point on at which a member
            diverged, and after it was stopped.
        diverged_step: Per member, the first step (from 0, over the whole run) whose
            loss or outcome was not finite; None for a sound member.
        stopped_step: Per member, the steps gone by when halving stopped it; None for
            one that was trained to its end or diverged.
        timing: `compile_seconds`, `train_seconds` and `validate_seconds`; `steps`,
            those of members that were trained when their piece began;
            `steps_per_second` and `images_per_second`, over `train_seconds`;
            `program_seconds`, what compiling its programs took, whoever asked first;
            `optimizer_bytes`, one member's optimizer state; `peak_memory_bytes`, of the
            largest program, arguments included, where the compiler reports it. What an
            interrupted run spent before its last checkpoint is counted.
    """

    variables: list[dict[str, np.ndarray]]
    stops: tuple[int, ...]
    curves: Curves
    diverged_step: tuple[int | None, ...]
    stopped_step: tuple[int | None, ...]
    timing: dict[str, float]


def train_population(
    classifier: Trainable,
    optimizer: str | Optimizer,
    members: Sequence[HyperParameters],
    data: TrainingData | ImageArrays,
    recipe: Recipe,
    *,
    begin: Start | None = None,
    teacher: Teacher | None = None,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
    steps_per_call: int | None = None,
    validate: Validate | None = None,
    validate_every: int | None = None,
    halving: Halving | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_seconds: float = 10.0,
    on_point: OnPoint | None = None,
) -> PopulationResult:
    """Trains members that differ in hyper-parameters and seed.

    Programs are compiled for the classifier, the optimizer, the recipe and the shapes,
    never for hyper-parameters: a second population that differs in members only
    compiles nothing. What becomes of a member depends on its own hyper-parameters only:
    not on its companions (unless `halving` stops it), and on the strategy up to float32
    rounding.

    A member whose loss, parameters or statistics are not finite is frozen at its last
    finite variables. From the next point on it costs nothing under "loop", and little
    under the others (see `stacked`); it is not validated again.

    Args:
        classifier: The network.
        optimizer: A name in `OPTIMIZERS`, or a row of your own.
        members: At least one.
        data: Images in memory, which are put on the device whole, or an `ImageStream`;
            of the size that `classifier.input_spec` wants, labels in [0,
            `classifier.num_classes`).
        recipe: What the members share.
        begin: Trained weights to start from; from scratch, that is from
            `classifier.init(jax.random.key(seed))`, when None.
        teacher: For recipes with `distillation`, and only for those.
        strategy: "loop" calls the compiled step of one member in turn, "vmap" runs all
            members in one program, "unroll" does so with the members written out;
            "auto" takes "vmap" where there is a mesh or an accelerator, and "loop" on
            CPUs.
        mesh: Devices to share the members among, each with its own copy of the images;
            not for "loop". Axes of type `jax.sharding.AxisType.Auto`.
        steps_per_call: Steps that one call of the stacked strategies runs; None takes 1
            on CPUs, where the weight gradient of a convolution inside a loop is very
            slow, and 32 elsewhere.
        validate: Called for each sound member at each point; its numbers become the
            curves `val_NAME`. The variables it gets are valid during the call only.
        validate_every: Steps between two points; an epoch's when None. The end of the
            training is always one, and so is the end of an epoch at which `halving`
            decides.
        halving: Stops members that fall behind; needs `validate`.
        checkpoint_dir: A folder for this population alone. If it holds a checkpoint of
            the same population, training goes on from there; on CPUs bit for bit.
        checkpoint_seconds: Least time between two checkpoints, which are written at the
            points; 0 writes one at each.
        on_point: Called with the index of the point, from 0, and the curves so far,
            [members, points]; `step` says how many steps each point has behind it.

    Raises:
        UserError: If an argument does not fit the others; all such are named. Also if
            `checkpoint_dir` belongs to another population.
    """
    task = make_task(
        classifier,
        optimizer if isinstance(optimizer, Optimizer) else get_optimizer(optimizer),
        members,
        data,
        recipe,
        begin=begin,
        teacher=teacher,
        validate_every=validate_every,
        halving=halving,
        problems=_option_problems(strategy, mesh, halving, validate, steps_per_call),
    )
    runner = _make_runner(task, strategy, mesh, steps_per_call)
    history = History(
        len(task.members), validation_stops(task, validate_every, halving)
    )
    work = _Work(runner, task, history, validate, halving, on_point)
    if checkpoint_dir is None:
        work.train(None)
    else:
        settings = population_settings(task, runner, mesh, halving)
        with PopulationCheckpoints(
            checkpoint_dir, settings, seconds=checkpoint_seconds
        ) as checkpoints:
            work.train(checkpoints)
    return work.result()


def compile_population(
    classifier: Trainable,
    optimizer: str | Optimizer,
    data: TrainingData | ImageArrays,
    recipe: Recipe,
    *,
    begin: Start | None = None,
    teacher: Teacher | None = None,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> None:
    """Compiles what `train_population` will need, where that is cheap to do ahead.

    Safe to call from another thread while another population trains. Only the "loop"
    strategy is compiled ahead, with one member: the programs of the others are made for
    all members at once, and their state beside that of the population at work would
    take twice the memory of the accelerator. Arguments are those of `train_population`.
    """
    if isinstance(optimizer, str):
        optimizer = get_optimizer(optimizer)
    if _loops(strategy, mesh):
        members = (HyperParameters(1.0),)
        task = make_task(
            classifier,
            optimizer,
            members,
            data,
            recipe,
            begin=begin,
            teacher=teacher,
        )
        LoopRunner(task)


def _loops(strategy: Strategy, mesh: Mesh | None) -> bool:
    on_cpu = jax.default_backend() == "cpu"
    return strategy == "loop" or (strategy == "auto" and on_cpu and mesh is None)


def _make_runner(
    task: Task, strategy: Strategy, mesh: Mesh | None, steps_per_call: int | None
) -> Runner:
    if _loops(strategy, mesh):
        return LoopRunner(task)
    return StackedRunner(task, mesh, steps_per_call, unroll=strategy == "unroll")


def _option_problems(strategy, mesh, halving, validate, steps_per_call):
    if strategy not in get_args(Strategy):
        yield unknown_name("strategy", str(strategy), get_args(Strategy))
    if steps_per_call is not None and steps_per_call < 1:
        yield f"steps_per_call is {steps_per_call}, wanted 1 or more"
    if strategy == "loop" and mesh is not None:
        yield 'strategy "loop" runs on one device and takes no mesh; use "vmap"'
    if halving is not None and validate is None:
        yield "halving decides by validation and there is none; give `validate`"


@dataclass(frozen=True)
class _Work:
    """A population's way from its first step to its last."""

    runner: Runner
    task: Task
    history: History
    validate: Validate | None
    halving: Halving | None
    on_point: OnPoint | None

    def train(self, checkpoints: PopulationCheckpoints | None) -> None:
        history = self.history
        for point in range(self._resume(checkpoints), len(history.stops)):
            active = history.active()
            if not active:
                break
            self._to_point(point, active)
            self._validate(point)
            self._halve(point)
            if checkpoints is not None:
                checkpoints.save_if_due(
                    lambda point=point: Progress(
                        point + 1,
                        self.runner.state,
                        history.curves,
                        self._seconds(),
                        history.stopped.tolist(),
                    )
                )
            if self.on_point is not None:
                self.on_point(point, history.until(point))

    def _to_point(self, point: int, active: Sequence[int]) -> None:
        history = self.history
        begin = int(history.stops[point - 1]) if point else 0
        started = time.perf_counter()
        self.runner.run(begin, int(history.stops[point]), active)
        seconds = time.perf_counter() - started
        history.trained(point, active, *self.runner.progress(), seconds)

    def _validate(self, point: int) -> None:
        if self.validate is None:
            return
        started = time.perf_counter()
        for member in self.history.active():
            numbers = self.validate(self.runner.variables(member))
            self.history.validated(point, member, numbers)
        self.history.seconds["validate_seconds"] += time.perf_counter() - started

    def _halve(self, point: int) -> None:
        if self.halving is None:
            return
        rungs = self.halving.rungs(self.task.recipe.epochs)
        epoch, rest = divmod(int(self.history.stops[point]), self.task.steps_per_epoch)
        active = self.history.active()
        if rest or epoch not in rungs or not active:
            return
        name = f"val_{self.halving.metric}"
        if name not in self.history.curves:
            known = [n.removeprefix("val_") for n in self.history.curves if "val_" in n]
            raise UserError(unknown_name("halving metric", self.halving.metric, known))
        values = self.history.curves[name][active, point]
        kept = self.halving.survivors(active, values)
        self.history.stop([m for m in active if m not in kept], point)

    def _resume(self, checkpoints: PopulationCheckpoints | None) -> int:
        """Takes up the latest checkpoint, if any: the point to go on with."""
        found = checkpoints and checkpoints.latest(self.runner.state)
        if not found:
            return 0
        history = self.history
        self.runner.state = found.state
        history.curves.update(found.curves)
        history.stopped = np.array(found.stopped, np.int32)
        for name, seconds in found.seconds.items():
            history.seconds[name] += seconds
        history.diverged, _ = self.runner.progress()
        return found.point

    def _seconds(self) -> dict[str, float]:
        """Spent so far, by interrupted runs before this one too."""
        spent = self.history.seconds
        compiling = spent["compile_seconds"] + self.runner.compile_seconds
        return spent | {"compile_seconds": compiling}

    def result(self) -> PopulationResult:
        runner, history = self.runner, self.history
        history.seconds = self._seconds()
        memory = runner.memory_bytes
        timing = history.timing(self.task.recipe.batch_size) | {
            "program_seconds": runner.program_seconds,
            "optimizer_bytes": float(runner.optimizer_bytes),
            "peak_memory_bytes": np.nan if memory is None else float(memory),
        }
        return PopulationResult(
            [_fetch(runner.variables(m)) for m in range(len(self.task.members))],
            tuple(history.stops.tolist()),
            history.curves,
            history.diverged_step,
            history.stopped_step,
            timing,
        )


def _fetch(variables: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    # Copies: on CPUs a fetched array may be a view of the device's buffer.
    return {name: np.array(value) for name, value in variables.items()}
