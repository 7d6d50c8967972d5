"""Probes in an experiment: rows as of any model, nothing twice, failures are rows."""

import json

import jax
import numpy as np
import pytest

import jaxbench.sweeps.jobs.probing as probing_module
from jaxbench.config import parse_config
from jaxbench.errors import UserError
from jaxbench.metrics import SCORE_METRICS
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.sweeps import Listener, make_plan, sweep
from model_zoo import create_model, save_variables
from tests.sweeps.experiment import subjects, trial_ids

METRICS = ["accuracy"]


def experiment(results, probe=(), evaluate=(), **changes):
    table = {
        "name": "probes",
        "results": str(results),
        "limit": 96,
        "probe": {
            "models": [{"name": "mixer_micro", "weights": "random:0"}],
            "train": "digits@train",
            "protocols": ["linear_probe", "knn"],
            "learning_rates": [0.03, 0.3],
            "epochs": 5,
            "batch_size": 32,
            "neighbors": [5, 20],
        }
        | dict(probe),
        "evaluate": {
            "clean": ["digits@test"],
            "shifted": ["digits-c/contrast_5"],
            "ood": ["digits-ood"],
            "calibration": "digits@validation",
            "metrics": METRICS,
            "batch_size": 96,
            "num_resamples": 0,
        }
        | dict(evaluate),
    }
    return parse_config(table | changes, origin="experiment")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = experiment(tmp_path_factory.mktemp("probes"))
    return config, list(sweep(config))


def by_head(runs, role="clean"):
    found = [run for run in runs if run.settings["role"] == role]
    return {(r.settings["protocol"], r.settings["num_neighbors"]): r for r in found}


def test_every_head_has_a_row_on_every_dataset(finished):
    config, runs = finished
    assert not [run.error for run in runs if run.error]
    assert len(runs) == 3 * 3
    plan = make_plan(config)
    assert plan.num_evaluations == 9
    assert ResultStore(config.results).completed() == set(plan.run_ids())
    heads = {("linear_probe", None), ("knn", 5), ("knn", 20)}
    for role in ("clean", "shifted", "ood"):
        assert by_head(runs, role).keys() == heads


def test_rows_are_those_of_any_other_evaluation(finished):
    _, runs = finished
    for run in by_head(runs).values():
        assert {"accuracy", "accuracy_ts"} == run.metrics.keys()
        assert len(run.examples["id"]) == run.settings["num_examples"] == 96
        assert {"label_rank", "margin", "nll_ts", "energy"} <= run.examples.keys()
        assert run.metrics["accuracy"] == pytest.approx(run.examples["correct"].mean())
        assert np.isfinite(run.examples["nll"]).all()
        assert run.settings["temperature"] > 0
        assert run.settings["weights"] == "random:0"
        assert run.settings["image_size"] == 8
        assert run.settings["probe_train"] == "digits@train"
        assert run.provenance["weights_digest"]
    outside = by_head(runs, "ood")["linear_probe", None]
    assert 0 <= outside.metrics["ood_auroc_max_softmax"] <= 1
    assert set(outside.examples["label"]) == {-1}


def test_the_row_says_what_was_chosen(finished):
    _, runs = finished
    settings = by_head(runs)["linear_probe", None].settings
    assert settings["probe_learning_rate"] in (0.03, 0.3)
    assert settings["probe_epochs"] == 5
    assert settings["probe_grid"].count("lr=") == 2
    assert 0 < settings["probe_validation_accuracy"] <= 1
    assert by_head(runs)["knn", 5].settings["vote_temperature"] == 0.07


def test_the_same_command_again_does_nothing(finished):
    config, _ = finished
    at_hand = []
    assert not list(sweep(config, listener=Listener(at_hand=at_hand.append)))
    assert at_hand == [9]


def test_another_number_of_neighbours_costs_only_itself(finished, monkeypatch):
    config, _ = finished

    def refuse(*arguments, **options):
        raise AssertionError("a linear probe was fitted again")

    monkeypatch.setattr(probing_module, "fit_linear_probe", refuse)
    more = experiment(config.results, {"neighbors": [5, 10, 20]})
    new = list(sweep(more))
    assert {run.settings["num_neighbors"] for run in new} == {10}
    assert [run.status for run in new] == ["ok"] * 3


def test_reports_tell_probes_apart(finished):
    config, _ = finished
    results = load_results(ResultStore(config.results))
    labels = {entry.label for entry in results.entries}
    wanted = ("linear probe", "k-NN 5", "k-NN 20")
    assert {f"mixer_micro ({words})" for words in wanted} <= labels
    for entry in results.entries:
        assert entry.model == "mixer_micro"
        assert entry.clean.keys() == {"digits@test"}
        assert entry.ood.keys() == {"digits-ood"}


