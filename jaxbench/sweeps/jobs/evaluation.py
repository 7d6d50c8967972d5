"""Models that are measured on every dataset of an experiment."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jaxbench.config import ExperimentConfig
from jaxbench.data import Source
from jaxbench.data.scoring import scoring_of
from jaxbench.engine import Evaluation as Measured
from jaxbench.engine import calibrate, compile_evaluation, evaluate, weights_digest
from jaxbench.engine.trial_weights import trained_weights
from jaxbench.metrics import SCORE_METRICS
from jaxbench.results import Run, run_digest
from jaxbench.sweeps.jobs.protocol import (
    Context,
    Job,
    Kind,
    Plan,
    Target,
)
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.subjects import check_subjects, make_subjects
from model_zoo import Classifier, Variables


@dataclasses.dataclass(frozen=True)
class Measurement(Job):
    """Models that are measured on datasets: a run for each pair.

    Attributes:
        models: Each has a `digest`, a `title` and `settings()` that identify it in a
            row.
        targets: The datasets.
    """

    models: tuple[Any, ...]
    targets: tuple[Target, ...]

    makes = "evaluation"
    version = NUMBERS_VERSION["evaluation"]

    @functools.cached_property
    def cells(self) -> dict[str, tuple[Any, Target]]:
        """Model and dataset of each run."""
        cells = {}
        for model, target in itertools.product(self.models, self.targets):
            named = {"model": model.digest, "target": target.digest}
            cells[run_digest({"kind": "evaluation", **named})] = (model, target)
        return cells

    def run_ids(self) -> tuple[str, ...]:
        """The ids of all runs, by model."""
        return tuple(self.cells)

    def settings(self, run_id: str) -> dict[str, Any]:
        """Model, dataset and role."""
        model, target = self.cells[run_id]
        return model.settings() | {"dataset": target.address, "role": target.role}

    def measured(
        self,
        config: ExperimentConfig,
        run_id: str,
        classifier: Classifier,
        *,
        settings: Mapping[str, Any],
        weights: str,
        **parts: Any,
    ) -> Run:
        """The row of a run; `weights` is the digest of the network's."""
        (_, target), spec = self.cells[run_id], classifier.input_spec
        # How many images it should have had, where it was prepared in part.
        partial = getattr(target.source, "partial", None)
        return self.finished(
            config,
            run_id,
            settings={
                "num_classes": classifier.num_classes,
                "num_parameters": classifier.num_parameters,
                "image_size": spec.size[0],
                "crop_fraction": spec.crop_fraction,
                "interpolation": spec.interpolation,
                "num_published": None if partial is None else partial[0],
                # With these, metrics can be computed again from the columns.
                "num_resamples": config.evaluate.num_resamples,
                "resampling_seed": config.seed,
                "reference_dataset": target.reference,
                **settings,
            },
            provenance={
                "weights_digest": weights,
                "dataset_fingerprint": target.source.fingerprint,
            },
            **parts,
        )


@dataclasses.dataclass(frozen=True)
class Evaluation(Measurement):
    """One `Subject`, or the trials of a population, measured by its own outputs.

    Attributes:
        trained_by: The job that trains the models, if one does.
    """

    trained_by: Job | None = None

    kind = "evaluation"

    @property
    def title(self) -> str:
        """The first model's name."""
        return self.models[0].title

    def planned(self) -> tuple[str, str, str] | None:
        """A model that comes as it is; a plan lists the runs by dataset."""
        if self.trained_by is not None:
            return None
        return "load", f"{self.title} ({self.models[0].weights})", ""

    @property
    def needs(self) -> frozenset[str]:
        """The trials that are measured."""
        return frozenset(self.trained_by.run_ids() if self.trained_by else ())

    def work(self, context: Context, missing: frozenset[str]) -> Iterator[Run]:
        """Measures each model, in one pass over each dataset."""
        open_runs: dict[str, list[str]] = {}
        for run_id, (model, _) in self.cells.items():
            # The row of a trial that failed says why it is not measured.
            if run_id in missing and (
                self.trained_by is None or model.digest in context.done
            ):
                open_runs.setdefault(model.digest, []).append(run_id)
        if self.trained_by is not None:
            try:
                yield from self.trained_by.restore(context, frozenset(open_runs))
            except Exception as error:
                for run_ids in open_runs.values():
                    yield from self.failed(context.config, run_ids, error)
                return
        for model in self.models:
            run_ids = open_runs.get(model.digest)
            if not run_ids:
                continue
            try:
                pass_of = _Passes.begin(self, context, model)
            except Exception as error:
                yield from self.failed(context.config, run_ids, error)
                continue
            for run_id in run_ids:
                target = context.plan.seen_by(model, self.cells[run_id][1])
                context.listener.stage(f"{model.title} on {target.address}")
                measure = functools.partial(pass_of.measure, run_id, target)
                yield context.attempt(self, run_id, measure)

    def load(self, context: Context, model: Any, classifier: Classifier) -> Variables:
        """The weights of a model."""
        if self.trained_by is None:
            return model.variables(classifier)
        return trained_weights(context.store, model.digest)

    def compile(self, context: Context) -> None:
        """Compiles a pass over every dataset; equal programs are compiled once."""
        plan, model = context.plan, self.models[0]
        classifier, calibration = model.classifier(), plan.datasets.calibration()
        options = {"batch_size": plan.config.evaluate.batch_size, "mesh": context.mesh}
        if calibration is not None:
            compile_evaluation(
                classifier, keep_logits=True, num_examples=len(calibration), **options
            )
        targets = [plan.seen_by(model, target) for target in self.targets]
        reference = scoring_of(targets[0].source)
        for target in targets:
            scoring = scoring_of(target.source)
            if target.role == "ood":
                # These images are scored as the first clean ones were.
                scoring = reference and reference.without_sets()
            compile_evaluation(
                classifier,
                calibrated=calibration is not None,
                num_examples=len(target.source),
                scoring=scoring,
                **options,
            )


