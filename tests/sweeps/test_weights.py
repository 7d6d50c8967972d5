"""Weights are used only if they are those that the results' names stand for."""

import shutil

import jax
import numpy as np
import pytest

import jaxbench.sweeps.jobs.training as training_module
from jaxbench.engine import weights_digest
from jaxbench.engine.trial_weights import (
    has_weights,
    read_weights,
    save_weights,
    trained_weights,
)
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grids import load_sweeps
from jaxbench.sweeps import make_plan, sweep
from jaxbench.sweeps.starts import load_start
from model_zoo import create_model, load_variables, save_variables
from model_zoo.weights.files import load_metadata
from tests.sweeps.experiment import experiment

MORE = "digits-c/contrast_4"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, list(sweep(experiment(folder)))


@pytest.fixture
def results(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "results")


def more(results):
    """The experiment with one dataset more, which wants every trial's weights."""
    evaluate = experiment(results).evaluate.model_dump(mode="json")
    evaluate["shifted"].append(MORE)
    return experiment(results, evaluate=evaluate)


def by_trial(runs):
    return {run.settings["trial_id"]: run.metrics for run in runs}


def one_bit(path):
    content = bytearray(path.read_bytes())
    # The sign of a value in the middle of the tensors.
    content[len(content) // 8 * 4 + 3] ^= 0x80
    path.write_bytes(bytes(content))


def another_trial(path):
    (other,) = [p for p in path.parent.iterdir() if p != path][:1]
    shutil.copyfile(other, path)


def other_values(path):
    about, variables = load_metadata(path), load_variables(path)
    name = next(iter(variables))
    save_variables(path, variables | {name: variables[name] + 1}, about)


@pytest.fixture(scope="module")
def undamaged(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undamaged") / "results"
    shutil.copytree(finished[0], folder)
    return by_trial(sweep(more(folder)))


@pytest.mark.parametrize("damage", [one_bit, another_trial, other_values])
def test_case_09_changed_weights_are_trained_again(results, undamaged, damage):
    path = sorted((results / "weights").iterdir())[0]
    before = weights_digest(load_variables(path))
    damage(path)
    with pytest.warns(RuntimeWarning, match="not hold the weights.*moved to"):
        runs = list(sweep(more(results)))
    assert by_trial(runs) == undamaged
    assert weights_digest(load_variables(path)) == before
    assert [p.name for p in path.parent.glob("*.corrupt")] == [path.name + ".corrupt"]


def test_case_09_weights_that_change_while_a_sweep_runs(results, monkeypatch):
    """A file that is found bad only when it is used fails its evaluations by name."""
    monkeypatch.setattr(training_module, "has_weights", lambda *_: True)
    path = sorted((results / "weights").iterdir())[0]
    one_bit(path)
    runs = list(sweep(more(results)))
    failed = [run for run in runs if run.error]
    assert [run.settings["trial_id"] for run in failed] == [path.stem]
    assert "not hold the weights of trial" in failed[0].error.message


def test_case_09_weights_from_another_machine_are_the_trials(results):
    """Trained again they may differ in the last bit; the file itself says whose."""
    store = ResultStore(results)
    path = sorted((results / "weights").iterdir())[0]
    variables = load_variables(path)
    name = next(iter(variables))
    variables |= {name: np.nextafter(variables[name], np.float32(9))}
    save_weights(results, path.stem, "mixer_micro", variables)
    assert has_weights(store, path.stem)
    np.testing.assert_array_equal(
        trained_weights(store, path.stem)[name], variables[name]
    )
    one_bit(path)
    with pytest.warns(RuntimeWarning):
        assert not has_weights(store, path.stem)


def test_case_09_weights_trained_otherwise_are_said(results, monkeypatch):
    path = sorted((results / "weights").iterdir())[0]
    path.unlink()
    train = training_module.train_population

    def other(*arguments, **options):
        result = train(*arguments, **options)
        for variables in result.variables:
            name = next(iter(variables))
            variables[name] = variables[name] + 1
        return result

    monkeypatch.setattr(training_module, "train_population", other)
    with pytest.warns(RuntimeWarning, match="has other weights than its row"):
        runs = list(sweep(more(results)))
    assert not [run.error for run in runs if run.error]


def test_case_09_coupling_measures_no_other_weights(results):
    from jaxbench.cli.coupling import _weights

    (grid,) = load_sweeps(load_results(ResultStore(results)))
    for path in (results / "weights").iterdir():
        one_bit(path)
    with pytest.raises(UserError, match="not hold the weights of trial"):
        _weights(ResultStore(results), grid)


def taught(folder):
    train = experiment(folder).train[0].model_dump(mode="json")
    train |= {"epochs": 1, "grid": {"sgd": {"learning_rate": [0.1]}}}
    teacher = {"name": "mixer_micro", "weights": "best-trial", "weight": 0.5}
    student = train | {"seeds": [3], "teacher": teacher}
    return experiment(folder, train=[train, student])


def test_case_09_a_teachers_weights_are_restored(tmp_path):
    first, whole = tmp_path / "first", tmp_path / "whole"
    runs = list(sweep(taught(whole)))
    assert not [run.error for run in runs if run.error]
    plan = make_plan(taught(first))
    teacher, student = plan.of(training_module.Training)
    store = ResultStore(shutil.copytree(whole, first))
    for path in (first / "runs").iterdir():
        row = store.read(path.stem.split("-")[1])
        if row.settings["trial_id"] == student.trials[0].trial_id:
            path.unlink()
    weights = first / "weights" / f"{teacher.trials[0].trial_id}.safetensors"
    before = weights_digest(load_variables(weights))
    one_bit(weights)
    with pytest.raises(UserError, match="not hold the weights of trial"):
        student.load_teacher(store)
    with pytest.warns(RuntimeWarning, match="moved to"):
        again = list(sweep(taught(first)))
    assert weights_digest(load_variables(weights)) == before
    found = {run.run_id: run.metrics for run in again}
    wanted = {run.run_id: run.metrics for run in runs if run.run_id in found}
    assert found == wanted
    assert len(found) == 4


@pytest.fixture
def own_weights(tmp_path):
    path = tmp_path / "own.safetensors"
    network = create_model("mixer_micro", num_classes=8)
    save_variables(path, network.init(jax.random.key(0)))
    return path


def test_case_09_a_given_file_that_changes_before_it_is_used(tmp_path, own_weights):
    evaluate = experiment(tmp_path).evaluate.model_dump(mode="json")
    evaluate["models"] = [{"name": "mixer_micro", "weights": str(own_weights)}]
    plan = make_plan(experiment(tmp_path / "r", train=None, evaluate=evaluate))
    one_bit(own_weights)
    runs = list(sweep(plan))
    assert len(runs) == 3
    assert all("changed after the work was planned" in r.error.message for r in runs)
    again = experiment(tmp_path / "r", train=None, evaluate=evaluate)
    assert not [run.error for run in sweep(again) if run.error]


@pytest.mark.parametrize("role", ["weights", "teacher"])
def test_case_09_starts_and_teachers_that_change(tmp_path, own_weights, role):
    train = experiment(tmp_path).train[0].model_dump(mode="json")
    given = {"name": "mixer_micro", "weights": str(own_weights), "weight": 0.5}
    train[role] = str(own_weights) if role == "weights" else given
    plan = make_plan(experiment(tmp_path / "r", train=train))
    job = plan.of(training_module.Training)[0]
    one_bit(own_weights)
    read = {
        "weights": lambda: load_start(job.train, job.model, job.start),
        "teacher": lambda: job.load_teacher(ResultStore(tmp_path, create=True)),
    }
    with pytest.raises(UserError, match="changed after the work was planned"):
        read[role]()


def test_case_09_a_row_without_a_digest_vouches_for_nothing(results):
    path = sorted((results / "weights").iterdir())[0]
    save_variables(path, load_variables(path), {})
    with pytest.raises(UserError, match="that of the trial None"):
        read_weights(results, path.stem, None)
