"""Works probes off: one pass a dataset, every head fitted once, a row for each."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.config import ProbeConfig
from jaxbench.data import Source
from jaxbench.data.scoring import scoring_of
from jaxbench.data.source import example_ids
from jaxbench.engine import weights_digest
from jaxbench.probing import (
    FeatureCache,
    Features,
    NeighborClassifier,
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
from jaxbench.sweeps.listener import Listener
from jaxbench.sweeps.own import is_own
from jaxbench.sweeps.plan import Plan, Target, evaluation_id
from jaxbench.sweeps.probe_rows import (
    ProbeRow,
    chosen_settings,
    failed_probe,
    finished_probe,
)
from jaxbench.sweeps.probes import ProbeHead, ProbeJob
from jaxbench.sweeps.records import input_settings, published_count
from model_zoo import Classifier, Variables

Columns = dict[str, np.ndarray]
Open = Mapping[ProbeHead, tuple[Target, ...]]


@dataclasses.dataclass(frozen=True)
class FittedHead:
    """A head that gives logits.

    Attributes:
        logits: Features to [n, classes].
        settings: What was chosen and by what, for the rows.
        seconds: What fitting took.
        temperature: Fitted on the calibration set, if there is one.
    """

    logits: Callable[[Features], np.ndarray]
    settings: dict[str, Any]
    seconds: float = 0.0
    temperature: float | None = None


def open_probe_runs(plan: Plan, job: ProbeJob, done: frozenset[str]) -> Open:
    """The datasets that each head was not measured on yet."""
    found = {
        head: tuple(
            target
            for target in plan.targets
            if evaluation_id(head.probe_id, target) not in done
        )
        for head in job.heads
    }
    return {head: targets for head, targets in found.items() if targets}


def run_probes(
    plan: Plan,
    job: ProbeJob,
    missing: Open,
    mesh: Mesh,
    listener: Listener,
    cache: FeatureCache,
) -> Iterator[Run]:
    """Fits the heads of a job that are missing somewhere, and measures them there.

    Args:
        plan: The experiment.
        job: The backbone and its heads.
        missing: What to measure, by head.
        mesh: Devices of the passes; heads are fitted on one.
        listener: Told about progress.
        cache: Features from jobs before; its folder is used if the table says so.

    Yields:
        A row for every head and dataset; failures are rows too.
    """
    try:
        work = _Work.begin(plan, job, mesh, listener, cache)
        # Read first: without training features there is no head at all.
        work.features(work.train)
    except Exception as error:
        for head, targets in missing.items():
            for target in targets:
                yield failed_probe(plan.config, job, head, target, error)
        return
    fitted: dict[ProbeHead, FittedHead] = {}
    for head, targets in missing.items():
        listener.stage(f"{job.subject.name}: {head.title}")
        try:
            fitted[head] = work.fit(head)
        except Exception as error:
            for target in targets:
                yield failed_probe(plan.config, job, head, target, error)
    # Dataset by dataset, so that one dataset's features are in memory at a time.
    for target in plan.targets:
        heads = {h: fitted[h] for h in fitted if _is_open(target, missing[h])}
        if heads:
            yield from _measure(work, heads, target)


def _measure(
    work: "_Work", heads: Mapping[ProbeHead, FittedHead], target: Target
) -> Iterator[Run]:
    """The rows of some heads on one dataset."""
    config, job = work.plan.config, work.job
    try:
        features = work.features(target.source)
    except Exception as error:
        for head in heads:
            yield failed_probe(config, job, head, target, error)
        return
    for head, fitted in heads.items():
        try:
            run = work.measure(head, fitted, target, features)
        except Exception as error:
            run = failed_probe(config, job, head, target, error)
        yield run


def _is_open(target: Target, wanted: Iterable[Target]) -> bool:
    return target.digest in {other.digest for other in wanted}


@dataclasses.dataclass
class _Work:
    """A backbone at hand, and what was made of it so far."""

    plan: Plan
    job: ProbeJob
    mesh: Mesh
    listener: Listener
    cache: FeatureCache
    classifier: Classifier
    variables: Variables
    digest: str
    train: Source
    neighbors: NeighborClassifier | None = None
    references: dict[ProbeHead, Columns] = dataclasses.field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        plan: Plan,
        job: ProbeJob,
        mesh: Mesh,
        listener: Listener,
        cache: FeatureCache,
    ) -> "_Work":
        listener.stage(f"loading {job.subject.name}")
        classifier = job.subject.classifier()
        variables = job.subject.variables(classifier)
        digest = weights_digest(variables)
        train = plan.datasets.open(job.probe.train)
        placed = jax.device_put(variables)
        return cls(plan, job, mesh, listener, cache, classifier, placed, digest, train)

    @property
    def num_classes(self) -> int:
        return len(self.train.class_names)

    def features(self, source: Source) -> Features:
        """Features of a dataset, from a pass where they are not at hand."""
        spec, config = self.classifier.input_spec, self.plan.config
        subject = self.job.subject
        key = features_key(
            *(subject.name, self.digest, source.fingerprint, spec),
            dtype=subject.dtype,
            on_error=config.on_error,
        )

        def make() -> Features:
            self.listener.stage(f"{subject.name}: features of {source.name}")
            return extract_features(
                self.classifier,
                self.variables,
                self.plan.datasets.feed(source, spec, uses=len(self.plan.probes)),
                batch_size=config.evaluate.batch_size,
                mesh=self.mesh,
                on_error=config.on_error,
                progress=self.listener.progress,
            )

        # What a user's own function computes, no digest of weights says.
        keep = self.job.probe.keep_features and not is_own(subject.name)
        return self.cache.get(key, make, keep=keep)

    # -- fitting -----------------------------------------------------------------

    def fit(self, head: ProbeHead) -> FittedHead:
        """A head with its temperature, if there is a calibration set."""
        probe = self.job.probe
        if head.protocol == "knn":
            found = self._neighbors(head, probe)
        else:
            found = self._linear(head, probe)
        calibration = self.plan.datasets.calibration()
        if calibration is None:
            return found
        features = self.features(calibration)
        logits = found.logits(features)
        scoring = scoring_of(calibration)
        temperature = fit_probe_temperature(logits, features, scoring)
        return dataclasses.replace(found, temperature=temperature)

    def _neighbors(self, head: ProbeHead, probe: ProbeConfig) -> FittedHead:
        assert head.neighbors is not None
        if self.neighbors is None:
            most = max(h.neighbors or 0 for h in self.job.heads)
            self.neighbors = NeighborClassifier(
                *(self.features(self.train), self.num_classes, most),
                votes=probe.votes,
                temperature=probe.vote_temperature,
                prior_votes=probe.prior_votes,
            )
        classifier, count = self.neighbors, head.neighbors
        settings = {
            "num_neighbors": count,
            "votes": probe.votes,
            "vote_temperature": probe.vote_temperature,
            "prior_votes": probe.prior_votes,
        }
        return FittedHead(lambda features: classifier.logits(features, count), settings)

    def _linear(self, head: ProbeHead, probe: ProbeConfig) -> FittedHead:
        train, validation = self._parts(probe)
        if head.protocol == "linear_probe":
            fit = fit_linear_probe(
                train, validation, self.num_classes, probe_settings(probe)
            )
            settings: dict[str, Any] = {
                "probe_epochs": probe.epochs,
                "probe_optimizer": probe.optimizer,
                "probe_batch_size": probe.batch_size,
                "probe_feature_norm": probe.feature_norm,
            }
        else:
            norm = probe.feature_norm
            norm = "standardize" if norm == "batch_norm" else norm
            fit = fit_logistic_regression(
                *(train, validation, self.num_classes),
                penalties=probe.penalties,
                feature_norm=norm,
            )
            settings = {"probe_feature_norm": norm}
        settings |= chosen_settings(fit)
        return FittedHead(fit.head.logits, settings, fit.seconds)

    def _parts(self, probe: ProbeConfig) -> tuple[Features, Features]:
        """What a linear layer is fitted on, and what it is chosen by."""
        train = self.features(self.train)
        if probe.validation is not None:
            return train, self.features(self.plan.datasets.open(probe.validation))
        fit, held = validation_rows(
            train.labels, train.ids, probe.validation_share, probe.seed
        )
        return train.rows(fit), train.rows(held)

    # -- measuring ---------------------------------------------------------------

    def measure(
        self,
        head: ProbeHead,
        fitted: FittedHead,
        target: Target,
        features: Features,
    ) -> Run:
        """The row of a head on a dataset."""
        self.listener.stage(f"{self.job.subject.name} ({head.title}): {target.address}")
        started = time.perf_counter()
        columns = self._columns(fitted, features, target)
        reference = None
        if target.role == "ood":
            reference = self._reference(head, fitted)
        elif target is self.plan.targets[0]:
            self.references[head] = columns
        row = ProbeRow(
            *(self.plan.config, self.job, head, target, columns),
            reference=reference,
            settings=fitted.settings
            | {
                "num_classes": self.num_classes,
                "num_parameters": self.classifier.num_parameters,
                **input_settings(self.classifier),
                "num_published": published_count(target),
                "num_skipped": features.num_skipped,
                "num_devices": self.mesh.size,
                "temperature": fitted.temperature,
            },
            weights=self.digest,
        )
        timing = {
            "features_seconds": features.seconds,
            "fit_seconds": fitted.seconds,
            "score_seconds": time.perf_counter() - started,
        }
        return finished_probe(row, timing)

    def _columns(
        self, fitted: FittedHead, features: Features, target: Target
    ) -> Columns:
        foreign = target.role == "ood"
        # Foreign images are scored as the first clean ones were.
        scored = self.plan.targets[0].source if foreign else target.source
        scoring = scoring_of(scored)
        return score_columns(
            fitted.logits(features),
            features,
            scoring=scoring,
            positions=_positions(features, target.source) if scoring else None,
            foreign=foreign,
            temperature=fitted.temperature,
        )

    def _reference(self, head: ProbeHead, fitted: FittedHead) -> Columns:
        """The first clean images, which foreign ones are told apart from."""
        if head not in self.references:
            first = self.plan.targets[0]
            features = self.features(first.source)
            self.references[head] = self._columns(fitted, features, first)
        return self.references[head]


def probe_settings(probe: ProbeConfig) -> ProbeSettings:
    """The linear probe's protocol of a table."""
    names = (field.name for field in dataclasses.fields(ProbeSettings))
    return ProbeSettings(**{name: getattr(probe, name) for name in names})


def _positions(features: Features, source: Source) -> np.ndarray:
    """The row of each example in its dataset: some images may have been left out."""
    place = dict(zip(example_ids(source), itertools.count(), strict=False))
    return np.array([place[id] for id in features.ids.tolist()])