@dataclasses.dataclass
class _Passes:
    """A model in memory, and its pass over the first clean dataset once made."""

    job: Evaluation
    context: Context
    model: Any
    classifier: Classifier
    variables: Variables
    weights: str
    temperature: float | None = None
    reference: Measured | None = None

    @classmethod
    def begin(cls, job: Evaluation, context: Context, model: Any) -> "_Passes":
        classifier = model.classifier()
        variables = job.load(context, model, classifier)
        weights = weights_digest(variables)
        found = cls(job, context, model, classifier, variables, weights)
        calibration = context.plan.calibration_seen_by(model)
        if calibration is not None:
            found.temperature = calibrate(
                classifier,
                variables,
                found._feed(calibration),
                batch_size=context.config.evaluate.batch_size,
                mesh=context.mesh,
                on_error=context.config.on_error,
                num_threads=context.config.workers,
            )
        found.variables = jax.device_put(variables)
        return found

    def measure(self, run_id: str, target: Target) -> Run:
        """The row of one pass, with its per-example columns."""
        datasets = self.context.plan.datasets
        # Decoding a dataset into memory; 0 where it was decoded before or on the way.
        loaded_before = datasets.load_seconds
        first = self.context.plan.seen_by(self.model, self.job.targets[0])
        if target.role == "ood" and self.reference is None:
            self.reference = self._evaluate(first)
        found = self._evaluate(target)
        if target.digest == first.digest:
            self.reference = found
        timing = dataclasses.asdict(found.timing)
        timing["load_seconds"] = datasets.load_seconds - loaded_before
        counts = ("num_examples", "num_skipped", "num_nonfinite", "batch_size")
        names = (*counts, "num_devices", "temperature")
        return self.job.measured(
            self.context.config,
            run_id,
            self.classifier,
            settings={
                **{name: getattr(found, name) for name in names},
                "peak_memory_source": timing.pop("peak_memory_source"),
            },
            weights=self.weights,
            metrics=found.metrics,
            timing={name: float(value) for name, value in timing.items()},
            examples=found.columns,
        )

    def _feed(self, source: Source):
        plan = self.context.plan
        uses = sum(len(job.models) for job in plan.of(Evaluation))
        return plan.datasets.feed(source, self.classifier.input_spec, uses=uses)

    def _evaluate(self, target: Target) -> Measured:
        config = self.context.config
        return evaluate(
            self.classifier,
            self.variables,
            self._feed(target.source),
            role=target.role,
            reference=self.reference if target.role == "ood" else None,
            temperature=self.temperature,
            metrics=config.evaluate.metrics or tuple(SCORE_METRICS),
            batch_size=config.evaluate.batch_size,
            mesh=self.context.mesh,
            on_error=config.on_error,
            num_resamples=config.evaluate.num_resamples,
            key=jax.random.key(config.seed),
            progress=self.context.listener.progress,
            num_threads=config.workers,
        )


def _plan(plan: Plan) -> Iterator[Evaluation]:
    """A job for each model that the experiment takes as it is."""
    config, first = plan.config, plan.targets[0]
    stated = config.classes is not None
    for entry in config.evaluate.models:
        for subject in make_subjects(entry, first.source, first.address, stated=stated):
            yield Evaluation((subject,), plan.targets)


def _sources(plan: Plan) -> Mapping[str, Source]:
    """The first dataset, if the outputs of some model are its classes."""
    models = [model for job in plan.of(Evaluation) for model in job.models]
    if all(model.class_names is not None for model in models):
        return {}
    return {plan.targets[0].address: plan.targets[0].source}


def _problems(config: ExperimentConfig) -> list[str]:
    return check_subjects(config.evaluate.models)


EVALUATION = Kind(_plan, _problems, _sources)
