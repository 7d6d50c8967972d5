"""Runs a plan: does the jobs that are missing and stores each run at once."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import jax

from jaxbench.config import ExperimentConfig
from jaxbench.engine import make_data_mesh
from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run
from jaxbench.sweeps.ahead import compiling_ahead
from jaxbench.sweeps.claims import claim
from jaxbench.sweeps.jobs.protocol import Context, Job, Plan
from jaxbench.sweeps.listener import Listener
from jaxbench.sweeps.plan import make_plan

# Jobs whose programs are compiled while another job runs: an evaluation is short, and
# the training after it is to be ready too.
_AHEAD = 2


def sweep(
    config: ExperimentConfig | Plan,
    *,
    store: ResultStore | None = None,
    listener: Listener | None = None,
) -> Iterator[Run]:
    """Runs everything in an experiment that is not finished yet.

    Args:
        config: The experiment, or the plan made of it.
        store: Where results go; the experiment's own folder when None.
        listener: Follows progress.

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
        done = store.completed()
        self.context = Context(plan, store, make_data_mesh(), listener, done)
        self.compiled: set[str] = set()

    def work(self) -> Iterator[Run]:
        self.listener.at_hand(len(self.context.done & set(self.plan.run_ids())))
        with compiling_ahead() as self.compile_ahead:
            jobs: Sequence[Job] = self.plan.jobs
            # Jobs that another process has, or that need its runs, come again last.
            for wait in (False, True):
                deferred: list[Job] = []
                for number, job in enumerate(jobs):
                    if not self._missing(job):
                        continue
                    if not wait and not job.needs <= self.context.done:
                        deferred.append(job)
                        continue
                    self._compile_next(jobs[number + 1 :])
                    locks = self.context.folder / "locks"
                    with claim(locks, job.digest, wait=wait) as ours:
                        if ours:
                            yield from map(self._keep, self._runs(job))
                        else:
                            deferred.append(job)
                jobs = deferred

    def _missing(self, job: Job) -> frozenset[str]:
        return frozenset(job.run_ids()) - self.context.done

    def _compile_next(self, following: Sequence[Job]) -> None:
        missing = (job for job in following if self._missing(job))
        for job in itertools.islice(missing, _AHEAD):
            self.compile_ahead(partial(self._compile, job))

    def _compile(self, job: Job) -> None:
        # Once: most jobs are among the next ones twice.
        if job.digest not in self.compiled:
            job.compile(self.context)
            self.compiled.add(job.digest)

    def _runs(self, job: Job) -> Iterator[Run]:
        """The missing runs of a claimed job, failed ones with their error."""
        self.context.done = self.store.completed()
        missing = self._missing(job)
        left = dict.fromkeys(id for id in job.run_ids() if id in missing)
        if not left:
            return
        try:
            for run in job.work(self.context, missing):
                left.pop(run.run_id, None)
                yield run
        except Exception as error:
            yield from job.failed(self.plan.config, left, error)

    def _keep(self, run: Run) -> Run:
        self.store.write(run)
        if run.status == "ok":
            self.context.done |= {run.run_id}
        self.listener.finished(run)
        return run
