"""The one protocol of jobs: planned, found again, resumed, and failures recorded."""

import dataclasses

import pytest

from jaxbench.config import load_config
from jaxbench.engine import make_data_mesh
from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run, run_digest
from jaxbench.sweeps import Listener, find_job, make_plan, sweep
from jaxbench.sweeps.jobs import KINDS
from jaxbench.sweeps.jobs.evaluation import Evaluation
from jaxbench.sweeps.jobs.protocol import Context, Job, Kind
from jaxbench.sweeps.jobs.training import Training
from tests.sweeps.experiment import as_toml, experiment

PROBE = {
    "models": [{"name": "mixer_micro", "weights": "random:0"}],
    "train": "digits@train",
    "protocols": ["knn"],
    "neighbors": [5],
}
PRETRAIN = {
    "models": ["mixer_micro"],
    "dataset": "digits@train",
    "optimizer": "lars",
    "learning_rate": 0.3,
    "epochs": 1,
    "batch_size": 16,
    "seeds": [1],
    "probe": {"dataset": "digits@train", "validation": 20},
}


@dataclasses.dataclass(frozen=True)
class Counting(Job):
    """A kind of a test's own: run i of a job measures the number i."""

    name: str
    count: int = 3
    after: tuple[str, ...] = ()

    kind, makes, version = "counting", "evaluation", 1

    @property
    def title(self):
        return f"counting {self.name}"

    @property
    def needs(self):
        return frozenset(self.after)

    def run_ids(self):
        return tuple(run_digest({self.name: number}) for number in range(self.count))

    def settings(self, run_id):
        return {"model": self.name, "dataset": str(self.run_ids().index(run_id))}

    def work(self, context, missing):
        context.listener.stage(self.title)
        for number, run_id in enumerate(self.run_ids()):
            if run_id in missing:
                yield self.finished(
                    context.config,
                    run_id,
                    settings={},
                    provenance={},
                    metrics={"accuracy": float(number)},
                )


class Broken(Counting):
    """Fails after its first run."""

    def work(self, context, missing):
        yield next(super().work(context, missing))
        raise RuntimeError("out of fingers")


def counted(tmp_path, monkeypatch, *jobs):
    """An experiment with nothing but these jobs, planned by a registered kind."""
    for name in KINDS:
        monkeypatch.setitem(KINDS, name, Kind(lambda plan: ()))
    monkeypatch.setitem(KINDS, "counting", Kind(lambda plan: jobs))
    return experiment(tmp_path)


def test_another_kind_runs_and_is_not_done_again(tmp_path, monkeypatch):
    config = counted(tmp_path, monkeypatch, Counting("a"), Counting("b", 2))
    assert (make_plan(config).num_trials, make_plan(config).num_evaluations) == (0, 5)
    stages, finished, at_hand = [], [], []
    listener = Listener(stage=stages.append, finished=finished.append)
    runs = list(sweep(config, listener=listener))
    assert [run.settings["model"] for run in runs] == list("aaabb")
    assert finished == runs
    assert stages == ["counting a", "counting b"]
    row = ResultStore(tmp_path).read(runs[2].run_id)
    assert (row.metrics["accuracy"], row.settings["experiment"]) == (2.0, "small")
    assert row.provenance["numbers_version"] == "1"
    assert not list(sweep(config, listener=Listener(at_hand=at_hand.append)))
    assert at_hand == [5]


def test_a_failed_job_leaves_rows_and_is_resumed(tmp_path, monkeypatch):
    config = counted(tmp_path, monkeypatch, Broken("a"), Counting("b", 1))
    runs = list(sweep(config))
    assert [run.status for run in runs] == ["ok", "failed", "failed", "ok"]
    for run in runs[1:3]:
        assert (run.error.type, run.error.message) == ("RuntimeError", "out of fingers")
        assert "raise RuntimeError" in run.error.traceback
        assert run.settings["model"] == "a"
    config = counted(tmp_path, monkeypatch, Counting("a"), Counting("b", 1))
    again = list(sweep(config))
    assert [(run.run_id, run.status) for run in again] == [
        (run.run_id, "ok") for run in runs[1:3]
    ]


def test_a_job_waits_for_the_runs_it_needs(tmp_path, monkeypatch):
    first = Counting("first")
    second = Counting("second", 1, after=first.run_ids())
    runs = list(sweep(counted(tmp_path, monkeypatch, second, first)))
    assert [run.settings["model"] for run in runs] == ["first"] * 3 + ["second"]


def test_a_run_of_two_jobs_is_refused(tmp_path, monkeypatch):
    class Trials(Counting):
        makes = "trial"

        def settings(self, run_id):
            return {"learning_rate": 0.1, "seed": self.run_ids().index(run_id)}

    jobs = (Trials("a"), Trials("a"), Trials("a", 2))
    with pytest.raises(UserError) as error:
        make_plan(counted(tmp_path, monkeypatch, *jobs))
    # The same job twice is done once.
    assert str(error.value).count("stands in two tables") == 2


@pytest.fixture
def every_kind(tmp_path):
    """A file with a job of every kind."""
    evaluate = experiment(tmp_path).evaluate.model_dump(mode="json")
    evaluate |= {"models": PROBE["models"], "shifted": [], "ood": []}
    config = experiment(tmp_path, evaluate=evaluate, probe=PROBE, pretrain=PRETRAIN)
    path = tmp_path / "experiment.toml"
    path.write_text(as_toml(config))
    return path


def test_a_job_is_found_again_from_file_and_digest(every_kind):
    jobs = make_plan(load_config(every_kind)).jobs
    assert {type(job).__module__.rpartition(".")[2] for job in jobs} == set(KINDS)
    for job in jobs:
        found = find_job(load_config(every_kind), job.digest)
        assert type(found) is type(job)
        assert (found.title, found.run_ids()) == (job.title, job.run_ids())
    with pytest.raises(UserError, match="has no job 123; its file"):
        find_job(load_config(every_kind), "123")


def test_a_found_job_is_done_by_itself(every_kind):
    config = load_config(every_kind)
    job = next(j for j in make_plan(config).jobs if j.kind == "probes")
    plan = dataclasses.replace(make_plan(config), jobs=(find_job(config, job.digest),))
    runs: list[Run] = list(sweep(plan))
    assert [(run.run_id, run.status) for run in runs] == [(*job.run_ids(), "ok")]


def test_programs_compiled_ahead_are_those_of_the_work(every_kind):
    plan = make_plan(load_config(every_kind))
    store = ResultStore(plan.config.results, create=True)
    context = Context(plan, store, make_data_mesh(), Listener())
    for job in plan.jobs:
        job.compile(context)
    jobs = (*plan.of(Training), *plan.of(Evaluation))
    runs = list(sweep(dataclasses.replace(plan, jobs=jobs)))
    assert [run.error for run in runs if run.error] == []
    assert {run.timing["compile_seconds"] for run in runs} == {0.0}


def test_stored_runs_are_found_again(every_kind):
    """Ids change with a version of the numbers, and never without."""
    jobs = {job.kind: job for job in make_plan(load_config(every_kind)).jobs}
    assert {kind: job.run_ids()[0] for kind, job in jobs.items()} == {
        "pretraining": "7fe5d76ec2e40f83bbcd23141d8b2039",
        "population": "6907a1398c1efc38770ec60c0a2be6e9",
        "evaluation": "3cafe80f1908582aec6b748a8f3d65d9",
        "probes": "ca942dbc149e7c2ebd8c4dba1414c69d",
    }
