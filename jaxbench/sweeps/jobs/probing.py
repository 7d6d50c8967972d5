"""Heads on frozen backbones: one pass over a dataset, every head fitted once."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxbench.config import ExperimentConfig, ProbeConfig
from jaxbench.data import Source
from jaxbench.data.scoring import scoring_of
from jaxbench.data.source import example_ids
from jaxbench.engine import weights_digest
from jaxbench.engine.summary import summarize_columns, summarize_ood_columns
from jaxbench.metrics import SCORE_METRICS
from jaxbench.probing import (
    Features,
    NeighborClassifier,
    ProbeFit,
    ProbeSettings,
    extract_features,
    features_key,
    fit_linear_probe,
    fit_logistic_regression,
    fit_probe_temperature,
    score_columns,
    validation_rows,
)
from jaxbench.results import Run
from jaxbench.sweeps.jobs.evaluation import Measurement
from jaxbench.sweeps.jobs.heads import (
    Head,
    check_table,
    make_backbones,
    make_heads,
    probe_sources,
)
from jaxbench.sweeps.jobs.protocol import (
    Context,
    Kind,
    Plan,
    Target,
)
from jaxbench.sweeps.own import is_own
from jaxbench.sweeps.subjects import Subject, check_subjects
from model_zoo import Classifier, Variables

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Probing(Measurement):
    """The heads of a table on one backbone: its `models`.

    Attributes:
        probe: The table.
    """

    probe: ProbeConfig

    kind = "probes"

    @property
    def subject(self) -> Subject:
        """The backbone."""
        return self.models[0].subject

    @property
    def title(self) -> str:
        """Backbone and heads."""
        heads = ", ".join(head.title for head in self.models)
        return f"{self.subject.name} ({self.subject.weights}): {heads}"

    def work(self, context: Context, missing: frozenset[str]) -> Iterator[Run]:
        """Fits the heads that are missing somewhere, and measures them there."""
        work = _Work.begin(self, context)
        # Read first: a head needs training features.
        work.features(work.train)
        left = {
            run_id: cell for run_id, cell in self.cells.items() if run_id in missing
        }
        for head in dict.fromkeys(head for head, _ in left.values()):
            context.listener.stage(f"{self.subject.name}: {head.title}")
            try:
                work.fit(head)
            except Exception as error:
                failed = [run_id for run_id in left if left[run_id][0] == head]
                yield from self.failed(context.config, failed, error)
                left = {id: cell for id, cell in left.items() if id not in failed}
        # Dataset by dataset, so that one dataset's features are in memory at a time.
        for target in self.targets:
            here = [run_id for run_id in left if left[run_id][1] is target]
            if not here:
                continue
            try:
                features = work.features(target.source)
            except Exception as error:
                yield from self.failed(context.config, here, error)
                continue
            for run_id in here:
                measure = functools.partial(work.measure, run_id, features)
                yield context.attempt(self, run_id, measure)


@dataclasses.dataclass
class _Fitted:
    """A head that gives logits [n, classes], and what was chosen for it."""

    logits: Callable[[Features], np.ndarray]
    settings: dict[str, Any]
    seconds: float = 0.0
    temperature: float | None = None
    reference: Columns | None = None


@dataclasses.dataclass
class _Work:
    """A backbone in memory, and the heads that were fitted so far."""

    job: Probing
    context: Context
    classifier: Classifier
    variables: Variables
    weights: str
    train: Source
    neighbors: NeighborClassifier | None = None
    fitted: dict[Head, _Fitted] = dataclasses.field(default_factory=dict)

    @classmethod
    def begin(cls, job: Probing, context: Context) -> "_Work":
        context.listener.stage(f"loading {job.subject.name}")
        classifier = job.subject.classifier()
        variables = job.subject.variables(classifier)
        weights = weights_digest(variables)
        train = context.plan.datasets.open(job.probe.train)
        placed = jax.device_put(variables)
        return cls(job, context, classifier, placed, weights, train)

    @property
    def num_classes(self) -> int:
        return len(self.train.class_names)

    def features(self, source: Source) -> Features:
        """Features of a dataset, from a pass where they were not kept."""
        spec, config = self.classifier.input_spec, self.context.config
        subject, plan = self.job.subject, self.context.plan
        listener = self.context.listener
        key = features_key(
            *(subject.name, self.weights, source.fingerprint, spec),
            dtype=subject.entry.dtype,
            on_error=config.on_error,
        )

        def make() -> Features:
            listener.stage(f"{subject.name}: features of {source.name}")
            return extract_features(
                self.classifier,
                self.variables,
                plan.datasets.feed(source, spec, uses=len(plan.of(Probing))),
                batch_size=config.evaluate.batch_size,
                mesh=self.context.mesh,
                on_error=config.on_error,
                progress=listener.progress,
                num_threads=config.workers,
            )

        # No digest of weights says what a user's own function computes.
        keep = self.job.probe.keep_features and not is_own(subject.name)
        return self.context.features.get(key, make, keep=keep)

    def fit(self, head: Head) -> None:
        """Fits a head, and its temperature if there is a calibration set."""
        if head.neighbors is None:
            found = self._linear(head)
        else:
            found = self._neighbors(head.neighbors)
        calibration = self.context.plan.datasets.calibration()
        if calibration is not None:
            features, scoring = self.features(calibration), scoring_of(calibration)
            logits = found.logits(features)
            found.temperature = fit_probe_temperature(logits, features, scoring)
        self.fitted[head] = found

    def _neighbors(self, count: int) -> _Fitted:
        probe = self.job.probe
        if self.neighbors is None:
            self.neighbors = NeighborClassifier(
                *(self.features(self.train), self.num_classes),
                max(h.neighbors or 0 for h in self.job.models),
                votes=probe.votes,
                temperature=probe.vote_temperature,
                prior_votes=probe.prior_votes,
            )
        names = ("votes", "vote_temperature", "prior_votes")
        return _Fitted(
            functools.partial(self.neighbors.logits, k=count),
            {name: getattr(probe, name) for name in names},
        )

    def _linear(self, head: Head) -> _Fitted:
        probe, (train, validation) = self.job.probe, self._parts()
        norm = probe.feature_norm
        if head.protocol == "linear_probe":
            names = [field.name for field in dataclasses.fields(ProbeSettings)]
            chosen = ProbeSettings(**{name: getattr(probe, name) for name in names})
            fit = fit_linear_probe(train, validation, self.num_classes, chosen)
            shown = ("epochs", "optimizer", "batch_size")
            settings = {f"probe_{name}": getattr(probe, name) for name in shown}
        else:
            norm = "standardize" if norm == "batch_norm" else norm
            fit = fit_logistic_regression(
                *(train, validation, self.num_classes),
                penalties=probe.penalties,
                feature_norm=norm,
            )
            settings = {}
        settings |= {"probe_feature_norm": norm, **_chosen_settings(fit)}
        return _Fitted(fit.head.logits, settings, fit.seconds)

    def _parts(self) -> tuple[Features, Features]:
        """The features to fit a linear layer on, and those that choose it."""
        probe, train = self.job.probe, self.features(self.train)
        _, validation = probe_sources(self.context.plan, probe)
        if validation is not None:
            return train, self.features(validation)
        fit, held = validation_rows(
            train.labels, train.ids, probe.validation_share, probe.seed
        )
        return train.rows(fit), train.rows(held)

    def measure(self, run_id: str, features: Features) -> Run:
        """The row of a head on a dataset: every metric, as of any other model."""
        (head, target), config = self.job.cells[run_id], self.context.config
        self.context.listener.stage(
            f"{self.job.subject.name} ({head.title}): {target.address}"
        )
        started, fitted = time.perf_counter(), self.fitted[head]
        columns = self._columns(fitted, features, target)
        resampling = {
            "num_resamples": config.evaluate.num_resamples,
            "key": jax.random.key(config.seed),
        }
        first = self.job.targets[0]
        if target is first:
            fitted.reference = columns
        if target.role == "ood":
            if fitted.reference is None:
                clean = self.features(first.source)
                fitted.reference = self._columns(fitted, clean, first)
            metrics = summarize_ood_columns(fitted.reference, columns, **resampling)
        else:
            names = config.evaluate.metrics or tuple(SCORE_METRICS)
            metrics = summarize_columns(columns, tuple(names), **resampling)
        return self.job.measured(
            config,
            run_id,
            self.classifier,
            settings={
                **fitted.settings,
                "num_classes": self.num_classes,
                "num_skipped": features.num_skipped,
                "num_devices": self.context.mesh.size,
                "temperature": fitted.temperature,
                "num_examples": len(columns["id"]),
                "num_nonfinite": int((~columns["finite"]).sum()),
                "batch_size": config.evaluate.batch_size,
            },
            weights=self.weights,
            metrics=metrics,
            timing={
                "features_seconds": features.seconds,
                "fit_seconds": fitted.seconds,
                "score_seconds": time.perf_counter() - started,
            },
            examples=columns,
        )

    def _columns(self, fitted: _Fitted, features: Features, target: Target) -> Columns:
        ood = target.role == "ood"
        # Out-of-distribution images are scored as the first clean ones were.
        scoring = scoring_of(self.job.targets[0].source if ood else target.source)
        return score_columns(
            fitted.logits(features),
            features,
            scoring=scoring,
            positions=_positions(features, target.source) if scoring else None,
            unlabelled=ood,
            temperature=fitted.temperature,
        )


def _positions(features: Features, source: Source) -> np.ndarray:
    """The row of each example in its dataset: some images may have been left out."""
    place = dict(zip(example_ids(source), itertools.count(), strict=False))
    return np.array([place[id] for id in features.ids.tolist()])


def _chosen_settings(fit: ProbeFit) -> dict[str, Any]:
    """The chosen member, and the accuracies of the whole grid as text."""
    grid = [
        (f"lr={m.learning_rate:g} " if m.learning_rate is not None else "")
        + f"wd={m.weight_decay:g}: {m.accuracy:.4f}"
        for m in fit.members
    ]
    return {
        "probe_learning_rate": fit.chosen.learning_rate,
        "probe_weight_decay": fit.chosen.weight_decay,
        "probe_validation_accuracy": fit.chosen.accuracy,
        "probe_grid": "; ".join(grid),
    }


def _plan(plan: Plan) -> Iterator[Probing]:
    """Every backbone of every table, each once with the heads that are new."""
    seen: set[str] = set()
    for probe in plan.config.probe:
        check_table(plan, probe)
        for subject in make_backbones(probe.models):
            heads = tuple(
                head
                for head in make_heads(plan, probe, subject)
                if head.digest not in seen
            )
            seen |= {head.digest for head in heads}
            if heads:
                yield Probing(heads, plan.targets, probe)


def _problems(config: ExperimentConfig) -> Iterator[str]:
    for probe in config.probe:
        yield from check_subjects(probe.models)


def _sources(plan: Plan) -> dict[str, Source]:
    tables = plan.config.probe
    found = (a for t in tables for a in (t.train, t.validation) if a is not None)
    return {address: plan.datasets.open(address) for address in found}


PROBING = Kind(_plan, _problems, _sources)
