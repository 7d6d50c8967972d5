"""A sweep that is logged to three trackers at once, interrupted, and resumed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from jaxbench.cli.app import app
from jaxbench.loggers.tracker import OF_DATASET, plain, subject_of
from jaxbench.results import ResultStore
from jaxbench.sweeps import Listener, combined, make_plan
from jaxbench.training.history import History
from tests.loggers.tracked import KINDS, place, read
from tests.sweeps.experiment import as_toml, experiment


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0])
def test_an_interrupted_sweep_goes_on_in_the_same_runs(
    tmp_path, monkeypatch, checkpoint_seconds
):
    """Interrupted at the third point: after a checkpoint of the second, and without."""
    train = experiment(tmp_path).train[0].model_dump(mode="json")
    train |= {"checkpoint_seconds": checkpoint_seconds}
    config = experiment(tmp_path / "results", train=train)
    path = tmp_path / "small.toml"
    # Where the file says so and where the command does.
    path.write_text(
        f"log = {json.dumps([place('wandb', tmp_path)])}\n{as_toml(config)}"
    )
    places = [place(kind, tmp_path) for kind in ("tensorboard", "mlflow")]
    command = ["run", path, "--log", places[0], "--log", places[1]]
    validated = History.validated

    def interrupted(self, point, *arguments):
        if point == 2:
            raise KeyboardInterrupt
        validated(self, point, *arguments)

    monkeypatch.setattr(History, "validated", interrupted)
    status, output = call(*command)
    assert status == 130, output
    for kind in KINDS:
        found = read(kind, tmp_path)
        assert len(found) == 2, "one population trains at a time"
        for run in found.values():
            assert [step for step, _ in run.points["val_nll"]] == [3, 6]
            assert kind == "tensorboard" or run.status == "killed"
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb-files"))
    status, output = call(*command)
    assert status == 0, output
    store = ResultStore(tmp_path / "results")
    for kind in KINDS:
        _check_all(store, kind, read(kind, tmp_path))
    # Nothing is left to do, and nothing is logged twice but the report.
    status, output = call(*command)
    assert status == 0, output
    for kind in KINDS:
        _check_all(store, kind, read(kind, tmp_path))


def _check_all(store: ResultStore, kind: str, found: dict) -> None:
    runs = [store.read(row["run_id"]) for row in store.summary().to_pylist()]
    trials = [run for run in runs if run.kind == "trial"]
    assert found.keys() == {plain(subject_of(run).name) for run in runs} | {"small"}
    for trial in trials:
        run = found[plain(subject_of(trial).name)]
        for name in trial.curves.keys() - {"step"}:
            steps, values = zip(*run.points[name], strict=True)
            assert list(steps) == trial.curves["step"].tolist()
            # Times of points that were trained twice are measured twice.
            if name != "seconds":
                np.testing.assert_allclose(values, trial.curves[name], rtol=1e-6)
        assert run.settings["learning_rate"] == str(trial.settings["learning_rate"])
        assert run.settings["recipe"] == "plain"
        assert kind == "tensorboard" or run.status == "finished"
    for evaluation in (run for run in runs if run.kind == "evaluation"):
        run = found[plain(subject_of(evaluation).name)]
        group = plain(evaluation.settings["dataset"])
        for name, value in evaluation.metrics.items():
            np.testing.assert_allclose(run.metrics[f"{group}/{name}"], value, rtol=1e-6)
    names = {file.removesuffix(".html") for file in found["small"].files}
    assert names == {"report"}


def test_what_differs_between_datasets_is_not_the_models(tmp_path):
    """Settings of evaluations that differ within a model stand under the dataset."""
    from jaxbench.sweeps import sweep

    train = experiment(tmp_path).train[0].model_dump(mode="json")
    train["grid"] = {"sgd": {"learning_rate": [0.1]}}
    runs = [r for r in sweep(experiment(tmp_path, train=train)) if r.kind != "trial"]
    names = {name for run in runs for name in run.settings}
    varying = {n for n in names if len({r.settings.get(n) for r in runs}) > 1}
    assert varying <= OF_DATASET
    assert {subject_of(run).key for run in runs} == {runs[0].settings["trial_id"]}


def test_a_log_is_not_a_part_of_an_identity(tmp_path):
    plain_, logged = experiment(tmp_path), experiment(tmp_path, log=["wandb:project"])
    assert list(make_plan(plain_).run_ids()) == list(make_plan(logged).run_ids())


def test_a_wrong_place_is_an_error_before_anything_is_read(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(as_toml(experiment(tmp_path / "results")))
    for options in (["--dry-run"], []):
        status, output = call("run", path, "--log", "tensorbord:x", *options)
        assert status == 2
        assert "did you mean 'tensorboard'?" in output
    assert not (tmp_path / "results").exists()


def test_evaluate_and_probe_take_the_option(tmp_path):
    base = ["--weights", "random:0", "--resamples", "20", "--limit", "48"]
    log = ["--log", place("tensorboard", tmp_path)]
    for command, data in (
        ("evaluate", ["--data", "digits@test"]),
        ("probe", ["--train", "digits@train", "--test", "digits@test", "--knn", "5"]),
    ):
        options = [*data, "--results", tmp_path / command, *base, *log]
        options += ["--protocol", "knn"] if command == "probe" else []
        status, output = call(command, "mixer_micro", *options)
        assert status == 0, output
    found = read("tensorboard", tmp_path)
    for name in ("mixer_micro_random_0", "mixer_micro_random_0_knn_k5"):
        assert 0 <= found[name].metrics["digits_test/accuracy_low"] <= 1
        assert found[name].settings["digits_test/role"] == "clean"


def test_combined_listeners_are_called_in_their_order():
    calls = []

    def listener(name: str) -> Listener:
        return Listener(
            stage=lambda title: calls.append((name, title)),
            progress=lambda done, total: calls.append((name, done, total)),
        )

    both = combined([listener("display"), Listener(), listener("log")])
    both.stage("training")
    both.progress(1, 2)
    both.at_hand(3)
    assert calls == [
        ("display", "training"),
        ("log", "training"),
        ("display", 1, 2),
        ("log", 1, 2),
    ]
