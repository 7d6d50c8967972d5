"""A teacher that an earlier table of the same experiment trains."""

import jax
import numpy as np
import pytest

from jaxbench.config import parse_config
from jaxbench.engine import weights_digest
from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run
from jaxbench.sweeps import make_plan, sweep
from jaxbench.sweeps.jobs.training import Training, best_trial
from model_zoo import create_model, load_variables, save_variables

BASE = {
    "models": ["mixer_micro"],
    "dataset": "digits@train",
    "validation": "digits@validation",
    "epochs": 2,
    "batch_size": 32,
    # The tests have eight devices, which a population would be cut over.
    "strategy": "loop",
    "grid": {"sgd": {"learning_rate": [0.1]}},
}
TEACHER = {"name": "mixer_micro", "weights": "best-trial", "weight": 0.5}


def experiment(folder, *tables, teacher=TEACHER):
    first = BASE | {"grid": {"sgd": {"learning_rate": [0.1, 1e-4]}}}
    table = {
        "name": "taught",
        "results": str(folder),
        "limit": 64,
        "train": [*tables] or [first, BASE | {"seeds": [3], "teacher": teacher}],
        "evaluate": {"clean": ["digits@test"], "batch_size": 64, "num_resamples": 0},
    }
    return parse_config(table, origin="experiment")


@pytest.mark.slow
def test_students_learn_from_the_best_trial(tmp_path):
    config = experiment(tmp_path)
    runs = list(sweep(config))
    assert [run.error for run in runs if run.error] == []
    trials = {run.run_id: run for run in runs if run.kind == "trial"}
    teachers = [run for run in trials.values() if run.settings["teacher"] is None]
    best = max(teachers, key=lambda run: run.metrics["val_accuracy"])
    plan = make_plan(config)
    (student,) = (job for job in plan.of(Training) if job.teachers)
    teacher = student.load_teacher(ResultStore(tmp_path))
    assert teacher.name == f"mixer_micro {best.run_id}"
    row = trials[student.trials[0].trial_id]
    assert row.settings["teacher"] == "mixer_micro best-trial"
    assert row.settings["teacher_trial"] == best.run_id
    assert best.settings["teacher_trial"] is None
    assert np.isfinite(row.metrics["val_accuracy"])
    assert list(sweep(config)) == []


def finish(store, population, accuracies):
    """Writes finished trials and random weights of a population."""
    network = create_model("mixer_micro", num_classes=8)
    for number, trial in enumerate(population.trials[: len(accuracies)]):
        variables = network.init(jax.random.key(number))
        save_variables(weights_of(store, trial.trial_id), variables, {})
        run = Run(
            run_id=trial.trial_id,
            kind="trial",
            status="ok",
            settings={"model": trial.model, "trial_id": trial.trial_id},
            metrics={"val_accuracy": accuracies[number]},
            provenance={"weights_digest": weights_digest(variables)},
        )
        store.write(run)


def weights_of(store, trial_id):
    folder = store.path / "weights"
    folder.mkdir(exist_ok=True)
    return folder / f"{trial_id}.safetensors"


def test_the_best_of_all_finished_trials_teaches(tmp_path):
    plan = make_plan(experiment(tmp_path))
    teachers, student = plan.of(Training)
    assert student.teachers == teachers.trials
    store = ResultStore(tmp_path, create=True)
    finish(store, teachers, [0.5])
    with pytest.raises(UserError, match="1 of its 2 trials are not finished"):
        student.load_teacher(store)
    finish(store, teachers, [0.5, 0.75])
    best = teachers.trials[1].trial_id
    teacher = student.load_teacher(store)
    assert teacher.name == f"mixer_micro {best}"
    assert best_trial(store, student.teachers).trial_id == best
    assert best_trial(store, teachers.teachers) is None
    held = load_variables(weights_of(store, best))
    assert held.keys() == teacher.variables.keys()
    for name, values in held.items():
        np.testing.assert_array_equal(teacher.variables[name], values)
    weights_of(store, best).unlink()
    with pytest.raises(UserError, match=f"weights of trial {best} are gone"):
        student.load_teacher(store)
    # Tables without such a teacher are as before.
    assert teachers.load_teacher(store) is None


def test_diverged_teachers(tmp_path):
    plan = make_plan(experiment(tmp_path))
    teachers, student = plan.of(Training)
    store = ResultStore(tmp_path, create=True)
    finish(store, teachers, [float("nan"), float("nan")])
    with pytest.raises(UserError, match="all 2 trials diverged"):
        student.load_teacher(store)


def test_another_set_of_teachers_is_another_student(tmp_path):
    def student(*rates):
        first = BASE | {"grid": {"sgd": {"learning_rate": list(rates)}}}
        second = BASE | {"seeds": [3], "teacher": TEACHER}
        plan = make_plan(experiment(tmp_path, first, second))
        return plan.of(Training)[-1].trials[0].trial_id

    assert student(0.1, 1e-4) == student(1e-4, 0.1)
    assert student(0.1, 1e-4) != student(0.1, 1e-4, 0.3)


def test_a_teacher_must_be_trained_before(tmp_path):
    student = BASE | {"seeds": [3], "teacher": TEACHER}
    with pytest.raises(UserError, match=r"no .* table before the student's trains it"):
        make_plan(experiment(tmp_path, student, BASE))
    other = BASE | {"models": ["vit_micro"]}
    with pytest.raises(UserError, match="they train vit_micro"):
        make_plan(experiment(tmp_path, other, student))
    sized = experiment(tmp_path, teacher=TEACHER | {"image_size": 16})
    with pytest.raises(UserError, match="image_size is that of the table"):
        make_plan(sized)


def test_teachers_are_compared_on_the_same_images(tmp_path):
    student = BASE | {"seeds": [3], "teacher": TEACHER}
    other = BASE | {"seeds": [1], "validation": "digits@test"}
    with pytest.raises(UserError) as problem:
        make_plan(experiment(tmp_path, BASE, other, student))
    assert "table 1 on 'digits@validation', table 2 on 'digits@test'" in str(
        problem.value
    )
    # The student itself may be scored on others.
    alone = experiment(tmp_path, BASE, student | {"validation": "digits@test"})
    assert len(make_plan(alone).of(Training)) == 2
    # The same table twice trains its trials once, and teaches as one.
    twice = experiment(tmp_path, BASE, BASE, student)
    once = experiment(tmp_path, BASE, student)
    assert set(make_plan(twice).run_ids()) == set(make_plan(once).run_ids())


def test_teachers_and_students_have_the_same_classes(tmp_path):
    first, student = BASE | {"dataset": "digits-ood"}, BASE | {"teacher": TEACHER}
    with pytest.raises(UserError) as problem:
        make_plan(experiment(tmp_path, first, student))
    for part in (
        "table 1 trains it on 'digits-ood' (2 classes",
        "the student in table 2 learns 'digits@train' (8 classes",
    ):
        assert part in str(problem.value)
