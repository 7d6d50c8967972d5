"""What every kind of job shares: the plan it stands in, its protocol and its rows."""

import abc
import dataclasses
import functools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

from jax.sharding import Mesh

from jaxbench.config import ExperimentConfig
from jaxbench.data import Source
from jaxbench.engine import Role
from jaxbench.probing import FeatureCache
from jaxbench.results import ResultStore, Run, RunError, run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.listener import Listener
from jaxbench.sweeps.numbers import run_provenance

AnyJob = TypeVar("AnyJob", bound="Job")
# Named by a `digest`.
AnyDigested = TypeVar("AnyDigested", "Job", "Target")


@dataclasses.dataclass(frozen=True)
class Target:
    """A dataset that every model is measured on.

    Attributes:
        address: Where its images are.
        role: What it is to the models.
        source: The opened dataset.
        digest: Names everything that decides a measurement but the model.
        reference: Address of the clean images that out-of-distribution ones are
            compared with.
    """

    address: str
    role: Role
    source: Source
    digest: str
    reference: str | None = None


class Job(abc.ABC):
    """A piece of work that yields runs.

    Subclasses are frozen dataclasses. A job is found again by its digest in the plan of
    the same experiment, so it never has to be sent anywhere itself.

    Attributes:
        kind: Names the kind, in digests and on the screen.
        makes: The kind of the runs.
        version: Raised by a change that moves the runs' numbers; a part of their rows.
    """

    kind: ClassVar[str]
    makes: ClassVar[Literal["trial", "evaluation"]]
    version: ClassVar[int]

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """A name for the screen."""

    def planned(self) -> tuple[str, str, str] | None:
        """The line of a plan: the work, what it is done on, and its number of runs.

        None where the plan lists the runs by dataset.
        """
        return self.kind, self.title, str(len(self.run_ids()))

    @abc.abstractmethod
    def run_ids(self) -> tuple[str, ...]:
        """The ids of all runs."""

    @abc.abstractmethod
    def settings(self, run_id: str) -> dict[str, Any]:
        """What identifies a run in its row, whether it finished or failed."""

    @abc.abstractmethod
    def work(self, context: "Context", missing: frozenset[str]) -> Iterator[Run]:
        """Does what is missing.

        A run is on disk when the next one is asked for. Where an exception ends the
        work, each run that was not yielded gets a row with the error.

        Args:
            context: Where the work is done.
            missing: Ids of the runs to yield.
        """

    @property
    def needs(self) -> frozenset[str]:
        """Ids of runs that must be finished first.

        If they still are not when all other work is done, `work` is called all the
        same: it raises, or yields nothing.
        """
        return frozenset()

    def restore(self, context: "Context", lost: frozenset[str]) -> Iterator[Run]:
        """Makes again what finished runs left behind, where it is lost.

        Args:
            context: Where the work is done.
            lost: Ids of runs whose products are needed and may be lost.
        """
        return iter(())

    def compile(self, context: "Context") -> None:
        """Compiles in a second thread what `work` will need; by default nothing."""
        return

    @functools.cached_property
    def digest(self) -> str:
        """Names the job."""
        return run_digest({self.kind: list(self.run_ids())})

    def finished(
        self,
        config: ExperimentConfig,
        run_id: str,
        *,
        settings: Mapping[str, Any],
        provenance: Mapping[str, str],
        **parts: Any,
    ) -> Run:
        """The row of a finished run; `parts` are its metrics, timing and the like."""
        return Run(
            run_id=run_id,
            kind=self.makes,
            status="ok",
            settings={
                **self.settings(run_id),
                "experiment": config.name,
                **settings,
            },
            provenance=run_provenance(config, self.version) | dict(provenance),
            **parts,
        )

    def failed(
        self, config: ExperimentConfig, run_ids: Iterable[str], error: Exception
    ) -> Iterator[Run]:
        """The rows of runs that one error ended."""
        text = "".join(traceback.format_exception(error))
        for run_id in run_ids:
            yield Run(
                run_id=run_id,
                kind=self.makes,
                status="failed",
                settings=self.settings(run_id) | {"experiment": config.name},
                provenance=run_provenance(config, self.version),
                error=RunError(type(error).__name__, str(error), text),
            )


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that an experiment does, in the order in which it is done."""

    config: ExperimentConfig
    datasets: Datasets
    targets: tuple[Target, ...]
    jobs: tuple[Job, ...] = ()

    def of(self, kind: type[AnyJob]) -> tuple[AnyJob, ...]:
        """The jobs of one kind."""
        found = (job for job in self.jobs if job.kind == kind.kind)
        return cast(tuple[AnyJob, ...], tuple(found))

    def seen_by(self, model: Any, target: Target) -> Target:
        """A dataset with the labels that a model's outputs have.

        Args:
            model: Its `class_names` are None where its outputs are the dataset's
                classes in their order.
            target: The dataset.
        """
        if model.class_names is None or target.role == "ood":
            return target
        source = self.datasets.labelled_as(target.source, model.class_names)
        return dataclasses.replace(target, source=source)

    def calibration_seen_by(self, model: Any) -> Source | None:
        """Where a model's temperature is fitted, labelled as `seen_by` does."""
        source = self.datasets.calibration()
        if source is None or model.class_names is None:
            return source
        return self.datasets.labelled_as(source, model.class_names)

    def run_ids(self) -> Iterator[str]:
        """The ids of all runs."""
        for job in self.jobs:
            yield from job.run_ids()

    @property
    def num_trials(self) -> int:
        """Number of training runs."""
        return sum(len(job.run_ids()) for job in self.jobs if job.makes == "trial")

    @property
    def num_evaluations(self) -> int:
        """Number of evaluations: model or probe times dataset."""
        return sum(1 for _ in self.run_ids()) - self.num_trials


@dataclasses.dataclass
class Context:
    """Where a job is done.

    Attributes:
        plan: The experiment.
        store: The results.
        mesh: Devices for evaluation passes.
        listener: Follows progress.
        done: Ids of finished runs.
        features: Features of frozen backbones, kept from job to job.
    """

    plan: Plan
    store: ResultStore
    mesh: Mesh
    listener: Listener
    done: frozenset[str] = frozenset()
    features: FeatureCache = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.features = FeatureCache(self.folder / "features")

    @property
    def config(self) -> ExperimentConfig:
        """The experiment file."""
        return self.plan.config

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return Path(self.store.path)

    def attempt(self, job: Job, run_id: str, make: Callable[[], Run]) -> Run:
        """A run, or its row with the error if making it raises one."""
        try:
            return make()
        except Exception as error:
            return next(job.failed(self.config, (run_id,), error))


class Kind(NamedTuple):
    """How jobs of a kind come into a plan.

    Attributes:
        plan: Yields the jobs, given the plan so far.
        problems: Yields what is wrong with names in the experiment file, before any
            dataset is opened.
        sources: Datasets by address, given the plan, whose classes must be those of
            the evaluated ones.
    """

    plan: Callable[[Plan], Iterable[Job]]
    problems: Callable[[ExperimentConfig], Iterable[str]] = lambda config: ()
    sources: Callable[[Plan], Mapping[str, Source]] = lambda plan: {}
