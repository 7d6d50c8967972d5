"""Sweeps: complete, repeatable, and not stopped by a failure."""

import numpy as np
import pytest

import jaxbench.sweeps.jobs.evaluation as evaluation_module
import jaxbench.sweeps.jobs.training as training_module
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.sweeps import Listener, make_plan, sweep
from model_zoo import save_variables
from tests.sweeps.experiment import experiment, subjects


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
    assert clean.settings["image_size"] == 8
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
    train = config.train[0].model_dump(mode="json")
    train["grid"]["sgd"]["learning_rate"].append(0.01)
    grown = experiment(config.results, train=train)
    new = list(sweep(grown))
    assert [run.kind for run in new] == ["trial"] + ["evaluation"] * 3
    assert {run.settings["learning_rate"] for run in new} == {0.01}


def test_a_failure_is_a_row_and_the_sweep_goes_on(tmp_path, monkeypatch):
    config, evaluate = experiment(tmp_path), evaluation_module.evaluate

    def failing(*arguments, **options):
        if options.get("role") == "shifted":
            raise RuntimeError("the disk is on fire")
        return evaluate(*arguments, **options)

    monkeypatch.setattr(evaluation_module, "evaluate", failing)
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
    train = training_module.train_population

    def failing(classifier, optimizer, *arguments, **options):
        if optimizer == "sgd":
            raise RuntimeError("no gradient today")
        return train(classifier, optimizer, *arguments, **options)

    monkeypatch.setattr(training_module, "train_population", failing)
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
    train = experiment(tmp_path).train[0].model_dump(mode="json")
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


def save_classes(folder, classes, name="images"):
    """An array dataset of 8 x 8 images, three of each class."""
    draw = np.random.default_rng(len(classes))
    path = folder / f"{name}.npz"
    labels = np.repeat(np.arange(len(classes)), 3)
    images = draw.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
    np.savez(path, images=images, labels=labels, class_names=np.array(classes))
    return f"arrays:{path}"


def subject_on(tmp_path, **evaluate):
    table = {"models": [{"name": "mixer_micro", "weights": "random:0"}]}
    table |= {"num_resamples": 0} | evaluate
    classes = table.pop("classes", None)
    return experiment(
        tmp_path / "out", train=None, evaluate=table, limit=None, classes=classes
    )


OWN = """
from model_zoo import InputSpec, classifier_from_function

def apply(variables, images):
    return images.mean((1, 2)) @ variables["w"]

spec = InputSpec(size=(8, 8), crop_fraction=1.0)
mine = classifier_from_function(apply, name="mine", num_classes=2, input_spec=spec)
"""


