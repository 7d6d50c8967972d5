import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from jaxbench.metrics import OOD_METRICS, SCORE_METRICS
from jaxbench.reports.cells import (
    format_interval,
    format_value,
    metric_column,
)
from jaxbench.reports.metric_texts import METRIC_TEXTS, metric_text
from jaxbench.reports.overview_findings import find
from jaxbench.reports.tables import (
    comparison_table,
    evaluation_table,
    failure_table,
    main_table,
    ood_table,
    shift_table,
    trial_table,
)
from jaxbench.results import ResultStore, run_digest
from jaxbench.studies import Comparison
from jaxbench.studies.entries import (
    corruption_of,
    identity,
    labels_of,
    load_results,
)
from tests.results.sample_runs import evaluation, trial


@pytest.fixture(scope="module")
def results(sweep_store):
    return load_results(sweep_store)


@pytest.mark.parametrize("name", [*SCORE_METRICS, *OOD_METRICS])
def test_every_metric_is_explained(name):
    text = METRIC_TEXTS[name]
    arrows = {"higher": "↑", "lower": "↓", "none": ""}
    assert text.direction == arrows[{**SCORE_METRICS, **OOD_METRICS}[name].direction]
    assert text.meaning


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (format_value(0.93456, percent=True), "93.5"),
        (format_value(0.93456), "0.935"),
        (format_value(None), "-"),
        (format_value(math.nan), "NaN"),
        (format_interval(0.9, 0.8, 0.95, percent=True), "90.0 [80.0, 95.0]"),
        (format_interval(0.9, None, 0.95), "0.900"),
        (format_interval(math.nan, 0.8, 0.95), "NaN"),
        (metric_column("ece_ts").heading, "ECE (T*) % ↓"),
        (metric_text("my_metric").heading, "my_metric"),
    ],
)
def test_formats(cell, shown):
    assert cell == shown


def test_one_entry_per_pair_chosen_by_validation(results):
    assert len(results.entries) == 6
    for entry in results.entries:
        grid = [
            row
            for row in results.trials
            if (row["model"], row["optimizer"]) == (entry.model, entry.optimizer)
        ]
        best = max(r["val_accuracy"] for r in grid if r["diverged_step"] is None)
        assert entry.trial["val_accuracy"] == best
        assert {row["trial_id"] for row in entry.clean.values()} == {
            entry.trial["run_id"]
        }
        assert (len(entry.clean), len(entry.shifted), len(entry.ood)) == (1, 15, 1)
        assert entry.label == f"{entry.model} {entry.optimizer}"
    assert results.dataset == "digits@test"
    assert len(set(results.labels.values())) == 12


def test_main_table_is_sorted_by_accuracy(results):
    table = main_table(results)
    headings = [column.heading for column in table.columns]
    index = headings.index("Accuracy % ↑")
    values = [row[index].value for row in table.rows]
    assert values == sorted(values, reverse=True)
    text = table.rows[0][index].text
    assert text.startswith(f"{100 * values[0]:.1f} [")


def test_shift_table_averages_severities(results):
    table = shift_table(results)
    headings = [column.heading for column in table.columns]
    assert headings[3:] == ["brightness %", "gaussian_noise %", "pixelate %"]
    entry = next(e for e in results.entries if e.label == table.rows[0][0].text)
    fog = [
        row["accuracy"]
        for name, row in entry.shifted.items()
        if name.startswith("digits-c/brightness_")
    ]
    assert table.rows[0][3].value == pytest.approx(sum(fog) / 5)
    clean = entry.clean["digits@test"]["accuracy"]
    every = [row["accuracy"] for row in entry.shifted.values()]
    assert table.rows[0][2].value == pytest.approx(clean - sum(every) / 15)
    drops = [row[2].value for row in table.rows]
    assert drops == sorted(drops)


def test_row_counts_and_widths(results):
    wanted = {ood_table: 6, trial_table: 12, evaluation_table: 204, failure_table: 2}
    for make, count in wanted.items():
        table = make(results)
        assert len(table.rows) == count
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_tables_show_in_a_terminal_without_reading_markup(tmp_path):
    store = ResultStore(tmp_path, create=True)
    store.write(evaluation({"model": "m[red]x"}, "d@test", "clean", skill=3.0, n=30))
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(main_table(load_results(store)).to_rich("title"))
    assert "m[red]x" in console.export_text()


def test_comparison_table():
    row = Comparison("accuracy", 0.95, 0.93, 0.02, 0.01, 0.03, 0.0004, 10_000)
    (cells,) = comparison_table([row]).texts()
    assert cells == ["Accuracy %", "95.0", "93.0", "2.0 [1.0, 3.0]", "0.0004", "10,000"]


def test_corruption_names():
    assert corruption_of("digits-c/gaussian_noise_3") == ("digits", "gaussian_noise", 3)
    assert corruption_of("digits-c/fog_5@test") == ("digits", "fog", 5)
    assert corruption_of("digits@test") is None
    assert corruption_of("imagenet-r") is None


def test_labels_tell_models_apart(tmp_path):
    store = ResultStore(tmp_path, create=True)
    settings = ({"weights": "a.npz"}, {"weights": "b.npz"}, {"weights": None})
    for more in settings:
        run = evaluation({"model": "m"} | more, "d@test", "clean", skill=3.0, n=30)
        store.write(run)
    for seed in (0, 1):
        more = {"model": "t", "optimizer": "sgd", "learning_rate": 0.1, "seed": seed}
        store.write(trial(more, skill=2.0 + seed))
    results = load_results(store)
    assert sorted(results.labels.values()) == [
        "m",
        "m weights=a.npz",
        "m weights=b.npz",
        "t sgd seed=0",
        "t sgd seed=1",
    ]
    assert sorted(e.label for e in results.entries)[-1] == "t sgd"


