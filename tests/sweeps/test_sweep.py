"""Sweeps: complete, repeatable, and not stopped by a failure."""

import numpy as np
import pytest

import jaxbench.sweeps.run as run_module
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.sweeps import Listener, make_plan, sweep
from tests.sweeps.experiment import experiment


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    config = experiment(folder)
    return config, list(sweep(config))


def test_every_run_is_kept(finished):
    config, runs = finished
    assert not [run.error for run in runs if run.error]
    kinds = [run.kind for run in runs]
    assert (kinds.count("trial"), kinds.count("evaluation")) == (3, 9)
    plan = make_plan(config)
    assert ResultStore(config.results).completed() == set(plan.run_ids())
    assert plan.num_trials + plan.num_evaluations == 12


def test_the_same_command_again_does_nothing(finished):
    config, _ = finished
    at_hand = []
    assert not list(sweep(config, listener=Listener(at_hand=at_hand.append)))
    assert at_hand == [12]


def test_rows_say_what_was_run(finished):
    _, runs = finished
    clean = next(run for run in runs if run.settings.get("role") == "clean")
    assert clean.settings["model"] == "mixer_micro"
    assert clean.settings["num_examples"] == 96
    assert clean.settings["temperature"] > 0
    assert {"accuracy", "accuracy_low", "nll_ts", "aurc"} <= clean.metrics.keys()
    for key in ("git_commit", "jax_version", "dataset_fingerprint", "weights_digest"):
        assert key in clean.provenance
    assert len(clean.examples["id"]) == 96
    trial = next(run for run in runs if run.kind == "trial")
    assert len(trial.curves["train_loss"]) == 3
    ood = next(run for run in runs if run.settings.get("role") == "ood")
    assert 0 <= ood.metrics["ood_auroc_energy"] <= 1


def test_a_grown_grid_does_only_what_is_new(finished):
    config, _ = finished
    train = config.train.model_dump(mode="json")
    train["grid"]["sgd"]["learning_rate"].append(0.01)
    grown = experiment(config.results, train=train)
    new = list(sweep(grown))
    assert [run.kind for run in new] == ["trial"] + ["evaluation"] * 3
    assert {run.settings["learning_rate"] for run in new} == {0.01}


def test_a_failure_is_a_row_and_the_sweep_goes_on(tmp_path, monkeypatch):
    config, evaluate = experiment(tmp_path), run_module.evaluate

    def failing(*arguments, **options):
        if options.get("role") == "shifted":
            raise RuntimeError("the disk is on fire")
        return evaluate(*arguments, **options)

    monkeypatch.setattr(run_module, "evaluate", failing)
    runs = list(sweep(config))
    failed = [run for run in runs if run.status == "failed"]
    assert len(runs) == 12
    assert [run.settings["role"] for run in failed] == ["shifted"] * 3
    assert failed[0].error.message == "the disk is on fire"
    assert "failing" in failed[0].error.traceback
    monkeypatch.undo()
    again = list(sweep(config))
    assert {run.run_id for run in again} == {run.run_id for run in failed}
    assert {run.status for run in again} == {"ok"}


def test_a_failed_training_fails_its_trials_only(tmp_path, monkeypatch):
    train = run_module.train_population

    def failing(classifier, optimizer, *arguments, **options):
        if optimizer == "sgd":
            raise RuntimeError("no gradient today")
        return train(classifier, optimizer, *arguments, **options)

    monkeypatch.setattr(run_module, "train_population", failing)
    runs = list(sweep(experiment(tmp_path)))
    failed = [run for run in runs if run.status == "failed"]
    assert [run.settings["optimizer"] for run in failed] == ["sgd", "sgd"]
    assert sum(run.status == "ok" for run in runs) == 4


def test_lost_weights_are_trained_again(tmp_path):
    """A trial whose weights are gone is trained again for a new dataset."""
    config = experiment(tmp_path)
    first = list(sweep(config))
    for path in (tmp_path / "weights").iterdir():
        path.unlink()
    evaluate = config.evaluate.model_dump(mode="json")
    evaluate["shifted"].append("digits-c/contrast_4")
    new = list(sweep(experiment(tmp_path, evaluate=evaluate)))
    assert {run.kind for run in new} == {"evaluation"}
    assert len(new) == 3
    assert not {run.run_id for run in new} & {run.run_id for run in first}
    digests = {run.provenance["weights_digest"] for run in first}
    assert {run.provenance["weights_digest"] for run in new} <= digests


def test_all_unknown_names_at_once(tmp_path):
    train = experiment(tmp_path).train.model_dump(mode="json")
    train |= {"models": ["mixr_micro"], "augmentations": ["flipp"]}
    train["grid"] = {"adamww": train["grid"]["adamw"]}
    with pytest.raises(UserError) as error:
        make_plan(experiment(tmp_path, train=train))
    for part in ("mixer_micro", "'flip'", "'adamw'"):
        assert part in str(error.value)


def test_unknown_dataset_before_anything_is_computed(tmp_path):
    evaluate = experiment(tmp_path).evaluate.model_dump(mode="json")
    evaluate["clean"] = ["digit@test"]
    with pytest.raises(UserError, match="digits"):
        make_plan(experiment(tmp_path, evaluate=evaluate))


def test_calibration_images_are_set_apart(tmp_path):
    evaluate = experiment(tmp_path).evaluate.model_dump(mode="json")
    evaluate["calibration"] = 24
    runs = list(sweep(experiment(tmp_path, evaluate=evaluate)))
    clean = [run for run in runs if run.settings.get("role") == "clean"]
    assert {run.settings["num_examples"] for run in clean} == {96 - 24}


def test_zoo_model_with_weights_from_a_file(tmp_path, finished):
    config, runs = finished
    trial = next(run for run in runs if run.kind == "trial")
    weights = f"{config.results}/weights/{trial.run_id}.safetensors"
    subject = {"name": "mixer_micro", "weights": weights}
    evaluate = config.evaluate.model_dump(mode="json") | {"models": [subject]}
    found = list(sweep(experiment(tmp_path, train=None, evaluate=evaluate)))
    assert len(found) == 3
    twin = [
        run
        for run in runs
        if run.settings.get("trial_id") == trial.run_id and run.kind == "evaluation"
    ]
    for one, other in zip(found, twin, strict=True):
        assert one.metrics == pytest.approx(other.metrics, nan_ok=True)
        np.testing.assert_array_equal(one.examples["id"], other.examples["id"])


def test_weights_of_another_model_are_refused_by_name(tmp_path, finished):
    config, runs = finished
    trial = next(run for run in runs if run.kind == "trial")
    weights = f"{config.results}/weights/{trial.run_id}.safetensors"
    subject = {"name": "resnet_micro", "weights": weights}
    evaluate = config.evaluate.model_dump(mode="json") | {"models": [subject]}
    found = list(sweep(experiment(tmp_path, train=None, evaluate=evaluate)))
    assert {run.status for run in found} == {"failed"}
    assert "resnet_micro" in found[0].error.message
