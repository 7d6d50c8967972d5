"""Works a plan off: what is missing is computed, every result kept at once."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax

from jaxbench.config import ExperimentConfig
from jaxbench.engine import (
    Evaluation,
    calibrate,
    evaluate,
    make_data_mesh,
    weights_digest,
)
from jaxbench.engine.trial_weights import (
    has_weights,
    save_weights,
    trained_weights,
    warn_if_other,
)
from jaxbench.errors import UserError
from jaxbench.metrics import SCORE_METRICS
from jaxbench.probing import FeatureCache
from jaxbench.results import ResultStore, Run, run_digest
from jaxbench.sweeps.ahead import compiling_ahead
from jaxbench.sweeps.claims import claim
from jaxbench.sweeps.listener import Listener
from jaxbench.sweeps.models import (
    best_teacher,
    compile_job,
    population_teacher,
    trained_classifier,
    training_set,
)
from jaxbench.sweeps.plan import Plan, Target, evaluation_id, make_plan
from jaxbench.sweeps.pretraining import Pretraining, work_pretraining
from jaxbench.sweeps.probe_runs import open_probe_runs, run_probes
from jaxbench.sweeps.probes import ProbeJob
from jaxbench.sweeps.records import evaluation_run, failed_run, trial_run
from jaxbench.sweeps.subjects import Subject
from jaxbench.sweeps.training import Population, Trial
from jaxbench.sweeps.trials import train_trials
from model_zoo import Classifier, Variables


def sweep(
    config: ExperimentConfig | Plan,
    *,
    store: ResultStore | None = None,
    listener: Listener | None = None,
) -> Iterator[Run]:
    """Trains and evaluates everything in an experiment that is not at hand yet.

    Args:
        config: The experiment, or the plan made of it.
        store: Where results go; the experiment's own folder when None.
        listener: Told about progress.

    Yields:
        Every run as soon as it is on disk. A run that fails is yielded with its
        error, and the sweep goes on.

    Raises:
        UserError: Before anything is computed, if a name does not exist or the
            results folder cannot be written.
    """
    plan = config if isinstance(config, Plan) else make_plan(config)
    store = store or ResultStore(plan.config.results, create=True)
    yield from _Sweep(plan, store, listener or Listener()).work()


Job = Population | Pretraining | Subject | ProbeJob


class _Sweep:
    """One process's way through a plan."""

    def __init__(self, plan: Plan, store: ResultStore, listener: Listener) -> None:
        if jax.process_count() > 1:
            raise UserError(
                f"this is one of {jax.process_count()} connected JAX processes; start "
                "a sweep on every host by itself, with the same results folder: each "
                "takes the work that no other has taken"
            )
        self.plan, self.store, self.listener = plan, store, listener
        self.config = plan.config
        self.mesh = make_data_mesh()
        self.done = store.completed()
        self.features = FeatureCache(Path(store.path) / "features")

    def work(self) -> Iterator[Run]:
        self.listener.at_hand(len(self.done & set(self.plan.run_ids())))
        with compiling_ahead() as self.compile_ahead:
            plan = self.plan
            jobs = [*plan.pretrainings, *plan.populations, *plan.subjects]
            jobs += plan.probes
            # What another process works on comes again at the end, when it is done.
            for wait in (False, True):
                deferred: list[Job] = []
                for number, job in enumerate(jobs):
                    if not wait and self._waits_for_teacher(job):
                        deferred.append(job)
                    elif self._missing(job):
                        self._compile_next(jobs[number + 1 :])
                        yield from self._claimed(job, wait, deferred)
                jobs = deferred

    def _compile_next(self, following: list[Job]) -> None:
        job = next((job for job in following if self._missing(job)), None)
        # A contrastive run compiles one program, and its probe others of its own.
        if job is not None and not isinstance(job, Pretraining | ProbeJob):
            self.compile_ahead(
                lambda: compile_job(self.plan, self.store, self.mesh, job)
            )

    def _claimed(
        self,
        job: Job,
        wait: bool,
        deferred: list[Job],
    ) -> Iterator[Run]:
        """Does a piece of work, or defers it while another process has it."""
        folder = Path(self.store.path) / "locks"
        with claim(folder, _name(job), wait=wait) as ours:
            if not ours:
                deferred.append(job)
                return
            self.done = self.store.completed()
            if isinstance(job, Population):
                yield from self._population(job)
            elif isinstance(job, Pretraining):
                yield from self._pretraining(job)
            elif isinstance(job, ProbeJob):
                missing = open_probe_runs(self.plan, job, self.done)
                context = (self.plan, job, missing, self.mesh, self.listener)
                yield from map(self._keep, run_probes(*context, self.features))
            else:
                yield from self._subject(job)

    def _missing(self, job: Job) -> bool:
        if isinstance(job, Subject):
            return bool(self._open_targets(job))
        if isinstance(job, Pretraining):
            return not {trial.trial_id for trial in job.trials} <= self.done
        if isinstance(job, ProbeJob):
            return bool(open_probe_runs(self.plan, job, self.done))
        return any(
            trial.trial_id not in self.done or self._open_targets(trial)
            for trial in job.trials
        )

    def _waits_for_teacher(self, job: Job) -> bool:
        """Whether what it learns from is another process's work, or failed."""
        teachers = job.teachers if isinstance(job, Population) else ()
        return not {trial.trial_id for trial in teachers} <= self.done

    def _open_targets(self, owner: Trial | Subject) -> list[Target]:
        """The datasets that a model was not measured on yet."""
        return [
            self.plan.seen_by(owner, target)
            for target in self.plan.targets
            if evaluation_id(_owner_id(owner), target) not in self.done
        ]

    def _keep(self, run: Run) -> Run:
        self.store.write(run)
        if run.status == "ok":
            self.done |= {run.run_id}
        self.listener.finished(run)
        return run

    # -- training ----------------------------------------------------------------

    def _pretraining(self, job: Pretraining) -> Iterator[Run]:
        self.listener.stage(f"training {job.title}")
        for run in work_pretraining(
            self.config,
            self.plan.datasets,
            job,
            Path(self.store.path),
            self.done,
            self.mesh,
            self.listener.progress,
        ):
            yield self._keep(run)

    def _population(self, population: Population) -> Iterator[Run]:
        self.listener.stage(f"training {population.title}")
        pending = [
            trial
            for trial in population.trials
            if trial.trial_id not in self.done
            or (
                self._open_targets(trial)
                and not has_weights(self.store, trial.trial_id)
            )
        ]
        if pending and population.train.halving is not None:
            # Who is stopped depends on who is there, so all of them train again.
            pending = list(population.trials)
        try:
            source = self.plan.datasets.open(population.train.dataset)
            classifier = trained_classifier(population, len(source.class_names))
            if pending:
                yield from self._train(population, classifier, pending)
        except Exception as error:
            for trial in population.trials:
                if trial.trial_id not in self.done:
                    yield self._keep(
                        failed_run(self.config, trial.trial_id, trial, None, error)
                    )
                elif trial in pending:
                    # Trained before, but its weights are gone.
                    yield from self._fail(trial, self._open_targets(trial), error)
            return
        for trial in population.trials:
            load = partial(trained_weights, self.store, trial.trial_id)
            yield from self._measure(trial, classifier, load)

    def _train(
        self, population: Population, classifier: Classifier, pending: list[Trial]
    ) -> Iterator[Run]:
        train, datasets = population.train, self.plan.datasets
        yield from self._restore_teacher(population)
        images = training_set(self.plan, population, classifier.input_spec)
        # A population's state depends on how it is laid over devices.
        layout = f"{train.strategy}-{jax.default_backend()}-{self.mesh.size}"
        # One folder for the population, of which several may be in it: one for each set
        # of members that was once pending.
        folder = Path(self.store.path) / "checkpoints" / _name(population)
        checkpoints = folder / f"{_name(population, pending)}-{layout}"
        result = train_trials(
            self.plan,
            population,
            classifier,
            [trial.hyper for trial in pending],
            images,
            self.mesh,
            checkpoints,
            population_teacher(self.plan, self.store, population),
            self.listener.progress,
        )
        skipped = getattr(images, "skipped", ())
        for member, trial in enumerate(pending):
            digest = save_weights(
                self.store.path, trial.trial_id, trial.model, result.variables[member]
            )
            origin = {
                "dataset_fingerprint": datasets.open(train.dataset).fingerprint,
                "weights_digest": digest,
            }
            if trial.trial_id not in self.done:
                run = trial_run(self.config, trial, classifier, result, member, origin)
                settings = run.settings | {"num_skipped": len(skipped)}
                yield self._keep(dataclasses.replace(run, settings=settings))
            else:
                warn_if_other(self.store, trial.trial_id, digest)
        shutil.rmtree(folder, ignore_errors=True)

    def _restore_teacher(self, population: Population) -> Iterator[Run]:
        """Trains the teacher of a population again if its weights are not there."""
        teacher = best_teacher(self.store, population)
        if teacher is None or has_weights(self.store, teacher.trial_id):
            return
        own = next(p for p in self.plan.populations if teacher in p.trials)
        pending = [teacher] if own.train.halving is None else list(own.trials)
        with claim(self.store.path / "locks", _name(own), wait=True):
            source = self.plan.datasets.open(own.train.dataset)
            classifier = trained_classifier(own, len(source.class_names))
            yield from self._train(own, classifier, pending)

    # -- evaluation --------------------------------------------------------------

    def _subject(self, subject: Subject) -> Iterator[Run]:
        try:
            classifier = subject.classifier()
        except Exception as error:
            yield from self._fail(subject, self._open_targets(subject), error)
            return
        yield from self._measure(
            subject, classifier, lambda: subject.variables(classifier)
        )

    def _measure(
        self,
        owner: Trial | Subject,
        classifier: Classifier,
        load: Callable[[], Variables],
    ) -> Iterator[Run]:
        """Measures one model on every dataset that it was not measured on yet."""
        targets = self._open_targets(owner)
        if not targets:
            return
        try:
            variables = load()
            origin = {"weights_digest": weights_digest(variables)}
            temperature = self._temperature(owner, classifier, variables)
        except Exception as error:
            yield from self._fail(owner, targets, error)
            return
        placed = jax.device_put(variables)
        reference: Evaluation | None = None
        first = self.plan.seen_by(owner, self.plan.targets[0])
        for target in targets:
            run_id = evaluation_id(_owner_id(owner), target)
            self.listener.stage(f"{_title(owner)} on {target.address}")
            loaded_before = self.plan.datasets.load_seconds
            try:
                if target.role == "ood" and reference is None:
                    reference = self._evaluate(classifier, placed, first, temperature)
                evaluation = self._evaluate(
                    classifier, placed, target, temperature, reference
                )
                if target.digest == first.digest:
                    reference = evaluation
                loading = self.plan.datasets.load_seconds - loaded_before
                run = evaluation_run(
                    self.config,
                    run_id,
                    owner,
                    target,
                    classifier,
                    evaluation,
                    origin,
                    load_seconds=loading,
                )
            except Exception as error:
                run = failed_run(self.config, run_id, owner, target, error)
            yield self._keep(run)

    def _fail(self, owner: Trial | Subject, targets: list[Target], error: Exception):
        for target in targets:
            run_id = evaluation_id(_owner_id(owner), target)
            yield self._keep(failed_run(self.config, run_id, owner, target, error))

    def _evaluate(
        self,
        classifier: Classifier,
        variables: Variables,
        target: Target,
        temperature: float | None,
        reference: Evaluation | None = None,
    ) -> Evaluation:
        spec = classifier.input_spec
        return evaluate(
            classifier,
            variables,
            self.plan.datasets.feed(target.source, spec, uses=self.plan.num_models),
            role=target.role,
            reference=reference if target.role == "ood" else None,
            temperature=temperature,
            metrics=self.config.evaluate.metrics or tuple(SCORE_METRICS),
            batch_size=self.config.evaluate.batch_size,
            mesh=self.mesh,
            on_error=self.config.on_error,
            num_resamples=self.config.evaluate.num_resamples,
            key=jax.random.key(self.config.seed),
            progress=self.listener.progress,
        )

    def _temperature(
        self, owner: Trial | Subject, classifier: Classifier, variables: Variables
    ) -> float | None:
        calibration = self.plan.calibration_seen_by(owner)
        if calibration is None:
            return None
        return calibrate(
            classifier,
            variables,
            self.plan.datasets.feed(
                calibration, classifier.input_spec, uses=self.plan.num_models
            ),
            batch_size=self.config.evaluate.batch_size,
            mesh=self.mesh,
            on_error=self.config.on_error,
        )


def _owner_id(owner: Trial | Subject) -> str:
    return owner.trial_id if isinstance(owner, Trial) else owner.digest


def _title(owner: Trial | Subject) -> str:
    if isinstance(owner, Subject):
        return owner.name
    hyper = owner.hyper
    return f"{owner.model} + {owner.optimizer} (lr {hyper.learning_rate:g})"


def _name(job: Job, pending: list[Trial] | None = None) -> str:
    """A file name for a piece of work."""
    if isinstance(job, Subject | Pretraining | ProbeJob):
        return job.digest
    trials = job.trials if pending is None else pending
    return run_digest({"population": [trial.trial_id for trial in trials]})
