"""From a `[train]` table to populations: recipes, grids, starts, teachers."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxbench.config import TrainConfig, parse_config
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.sweeps import make_plan, sweep
from jaxbench.sweeps.jobs.training import Training
from jaxbench.sweeps.jobs.trials import grid_points, make_recipe
from jaxbench.training import RECIPES, HyperParameters, get_optimizer
from model_zoo import create_model, save_variables
from tests.sweeps.experiment import experiment

BASE = {
    "models": ["mixer_micro"],
    "dataset": "digits@train",
    "validation": "digits@validation",
    "epochs": 2,
    "batch_size": 32,
    "grid": {"sgd": {"learning_rate": [0.1, 0.03]}},
}


def train_table(**changes) -> TrainConfig:
    table = {"name": "t", "results": "r", "train": BASE | changes}
    config = parse_config(table | {"evaluate": {"clean": ["d"]}}, origin="test")
    return config.train[0]


def plan_of(tmp_path, *tables, **changes):
    tables = [BASE | table for table in tables] or [BASE]
    evaluate = {"clean": ["digits@test"], "num_resamples": 0}
    config = {"train": tables, "evaluate": evaluate} | changes
    return make_plan(experiment(tmp_path, **config))


def test_a_table_changes_what_it_names_of_its_recipe():
    table = train_table(recipe="deit", epochs=50, mixup=0.0, clip_norm=0.0)
    recipe, deit = make_recipe(table), RECIPES["deit"]
    assert (recipe.epochs, recipe.mixup, recipe.clip_norm) == (50, 0.0, None)
    assert (recipe.cutmix, recipe.rand_augment) == (deit.cutmix, deit.rand_augment)
    # 50 of 200 epochs keep a quarter of the warm-up.
    assert recipe.warmup_epochs == deit.warmup_epochs / 4
    assert make_recipe(table, limit=8).batch_size == 8
    assert make_recipe(train_table(recipe="convnext", ema_decay=0)).ema_decay is None


def test_the_studys_recipes_are_those_of_its_table():
    """Table A3 of arXiv 2410.06373, with the warm-ups of its configuration files."""
    columns = ("warmup_epochs", "label_smoothing", "rand_augment", "mixup", "cutmix")
    columns = (*columns, "random_erasing", "drop_path_rate", "clip_norm", "loss")
    soft, binary = "cross_entropy", "binary_cross_entropy"
    expected = {
        "pytorch": (0, 0, None, 0, 0, 0, 0, None, soft),
        "deit": (20, 0.1, 9, 0.8, 1, 0.25, 0.1, 5, soft),
        "convnext": (5, 0.1, 9, 0.8, 1, 0.25, 0.1, None, soft),
        "rsb_a2": (5, 0, 7, 0.1, 1, 0, 0.05, None, binary),
    }
    for name, values in expected.items():
        recipe = RECIPES[name]
        assert tuple(getattr(recipe, column) for column in columns) == values, name
        assert (recipe.epochs, recipe.batch_size) == (200, 100)
        assert recipe.augmentations == ("crop", "flip")


def test_a_grid_is_the_product_of_its_lists_without_repeats():
    grid = {"learning_rate": [0.1, 0.1], "beta1": [0.9, 0.5], "label_smoothing": [0.1]}
    table = train_table(grid={"adamw": grid}, seeds=[0, 3])
    points = grid_points(get_optimizer("adamw"), table.grid["adamw"], table.seeds)
    assert points == [
        HyperParameters(0.1, 0.0, seed, 0.1, options={"beta1": beta})
        for seed in (0, 3)
        for beta in (0.9, 0.5)
    ]


@pytest.mark.parametrize(
    ("grid", "pairs"),
    [
        ({}, [(5e-4, 0.05)]),
        ({"weight_decay": [0.1, 0.2]}, [(5e-4, 0.1), (5e-4, 0.2)]),
        # Where rates are given, a decay is as well, or there is none.
        ({"learning_rate": [0.1]}, [(0.1, 0.0)]),
    ],
)
def test_an_optimizer_brings_its_default_rate_and_decay(grid, pairs):
    table = train_table(grid={"adamw": grid})
    points = grid_points(get_optimizer("adamw"), table.grid["adamw"], (0,))
    assert [(point.learning_rate, point.weight_decay) for point in points] == pairs


def test_an_optimizer_without_default_needs_a_rate():
    bare = dataclasses.replace(get_optimizer("adamw"), defaults={})
    table = train_table(grid={"adamw": {}})
    with pytest.raises(UserError, match="adamw has no default learning rate; give"):
        grid_points(bare, table.grid["adamw"], (0,))


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"recipe": "diet"}, ["did you mean 'deit'"]),
        ({"grid": {"adamw2": {"learning_rate": [1.0]}}}, ["did you mean 'adamw'"]),
        (
            {"grid": {"sgd": {"learning_rate": [1.0], "beta1": [0.9]}}},
            ["unknown hyper-parameter of sgd 'beta1'"],
        ),
        (
            {"grid": {"sgd": {"learning_rates": [1.0]}}},
            ["hyper-parameter of sgd 'learning_rates'; did you mean 'learning_rate'"],
        ),
        ({"loss": "cross_entropi"}, ["did you mean 'cross_entropy'"]),
        ({"augmentations": ["crop", "flp"]}, ["did you mean 'flip'"]),
        (
            {"teacher": {"name": "mixer_mirco", "weights": "random:0"}},
            ["did you mean 'mixer_micro"],
        ),
        ({"weights": "/nowhere/weights.safetensors"}, ["weights of mixer_micro"]),
        (
            {"recipe": "diet", "models": ["mixer_mirco"]},
            ["did you mean 'deit'", "did you mean 'mixer_micro"],
        ),
        (
            {
                "frozen": ["stem.*"],
                "warmup_epochs": 9.0,
                "grid": {"sgd": {"learning_rate": [0.1], "label_smoothing": [1.5]}},
            },
            ["grid.sgd: ", "label_smoothing is 1.5", "recipe: ", "warmup_epochs is 9"],
        ),
        (
            {
                "frozen": ["stem.*"],
                "batch_size": 1000,
                "grid": {"sgd": {"learning_rate": [0.1], "ema_decay": [0.9]}},
            },
            ["without weights to start from", "averages no weights"],
        ),
        ({"halving": {"first_epoch": 2}}, ["would stop nobody"]),
    ],
    ids=str,
)
def test_missing_names_are_reported_before_anything_is_computed(
    tmp_path, change, messages
):
    with pytest.raises(UserError) as caught:
        plan_of(tmp_path, change)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "at least 1 item"),
        ({"sgd": {"learning_rate": []}}, "at least 1 item"),
        ({"sgd": {"learning_rate": [float("nan")]}}, "learning_rate"),
        ({"sgd": {"learning_rate": [0.1], "momentum": [float("inf")]}}, "momentum"),
        ({"sgd": {"learning_rate": [0.1], "momentum": 0.9}}, "momentum"),
    ],
    ids=str,
)
def test_a_grid_that_is_none_is_refused(grid, message):
    with pytest.raises(UserError, match=message):
        train_table(grid=grid)


def test_tables_are_trained_one_after_the_other_and_none_twice(tmp_path):
    other = {"recipe": "pytorch", "models": ["mixer_micro", "vit_micro"]}
    plan = plan_of(tmp_path, {}, other)
    titles = [job.title for job in plan.of(Training)]
    assert titles == ["mixer_micro + sgd", "mixer_micro + sgd", "vit_micro + sgd"]
    assert plan.num_trials == 6
    # The same job in two tables is done once; a part of it would be done twice.
    assert plan_of(tmp_path, {}, {}).num_trials == 2
    with pytest.raises(UserError, match="'seed': 0} stands in two tables"):
        plan_of(tmp_path, {}, {"models": ["mixer_*"], "seeds": [0, 1]})


def test_a_large_grid_becomes_several_populations(tmp_path):
    table = {"seeds": [0, 1, 2], "max_members": 4}
    plan = plan_of(tmp_path, table)
    assert [len(job.trials) for job in plan.of(Training)] == [4, 2]
    whole = plan_of(tmp_path, {"seeds": [0, 1, 2]})
    assert set(plan.run_ids()) == set(whole.run_ids())


def test_halving_teacher_and_start_in_one_experiment(tmp_path):
    model = create_model("mixer_micro", num_classes=8)
    import jax

    save_variables(tmp_path / "start.safetensors", model.init(jax.random.key(5)), {})
    table = {
        "epochs": 4,
        "weights": str(tmp_path / "start.safetensors"),
        "layer_decay": 0.8,
        "frozen": ["stem.*"],
        "teacher": {"name": "mixer_micro", "weights": "random:3", "weight": 0.3},
        "halving": {"first_epoch": 1},
        "grid": {"sgd": {"learning_rate": [1e-3, 0.1, 0.03, 0.3]}},
    }
    config = plan_of(tmp_path / "out", table).config
    runs = list(sweep(config))
    assert [run.error for run in runs if run.error] == []
    trials = [run for run in runs if run.kind == "trial"]
    stopped = sorted(str(run.settings["stopped_step"]) for run in trials)
    assert stopped == ["3", "3", "6", "None"]
    for run in trials:
        assert run.settings["started_from"].endswith("start.safetensors")
        assert run.settings["teacher"] == "mixer_micro random:3"
        assert np.isfinite(run.metrics["val_accuracy"])
        assert list(run.curves["step"]) == [3, 6, 9, 12]
    assert list(sweep(config)) == []
    # One more rate: who is stopped depends on who is there.
    table["grid"]["sgd"]["learning_rate"].append(0.01)
    grown = plan_of(tmp_path / "out", table)
    assert not ResultStore(config.results).completed() & set(grown.run_ids())


SCRIPT = """
import sys
from jaxbench.engine import enable_persistent_cache
from jaxbench.training import HyperParameters, Recipe, TrainingImages, train_population
from tests.training.doubles import DenseNet, make_images
enable_persistent_cache()
rate, count = float(sys.argv[1]), int(sys.argv[2])
members = [HyperParameters(rate, rate, seed=seed) for seed in range(count)]
result = train_population(
    DenseNet("dense"), "adamw", members, TrainingImages(*make_images()),
    Recipe(epochs=1, batch_size=16),
)
print(result.curves["train_loss"][0, 0])
"""


def test_the_next_process_compiles_nothing_for_other_rates(tmp_path):
    """Every program that is compiled is written to the cache: none is new."""

    def run(*arguments: str) -> set[str]:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            check=True,
            cwd=Path(__file__).parents[2],
            env=environment,
        )
        return {path.name for path in tmp_path.iterdir() if "cache" in path.name}

    first = run("0.1", "1")
    assert first
    assert run("0.003", "3") == first