def test_everything_that_decides_numbers_is_in_the_ids(tmp_path):
    def ids(probe=(), **changes):
        plan = make_plan(experiment(tmp_path, probe, **changes))
        heads = [head for job in plan.of(probing_module.Probing) for head in job.models]
        return {h.title: h.digest for h in heads}

    base = ids({"protocols": ["linear_probe", "logistic_regression", "knn"]})
    same = ids(
        {
            "protocols": ["knn", "logistic_regression", "linear_probe"],
            "keep_features": True,
        }
    )
    assert same == base
    linear, logistic, near = "linear probe", "logistic regression", "k-NN 20"
    moved = {
        "learning_rates": ([0.1], {linear}),
        "weight_decays": ([0.1], {linear}),
        "epochs": (6, {linear}),
        "batch_size": (16, {linear}),
        "warmup_epochs": (1.0, {linear}),
        "optimizer": ("lars", {linear}),
        "momentum": (0.5, {linear}),
        "feature_norm": ("l2", {linear, logistic}),
        "penalties": ([0.1], {logistic}),
        "validation_share": (0.3, {linear, logistic}),
        "validation": ("digits@validation", {linear, logistic}),
        "seed": (1, {linear, logistic}),
        "votes": ("uniform", {near}),
        "vote_temperature": (0.1, {near}),
        "prior_votes": (0.5, {near}),
        "train": ("digits@validation", {linear, logistic, near}),
        "models": (
            [{"name": "mixer_micro", "weights": "random:1"}],
            {linear, logistic, near},
        ),
    }
    for key, (value, changed) in moved.items():
        probe = {"protocols": ["linear_probe", "logistic_regression", "knn"]}
        evaluate = {"calibration": None}
        found = ids(
            probe | {key: value}, evaluate={"clean": ["digits@test"]} | evaluate
        )
        differ = {title for title in base if found[title] != base[title]}
        assert differ - {"k-NN 5"} == changed, key


def test_a_head_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no optimum in sight")

    monkeypatch.setattr(probing_module, "fit_linear_probe", broken)
    config = experiment(tmp_path, evaluate={"ood": [], "calibration": None})
    runs = list(sweep(config))
    failed = [run for run in runs if run.status == "failed"]
    assert {run.settings["protocol"] for run in failed} == {"linear_probe"}
    assert {run.settings["role"] for run in failed} == {"clean", "shifted"}
    assert len(runs) == 6
    assert "no optimum" in failed[0].error.message
    monkeypatch.undo()
    again = list(sweep(config))
    assert [run.settings["protocol"] for run in again] == ["linear_probe"] * 2
    assert {run.status for run in again} == {"ok"}


def test_a_dataset_that_fails_is_a_row_of_every_head(tmp_path, monkeypatch):
    extract, passes = probing_module.extract_features, []

    def failing(*arguments, **options):
        passes.append(arguments)
        # The training images come first, then the clean ones.
        if len(passes) == 2:
            raise RuntimeError("the disk is on fire")
        return extract(*arguments, **options)

    monkeypatch.setattr(probing_module, "extract_features", failing)
    config = experiment(tmp_path, evaluate={"ood": [], "calibration": None})
    runs = list(sweep(config))
    failed = [run for run in runs if run.status == "failed"]
    assert [run.settings["role"] for run in failed] == ["clean"] * 3
    assert len(runs) == 6
    # A pass that failed is not tried again for every head.
    assert len(passes) == 3


def test_kept_features_spare_the_pass(tmp_path, monkeypatch):
    passes = []
    extract = probing_module.extract_features

    def counting(model, variables, dataset, **options):
        passes.append(len(dataset.labels))
        return extract(model, variables, dataset, **options)

    monkeypatch.setattr(probing_module, "extract_features", counting)
    plain = {"ood": [], "shifted": [], "calibration": None}
    probe = {"protocols": ["knn"], "keep_features": True}
    list(sweep(experiment(tmp_path, probe, evaluate=plain)))
    assert len(passes) == 2
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2
    other = probe | {"votes": "uniform"}
    runs = list(sweep(experiment(tmp_path, other, evaluate=plain)))
    assert [run.status for run in runs] == ["ok"] * 2
    assert len(passes) == 2


