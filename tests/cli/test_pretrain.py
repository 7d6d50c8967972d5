"""Contrastive training and distillation from the command line."""

import pytest

import jaxbench.cli.pretrain as pretrain_command
import jaxbench.cli.work as work_commands
from jaxbench.config import parse_config
from jaxbench.engine.trial_weights import weights_path
from jaxbench.results import ResultStore
from tests.cli.test_cli import call

PRETRAIN = (
    *["pretrain", "mixer_micro", "--train", "digits@train", "--validation", "20"],
    *["--test", "digits@test", "--optimizer", "lars", "--lr", 0.3, "--epochs", 2],
    *["-b", 16, "--width", 8, "--crop-scale", 1, 1, "--no-flip", "--jitter", 0],
    *["--curation", "none", "--curation", "quantile", "--quantile", 0.5],
)
SWEEP = (
    *["sweep", "vit_micro", "--train", "digits@train", "--limit", 64],
    *["--validation", "digits@validation", "--test", "digits@test"],
    *["--epochs", 2, "--train-batch-size", 32, "--resamples", 0],
    *["--metric", "accuracy", "--strategy", "loop"],
)


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def configs(monkeypatch):
    """The configurations that commands make, which nothing runs."""
    made = []
    for module in (pretrain_command, work_commands):
        monkeypatch.setattr(module, "execute", lambda config, how: made.append(config))
    return made


def test_pretrain_makes_the_configuration_of_a_file(configs):
    call(*PRETRAIN, "-o", "out", "--seed", 3, "--huber-weight", 0.1)
    table = {
        "name": "pretrain mixer_micro",
        "results": "out",
        "pretrain": {
            "models": ["mixer_micro"],
            "dataset": "digits@train",
            "optimizer": "lars",
            "learning_rate": 0.3,
            "epochs": 2,
            "batch_size": 16,
            "width": 8,
            "huber_weight": 0.1,
            "views": {"crop_scale": [1.0, 1.0], "flip": False, "jitter": 0.0},
            "curation": [
                {"method": "none"},
                {"method": "quantile", "quantile": 0.5},
            ],
            "seeds": [3],
            "probe": {"dataset": "digits@train", "validation": 20},
        },
        "evaluate": {"clean": ["digits@test"]},
    }
    assert configs == [parse_config(table, origin="test")]


def test_pretrain_trains_and_probes_and_goes_on(tmp_path):
    arguments = (*PRETRAIN, "--limit", 64, "-o", tmp_path / "out")
    plan = flat(call(*arguments, "--dry-run"))
    assert "mixer_micro + quantile curation, probed on digits@test" in plan
    assert "2 training runs" in plan
    text = call(*arguments)
    rows = ResultStore(f"{tmp_path / 'out'}-limit64").summary().to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert {row["curation"] for row in rows} == {"none", "quantile"}
    for row in rows:
        assert (row["draws"], row["objective"]) == (8, "nt_xent")
        said = f"curation {row['curation']}: probe accuracy {row['probe_accuracy']:.1%}"
        assert said in text
    assert "compared by: jaxbench study curation" in text
    assert "0 runs in" in call(*arguments)


def test_options_of_a_curation_need_it(tmp_path):
    text = call(*PRETRAIN, "--max-distance", 3, "-o", tmp_path / "out", status=2)
    assert "--max-distance with --curation value" in flat(text)
    assert "--quantile" not in text


def test_contrastive_runs_have_no_table_for_a_file(tmp_path):
    options = ["-o", tmp_path / "out", "--results-file", tmp_path / "t.csv"]
    text = call(*PRETRAIN, *options, status=2)
    assert "--results-file: contrastive runs have no table" in flat(text)
    assert not (tmp_path / "out").exists()


def test_a_teacher_makes_the_configuration_of_a_file(configs):
    options = ["--optimizer", "adamw", "--teacher", "resnet_micro", "-o", "out"]
    call(*SWEEP, *options)
    more = ["--teacher-weights", "random:1", "--distillation", 0.7]
    more += ["--distillation-temperature", 2, "--teacher-image-size", 16]
    call(*SWEEP, *options, *more)
    plain, changed = (config.train[0].teacher for config in configs)
    assert plain.model_dump() == {
        "name": "resnet_micro",
        "weights": "pretrained",
        "weight": 0.5,
        "kind": "soft",
        "temperature": 1.0,
        "image_size": None,
    }
    assert changed.model_dump() == {
        "name": "resnet_micro",
        "weights": "random:1",
        "weight": 0.7,
        "kind": "soft",
        "temperature": 2.0,
        "image_size": 16,
    }


def test_a_student_learns_from_the_trial_of_an_earlier_sweep(tmp_path):
    teacher = list(SWEEP)
    teacher[1] = "mixer_micro"
    call(*teacher, "--optimizer", "adamw", "--lr", 4e-3, "-o", tmp_path / "teacher")
    store = ResultStore(f"{tmp_path / 'teacher'}-limit64")
    (trial,) = store.summary("trial").to_pylist()
    weights = weights_path(store.path, trial["run_id"])
    student = (*SWEEP, "--optimizer", "adamw", "-o", tmp_path / "out")
    distilled = ("--teacher", "mixer_micro", "--teacher-weights", weights)
    distilled += ("--distillation", 0.7, "--distillation-kind", "hard")
    call(*student)
    call(*student, *distilled)
    trials = ResultStore(f"{tmp_path / 'out'}-limit64").summary("trial").to_pylist()
    by_teacher = {row["teacher"]: row for row in trials}
    assert by_teacher.keys() == {None, f"mixer_micro {weights}"}
    taught, alone = by_teacher[f"mixer_micro {weights}"], by_teacher[None]
    assert (taught["distillation"], taught["distillation_kind"]) == (0.7, "hard")
    assert taught["status"] == "ok"
    assert taught["weights_digest"] != alone["weights_digest"]
    assert "0 runs in" in call(*student, *distilled)


def test_options_of_a_teacher_need_one():
    options = ["--optimizer", "adamw", "--distillation", 0.7]
    text = call(*SWEEP, *options, "--teacher-weights", "random:0", status=2)
    assert "--teacher-weights, --distillation: only with --teacher NAME" in flat(text)


def test_a_dry_run_says_which_rates_are_defaults(tmp_path):
    sweep = (*SWEEP, "--optimizer", "adamw", "--optimizer", "sgd", "--dry-run")
    text = flat(call(*sweep, "-o", tmp_path / "out"))
    assert "vit_micro + adamw: lr 0.0005, wd 0.05 (defaults of adamw)" in text
    assert "vit_micro + sgd: lr 0.1, wd 0.0001 (defaults of sgd)" in text
    given = flat(call(*sweep, "--lr", 1e-3, "--lr", 1e-2, "-o", tmp_path / "out"))
    assert "vit_micro + adamw: lr 0.001, 0.01, wd 0 " in given
    assert "defaults" not in given
