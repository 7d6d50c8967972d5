"""Training of populations: the trials of one backbone with one optimizer."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.config import TrainConfig
from jaxbench.data import ImageArrays
from jaxbench.engine import compile_evaluation, evaluate
from jaxbench.engine.trial_weights import (
    has_weights,
    save_weights,
    trained_weights,
    warn_if_other,
)
from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run, run_digest
from jaxbench.sweeps.claims import claim
from jaxbench.sweeps.jobs.protocol import Context, Job, Plan
from jaxbench.sweeps.jobs.trials import (
    Trial,
    make_halving,
    make_recipe,
    recipe_settings,
    streams,
)
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.starts import FoundStart, load_start
from jaxbench.sweeps.subjects import Subject
from jaxbench.training import (
    ImageStream,
    PopulationResult,
    Teacher,
    compile_population,
    train_population,
)
from model_zoo import Classifier, InputSpec

# What learning curves show; the networks that are kept get every metric at the end.
CURVE_METRICS = ("accuracy", "nll", "ece", "aurc")


@dataclasses.dataclass(frozen=True)
class Training(Job):
    """Trials of one backbone and one optimizer, trained together.

    Attributes:
        train: Their table.
        model: The backbone's name.
        optimizer: The optimizer's name.
        trials: The population.
        taught_by: Earlier jobs, the best trial of which is the teacher, if so.
        start: The weights that the trials start from, if any.
        teacher: A teacher that is not trained here, if any.
    """

    train: TrainConfig
    model: str
    optimizer: str
    trials: tuple[Trial, ...]
    taught_by: tuple["Training", ...] = ()
    start: FoundStart | None = None
    teacher: Subject | None = None

    kind = "population"
    makes = "trial"
    version = NUMBERS_VERSION["trial"]

    @property
    def title(self) -> str:
        """Backbone and optimizer."""
        return f"{self.model} + {self.optimizer}"

    def planned(self) -> tuple[str, str, str]:
        """With the rates and decays of the grid, and whether they are defaults."""
        hypers = [trial.hyper for trial in self.trials]
        rates, decays = (
            ", ".join(f"{value:g}" for value in dict.fromkeys(values))
            for values in (
                (hyper.learning_rate for hyper in hypers),
                (hyper.weight_decay for hyper in hypers),
            )
        )
        given = self.train.grid[self.optimizer].learning_rate
        taken = "" if given else f" (defaults of {self.optimizer})"
        what = f"{self.title}: lr {rates}, wd {decays}{taken}"
        return self.kind, what, str(len(self.trials))

    @property
    def teachers(self) -> tuple[Trial, ...]:
        """The trials that the best one is to teach of."""
        return tuple(trial for job in self.taught_by for trial in job.trials)

    @property
    def needs(self) -> frozenset[str]:
        """The teachers."""
        return frozenset(trial.trial_id for trial in self.teachers)

    def run_ids(self) -> tuple[str, ...]:
        """The ids of the trials."""
        return tuple(trial.trial_id for trial in self.trials)

    def settings(self, run_id: str) -> dict[str, Any]:
        """The trial's, and its dataset."""
        (trial,) = (trial for trial in self.trials if trial.trial_id == run_id)
        return trial.settings() | {"dataset": self.train.dataset}

    def work(self, context: Context, missing: frozenset[str]) -> Iterator[Run]:
        """Trains the missing trials together."""
        return self._train(context, missing)

    def restore(self, context: Context, lost: frozenset[str]) -> Iterator[Run]:
        """Trains finished trials again whose weights are missing or damaged."""
        if not _lost(context.store, lost):
            return
        with claim(context.folder / "locks", self.digest, wait=True):
            # Another process may have restored them meanwhile.
            if lost := _lost(context.store, lost):
                yield from self._train(context, lost)

    def compile(self, context: Context) -> None:
        """Compiles a step of training and the pass over the validation images."""
        plan, classifier = context.plan, self.trials[0].classifier()
        compile_population(
            classifier,
            self.optimizer,
            self._images(plan, classifier.input_spec),
            make_recipe(self.train, plan.config.limit),
            begin=load_start(self.train, self.model, self.start),
            teacher=self.load_teacher(context.store),
            strategy=self.train.strategy,
            mesh=self._mesh(context.mesh),
        )
        compile_evaluation(
            classifier,
            batch_size=plan.config.evaluate.batch_size,
            num_examples=len(plan.datasets.open(self.train.validation)),
            mesh=context.mesh,
        )

    def _train(self, context: Context, wanted: frozenset[str]) -> Iterator[Run]:
        """Trains trials, or goes on where a killed process left off.

        The rows of those that have none yet are yielded, and all weights are kept.
        """
        trials = [trial for trial in self.trials if trial.trial_id in wanted]
        if self.train.halving is not None:
            # Who is stopped depends on who is there, so all of them train again.
            trials = list(self.trials)
        context.listener.stage(f"training {self.title}")
        best = best_trial(context.store, self.teachers)
        for job in self.taught_by:
            if best in job.trials:
                yield from job.restore(context, frozenset({best.trial_id}))
        classifier = trials[0].classifier()
        images = self._images(context.plan, classifier.input_spec)
        # A population's state depends on how it is laid over devices.
        layout = f"{self.train.strategy}-{jax.default_backend()}-{context.mesh.size}"
        # One folder for the population, of which several may be in it: one for each set
        # of members that was once trained.
        folder = context.folder / "checkpoints" / self.digest
        members = run_digest({self.kind: [trial.trial_id for trial in trials]})
        checkpoints = folder / f"{members}-{layout}"
        result = self._fit(context, classifier, trials, images, checkpoints)
        for member, trial in enumerate(trials):
            weights = save_weights(
                context.folder, trial.trial_id, self.model, result.variables[member]
            )
            if trial.trial_id in context.done:
                warn_if_other(context.store, trial.trial_id, weights)
                continue
            run = self._row(context, trial, classifier, result, member, weights)
            more = {
                "num_skipped": len(getattr(images, "skipped", ())),
                # "best-trial" says which trials were asked, not which one it was.
                "teacher_trial": best and best.trial_id,
            }
            yield dataclasses.replace(run, settings=run.settings | more)
        shutil.rmtree(folder, ignore_errors=True)

    def _fit(
        self,
        context: Context,
        classifier: Classifier,
        trials: Sequence[Trial],
        images: ImageArrays | ImageStream,
        checkpoints: Any,
    ) -> PopulationResult:
        train, recipe = self.train, make_recipe(self.train, context.config.limit)
        # The stops of halving come on top; a display may as well forget them.
        an_epoch = len(images.labels) // recipe.batch_size
        steps = train.validate_every or an_epoch
        points = recipe.epochs * an_epoch // steps
        # Progress is in images, of all members.
        size = steps * recipe.batch_size * len(trials)
        listener = context.listener

        def on_point(point: int, curves: Mapping[str, np.ndarray]) -> None:
            listener.progress(size * (point + 1), size * max(points, point + 1))
            for member, trial in enumerate(trials):
                own = {name: curve[member] for name, curve in curves.items()}
                listener.curves(trial.trial_id, trial.settings(), own)

        return train_population(
            classifier,
            self.optimizer,
            [trial.hyper for trial in trials],
            images,
            recipe,
            begin=load_start(self.train, self.model, self.start),
            teacher=self.load_teacher(context.store),
            strategy=train.strategy,
            mesh=self._mesh(context.mesh),
            validate=self._validation(context, classifier),
            validate_every=train.validate_every,
            halving=make_halving(train),
            checkpoint_dir=checkpoints,
            checkpoint_seconds=train.checkpoint_seconds,
            on_point=on_point,
        )

    def _row(
        self,
        context: Context,
        trial: Trial,
        classifier: Classifier,
        result: PopulationResult,
        member: int,
        weights: str,
    ) -> Run:
        """The row of a finished trial, with its learning curves.

        Its metrics are those of the last point at which it was validated: of a trial
        that was stopped early, the point before; of one that diverged, NaN.
        """
        train, config = self.train, context.config
        curves = {name: curve[member] for name, curve in result.curves.items()}
        stopped = result.stopped_step[member]
        last = -1 if stopped is None else result.stops.index(stopped)
        source = context.plan.datasets.open(train.dataset)
        return self.finished(
            config,
            trial.trial_id,
            settings={
                **recipe_settings(train, config.limit),
                # A trial's own values win over the recipe's.
                **trial.settings(),
                "num_classes": classifier.num_classes,
                "num_parameters": classifier.num_parameters,
                "diverged_step": result.diverged_step[member],
                "stopped_step": stopped,
                "steps_per_epoch": result.stops[-1] // make_recipe(train).epochs,
            },
            metrics={
                # A population that diverged at once was never validated.
                **dict.fromkeys((f"val_{name}" for name in CURVE_METRICS), math.nan),
                **{n: float(c[last]) for n, c in curves.items() if n[:4] == "val_"},
            },
            timing={name: float(value) for name, value in result.timing.items()},
            provenance={
                "dataset_fingerprint": source.fingerprint,
                "weights_digest": weights,
            },
            curves=curves | {"step": np.array(result.stops, np.float64)},
        )

    def _images(self, plan: Plan, spec: InputSpec) -> ImageArrays | ImageStream:
        """The training images: in memory where the table says so, or they fit."""
        source = plan.datasets.open(self.train.dataset)
        if streams(self.train, source, spec):
            return ImageStream(
                source,
                spec,
                on_error=plan.config.on_error,
                num_threads=plan.config.workers,
            )
        return plan.datasets.images(source, spec)

    def _mesh(self, mesh: Mesh) -> Mesh | None:
        """The devices to share the population among, if there are several."""
        return mesh if mesh.size > 1 and self.train.strategy != "loop" else None

    def _validation(
        self, context: Context, classifier: Classifier
    ) -> Callable[[Mapping[str, jax.Array]], dict[str, float]]:
        """Scores a member on the validation images."""
        datasets, config = context.plan.datasets, context.config
        images = datasets.feed(
            datasets.open(self.train.validation), classifier.input_spec, uses=2
        )

        def validate(variables: Mapping[str, jax.Array]) -> dict[str, float]:
            return evaluate(
                classifier,
                variables,
                images,
                metrics=CURVE_METRICS,
                batch_size=config.evaluate.batch_size,
                mesh=context.mesh,
                on_error=config.on_error,
                num_resamples=0,
            ).metrics

        return validate

    def load_teacher(self, store: ResultStore) -> Teacher | None:
        """The network that the trials learn from, with its weights, if there is one.

        Raises:
            UserError: If it is to be the best of earlier trials, and these are not
                finished, all diverged, or the weights of the best are lost; or if its
                file changed since the work was planned.
        """
        best, given = best_trial(store, self.teachers), self.teacher
        if best is not None:
            variables, name = trained_weights(store, best.trial_id), best.model
            return Teacher(best.classifier(), variables, f"{name} {best.trial_id}")
        if given is None:
            return None
        classifier, name = given.classifier(), f"{given.name} {given.weights}"
        variables = given.variables(classifier)
        return Teacher(classifier, variables, f"{name} {given.digest}")


def best_trial(store: ResultStore, trials: Sequence[Trial]) -> Trial | None:
    """The trial with the best validation accuracy; of equals the first in the file.

    Raises:
        UserError: If some are not finished, or all diverged.
    """
    if not trials:
        return None
    title, ids = f"teacher {trials[0].model}", {trial.trial_id for trial in trials}
    rows = store.summary("trial").to_pylist()
    found = {
        row["run_id"]: row["val_accuracy"]
        for row in rows
        if row["status"] == "ok" and row["run_id"] in ids
    }
    if len(found) < len(ids):
        raise UserError(
            f"{title}: {len(ids) - len(found)} of its {len(ids)} trials are not "
            "finished, so the best is not known; see why, and run the same again"
        )
    finite = [t for t in trials if math.isfinite(found[t.trial_id])]
    if not finite:
        raise UserError(f"{title}: all {len(ids)} trials diverged; change its table")
    return max(finite, key=lambda trial: found[trial.trial_id])


def _lost(store: ResultStore, trials: Iterable[str]) -> frozenset[str]:
    return frozenset(id for id in trials if not has_weights(store, id))