DISTILLED = {
    "teacher": "resnet_micro best-trial",
    "distillation": 0.5,
    "distillation_temperature": 2.0,
}


def trained(store, *trainings, seeds=(0, 1)):
    """Trials of vit_micro with AdamW under each training, each evaluated."""
    pair = {"model": "vit_micro", "optimizer": "adamw", "learning_rate": 0.01}
    for training in trainings:
        for seed in seeds:
            settings = pair | {"seed": seed}
            run = trial(settings | training, skill=2.0 + seed)
            store.write(run)
            tied = settings | {"trial_id": run.run_id}
            store.write(evaluation(tied, "digits@test", "clean", skill=3.0, n=60))


@pytest.mark.parametrize(
    ("others", "labels"),
    [
        ((DISTILLED,), ["", " teacher=resnet_micro"]),
        (
            (DISTILLED, DISTILLED | {"teacher": "resnet_micro mine.safetensors"}),
            [
                *("", " teacher=resnet_micro best-trial"),
                " teacher=resnet_micro mine.safetensors",
            ],
        ),
        (
            (DISTILLED, DISTILLED | {"distillation": 0.9}),
            [
                *(" distillation=0", " teacher=resnet_micro distillation=0.5"),
                " teacher=resnet_micro distillation=0.9",
            ],
        ),
        (
            ({"started_from": "pretrained", "frozen": "stem*"},),
            ["", " started_from=pretrained"],
        ),
        (({"recipe": "deit", "mixup": 0.8},), [" recipe=deit", " recipe=plain"]),
        (({"objective": "nt_xent", "curation": "none"},), ["", " objective=nt_xent"]),
    ],
)
def test_every_training_of_a_network_is_an_entry(tmp_path, others, labels):
    plain = {"recipe": "plain", "frozen": "", "mixup": 0.0, "distillation": 0.0}
    store = ResultStore(tmp_path, create=True)
    trained(store, plain, *(plain | other for other in others))
    results = load_results(store)
    found = sorted(entry.label for entry in results.entries)
    assert found == [f"vit_micro adamw{words}" for words in labels]
    # The other seed was not better: the one of the highest validation accuracy.
    assert {entry.trial["seed"] for entry in results.entries} == {1}
    grid = sorted(set(results.labels.values()))
    assert grid == sorted(f"{name} seed={seed}" for name in found for seed in (0, 1))
    shown = [row[0].text for row in main_table(results).rows]
    assert sorted(shown) == found


def test_trials_of_two_datasets_are_two_models(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for dataset in ("digits@train", "digits@train+gaussian_noise_3"):
        run = trial({"model": "t", "optimizer": "sgd"}, skill=2.0)
        settings = run.settings | {"dataset": dataset}
        store.write(replace(run, run_id=run_digest(settings), settings=settings))
    labels = sorted(entry.label for entry in load_results(store).entries)
    assert labels == [
        "t sgd train=digits@train",
        "t sgd train=digits@train+gaussian_noise_3",
    ]


def test_probes_of_two_training_sets_are_two_models(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for train in ("a@train", "b@train"):
        probed = {"model": "m", "protocol": "linear_probe", "probe_train": train}
        run = evaluation(
            probed | {"probe_id": train}, "d@test", "clean", skill=3.0, n=30
        )
        store.write(run)
    assert sorted(load_results(store).labels.values()) == [
        "m (linear probe) train=a@train",
        "m (linear probe) train=b@train",
    ]


def test_trainings_without_a_trial_are_one(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for seed in (0, 1):
        more = {"model": "t", "optimizer": "sgd", "trial_id": f"lost{seed}"}
        run = evaluation(more | {"seed": seed}, "d@test", "clean", skill=3.0, n=30)
        store.write(run)
    assert [entry.label for entry in load_results(store).entries] == ["t sgd"]


def test_one_model_at_two_sizes_is_two_entries(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for size, dataset in ((160, "d@test"), (224, "d@test"), (224, "d-v2@test")):
        settings = {"model": "m", "image_size": size}
        store.write(evaluation(settings, dataset, "clean", skill=3.0, n=30))
    results = load_results(store)
    found = {entry.label: sorted(entry.clean) for entry in results.entries}
    assert found == {"m size=160": ["d@test"], "m size=224": ["d-v2@test", "d@test"]}
    assert labels_of(results.evaluations, sized=False) == {
        identity(results.evaluations[0], sized=False): "m"
    }


def test_case_16_other_views_of_the_images_are_other_models(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for crop in (None, 0.875, 0.95):
        run = evaluation(
            {"model": "a", "crop_fraction": crop}, "d", "clean", skill=3.0, n=20
        )
        store.write(run)
    labels = [entry.label for entry in load_results(store).entries]
    assert sorted(labels) == ["a", "a crop=0.875", "a crop=0.95"]


@pytest.mark.parametrize("later", [0, 1])
def test_case_16_of_two_results_the_later_is_shown_and_counted(tmp_path, later):
    store = ResultStore(tmp_path, create=True)
    for number, accuracy in enumerate((0.25, 0.75)):
        day = "2026-02-01" if number == later else "2026-01-01"
        run = evaluation({"model": "a", "note": number}, "d", "clean", skill=3.0, n=20)
        store.write(
            replace(
                run,
                metrics=run.metrics | {"accuracy": accuracy},
                provenance=run.provenance | {"created_at": day},
            )
        )
    results = load_results(store)
    ((_, row),) = results.ranked()
    assert row["accuracy"] == (0.25, 0.75)[later]
    (found,) = [f for f in find(results) if f.title == "Runs to look at"]
    assert found.value == "1 superseded"
    assert found.text.startswith("Of 2 runs.")
    assert "the latest is shown" in found.text