def test_trained_weights_of_another_head_are_probed(tmp_path):
    classifier = create_model("mixer_micro", num_classes=3)
    path = tmp_path / "three.safetensors"
    save_variables(path, classifier.init(jax.random.key(0)))
    models = [{"name": "mixer_micro", "weights": str(path)}]
    plain = {"ood": [], "shifted": [], "calibration": None}
    plain |= {"num_resamples": 20, "metrics": ["accuracy"]}
    probe = {"models": models, "protocols": ["knn"], "neighbors": [5]}
    (run,) = sweep(experiment(tmp_path / "r", probe, evaluate=plain))
    assert run.status == "ok"
    assert run.settings["num_classes"] == 8
    low, high = run.metrics["accuracy_low"], run.metrics["accuracy_high"]
    assert low < run.metrics["accuracy"] < high


def test_mistakes_are_reported_before_anything_runs(tmp_path):
    def refusal(probe, **changes):
        with pytest.raises(UserError) as error:
            make_plan(experiment(tmp_path, probe, **changes))
        return str(error.value)

    both = refusal({"train": "digits@test", "neighbors": [500]})
    assert "evaluated and the probe has seen 96 of its images as digits@test" in both
    assert "neighbors asks for 500, digits@test has 96" in both
    assert "leave validation out" in refusal({"validation": "digits@train"})
    seen = refusal({"validation": "digits@test"})
    assert "has seen 96 of its images as digits@test" in seen
    said = refusal({}, evaluate={"calibration": "digits@train"})
    assert "fitted on 96 images of the calibration set" in said
    # Neither a part of the images nor other pixels hide them.
    part = refusal({"train": "digits@test"}, evaluate={"calibration": 30})
    assert "seen 66 of its images as digits@test" in part
    assert "fitted on 30 images of the calibration set" in part
    noisy = {"clean": ["digits@validation"], "shifted": ["digits@test+fog_1"]}
    other = refusal({"train": "digits@test"}, evaluate=noisy | {"calibration": None})
    assert "digits@test+fog_1 is evaluated and the probe has seen 96" in other
    assert "unknown model" in refusal({"models": [{"name": "resnet_mikro"}]})
    assert "warmup_epochs is 9 of 5" in refusal({"warmup_epochs": 9.0})
    assert "validation_share 0.001 of 96" in refusal({"validation_share": 0.001})


def test_own_models_are_checked_before_anything_runs(tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    own = {"name": "own_net:net", "weights": "nowhere.safetensors"}
    own |= {"image_size": 32, "dtype": "bfloat16"}
    with pytest.raises(UserError) as error:
        make_plan(experiment(tmp_path / "r", {"models": [own]}))
    assert "its weights cannot be 'nowhere.safetensors'" in str(error.value)
    assert "image size and dtype are set in its own module" in str(error.value)


OWN = """
from model_zoo import InputSpec, classifier_from_function

net = classifier_from_function(
    lambda variables, images: images.reshape(len(images), -1) @ variables["w"],
    name="net",
    num_classes=8,
    input_spec=InputSpec(size=(8, 8)),
)
"""


def test_the_input_that_weights_ask_for_is_part_of_what_they_are(tmp_path):
    home = tmp_path / "w" / "vit_micro"
    home.mkdir(parents=True)
    drawn = create_model("vit_micro", num_classes=8).init(jax.random.key(0))
    save_variables(home / "model.safetensors", drawn)
    model = {"name": "vit_micro", "weights": str(tmp_path / "w")}
    train = {"models": ["vit_micro"], "dataset": "digits@train", "epochs": 1}
    train |= {"validation": "digits@validation", "weights": model["weights"]}
    train |= {"grid": {"sgd": {"learning_rate": [0.1]}}}

    def identities(**changes):
        config = {"architecture": "vit_micro", "num_classes": 8} | changes
        (home / "config.json").write_text(json.dumps(config))
        probe, evaluate = {"models": [model]}, {"models": [model]}
        plan = make_plan(experiment(tmp_path, probe, evaluate, train=train))
        return (
            subjects(plan)[0].digest,
            plan.of(probing_module.Probing)[0].models[0].digest,
            *trial_ids(plan),
        )

    first = identities(mean=[0.1, 0.1, 0.1])
    assert identities(mean=[0.1, 0.1, 0.1]) == first
    for changes in ({"mean": [0.9, 0.9, 0.9]}, {"crop_pct": 0.5}):
        assert all(a != b for a, b in zip(identities(**changes), first, strict=True))


def test_a_probe_table_is_checked_like_the_others(tmp_path):
    with pytest.raises(UserError) as error:
        experiment(tmp_path, {"neighbours": [5], "epochs": 0, "prior_votes": 0.0})
    for said in ("did you mean 'neighbors'", "probe.epochs", "probe.prior_votes"):
        assert said in str(error.value)
    assert set(METRICS) <= set(SCORE_METRICS)