def test_a_model_of_your_own(tmp_path, monkeypatch):
    (tmp_path / "my_own_model.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    weights = {"w": np.eye(3, 2, dtype=np.float32)}
    save_variables("mine.safetensors", weights)
    clean = save_classes(tmp_path, ["cat", "dog"])
    model = {"name": "my_own_model:mine", "weights": "mine.safetensors"}
    (run,) = sweep(subject_on(tmp_path, clean=[clean], models=[model]))
    assert run.error is None
    images = np.load(tmp_path / "images.npz")["images"] / 255
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    logits = ((images - mean) / std).mean((1, 2)) @ weights["w"]
    assert run.examples["prediction"].tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "no_such_module:mine"}, "cannot import 'no_such_module'"),
        ({"name": "my_second_model:mien"}, "did you mean 'mine'"),
        ({"name": "my_second_model:apply"}, "classifier_from_function"),
        ({"weights": "random:0"}, "give a .safetensors file"),
        ({"image_size": 32}, "set in its own module"),
    ],
)
def test_mistakes_with_a_model_of_your_own(tmp_path, monkeypatch, changes, message):
    (tmp_path / "my_second_model.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    save_variables("mine.safetensors", {"w": np.eye(3, 2, dtype=np.float32)})
    clean = save_classes(tmp_path, ["cat", "dog"])
    model = {"name": "my_second_model:mine", "weights": "mine.safetensors"} | changes
    with pytest.raises(UserError) as error:
        make_plan(subject_on(tmp_path, clean=[clean], models=[model]))
    assert message in str(error.value)


def test_one_label_two_classes_is_refused(tmp_path):
    clean = save_classes(tmp_path, ["cat", "dog", "emu"], "clean")
    shifted = save_classes(tmp_path, ["cat", "emu"], "shifted")
    with pytest.raises(UserError, match=r"label 1 is 'dog' in .* and 'emu' in"):
        make_plan(subject_on(tmp_path, clean=[clean], shifted=[shifted]))


def test_another_number_of_classes_than_the_model_has(tmp_path):
    clean = save_classes(tmp_path, ["cat", "dog", "emu"])
    model = {"name": "mixer_micro", "weights": "random:0", "num_classes": 1000}
    with pytest.raises(UserError, match=r"num_classes=1000.* has 3 classes.*classes"):
        make_plan(subject_on(tmp_path, clean=[clean], models=[model]))


def test_class_file_gives_labels_but_not_to_ood_images(tmp_path):
    clean = save_classes(tmp_path, ["cat", "dog"], "clean")
    outside = save_classes(tmp_path, ["oak", "elm"], "outside")
    classes = tmp_path / "classes.txt"
    classes.write_text("ant\ncat\ndog\n")
    config = subject_on(
        tmp_path, clean=[clean], ood=[outside], classes=str(classes), num_resamples=10
    )
    runs = list(sweep(config))
    assert [run.status for run in runs] == ["ok", "ok"]
    assert set(runs[0].examples["label"]) == {1, 2}
    assert runs[0].settings["num_classes"] == 3


def test_empty_line_in_a_class_file(tmp_path):
    clean = save_classes(tmp_path, ["cat", "dog"])
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\n\ndog\n")
    with pytest.raises(UserError, match="line 2 is empty"):
        make_plan(subject_on(tmp_path, clean=[clean], classes=str(classes)))


def test_the_same_work_twice_is_done_once(tmp_path):
    model = {"name": "mixer_micro", "weights": "random:0"}
    plan = make_plan(
        subject_on(tmp_path, clean=["digits", "digits@test"], models=[model, model])
    )
    assert len(subjects(plan)) == len(plan.targets) == 1


def test_calibration_on_the_evaluated_images(tmp_path):
    with pytest.raises(UserError, match="its images are in the calibration set"):
        make_plan(
            subject_on(tmp_path, clean=["digits@test"], calibration="digits@test")
        )


def test_images_set_apart_are_left_out_of_their_shifted_versions(tmp_path):
    shifted = ["digits-c/contrast_1"]
    plan = make_plan(
        subject_on(tmp_path, clean=["digits@test"], shifted=shifted, calibration=40)
    )
    clean, corrupted = plan.targets
    assert list(clean.source.ids) == list(corrupted.source.ids)
    assert len(clean.source) == 289 - 40


def test_lost_weights_that_cannot_be_made_again(tmp_path, monkeypatch):
    """A trial is done, its weights are gone, training fails: that is a failure."""
    config = experiment(tmp_path)
    list(sweep(config))
    for path in (tmp_path / "weights").iterdir():
        path.unlink()
    evaluate = config.evaluate.model_dump(mode="json")
    evaluate["shifted"].append("digits-c/contrast_4")

    def failing(*arguments, **options):
        raise RuntimeError("no gradient today")

    monkeypatch.setattr(training_module, "train_population", failing)
    new = list(sweep(experiment(tmp_path, evaluate=evaluate)))
    assert [run.kind for run in new] == ["evaluation"] * 3
    assert {run.error.message for run in new} == {"no gradient today"}


def test_damaged_weights_are_made_again(tmp_path):
    config = experiment(tmp_path)
    list(sweep(config))
    for path in (tmp_path / "weights").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    evaluate = config.evaluate.model_dump(mode="json")
    evaluate["shifted"].append("digits-c/contrast_4")
    with pytest.warns(
        RuntimeWarning, match="not a readable safetensors file.*moved to"
    ):
        new = list(sweep(experiment(tmp_path, evaluate=evaluate)))
    assert [run.status for run in new] == ["ok"] * 3
    assert len(list((tmp_path / "weights").glob("*.corrupt"))) == 3


def test_a_limit_below_the_batch_size(tmp_path):
    runs = list(sweep(experiment(tmp_path, limit=16)))
    assert {run.status for run in runs} == {"ok"}
    trial = next(run for run in runs if run.kind == "trial")
    assert trial.settings["train_batch_size"] == 16


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
