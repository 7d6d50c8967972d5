"""Which runs of a folder are which model's: one answer on every page and table."""

import dataclasses

import pytest

from jaxbench.reports.studies.beyond import build as build_beyond
from jaxbench.reports.studies.lottery import build as build_lottery
from jaxbench.reports.studies.selective import build as build_selective
from jaxbench.reports.summary import short_table
from jaxbench.results import ResultStore
from jaxbench.studies.entries import diverged, load_results
from jaxbench.studies.models import find_models, published_of, runs_of_models
from jaxbench.studies.regimes import group_of
from jaxbench.studies.variant_table import table_of_store
from tests.results.sample_runs import evaluation, trial

CLEAN, SHIFTED = "digits@test", "digits-c/fog_3"
CLIP = "vit_base_patch16_clip_224.laion400m_e31"
TEACHER = {"teacher": "resnet_micro best-trial", "distillation": 0.5}
PROBE = {"protocol": "linear_probe"}


def again(run, digit, **others):
    """A run of the same settings, measured later."""
    later = run.provenance | {"created_at": "2026-03-02T03:04:05+00:00"} | others
    return dataclasses.replace(run, run_id=digit * 32, provenance=later)


def trained(settings, skill, val_skill, diverged_step=None):
    """A trial, its evaluations and that of a probe of its features."""
    one = trial(settings, skill=val_skill, diverged_step=diverged_step)
    settings_of = ("model", "optimizer", "learning_rate", "weight_decay", "seed")
    tied = {n: settings[n] for n in settings_of} | {"trial_id": one.run_id}
    probe = tied | PROBE | {"probe_id": f"p{one.run_id[:8]}"}
    return [
        one,
        evaluation(tied, CLEAN, "clean", skill=skill, n=60),
        evaluation(tied, SHIFTED, "shifted", skill=skill - 1, n=60),
        evaluation(probe, CLEAN, "clean", skill=skill + 0.5, n=60),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Trials, probes, several sizes, re-measured rows, a diverged network."""
    runs = []
    # The best by validation accuracy is the worst on the test images.
    for seed, skill, val_skill in ((0, 3.0, 1.0), (1, 2.0, 3.0)):
        for more in ({}, TEACHER):
            net = {"model": "vit_micro", "optimizer": "adamw", "seed": seed}
            net |= {"learning_rate": 0.1, "weight_decay": 0.0} | more
            runs += trained(net, skill + len(more), val_skill)
    lost = {"model": "resnet_micro", "optimizer": "lion", "seed": 0}
    lost |= {"learning_rate": 0.1, "weight_decay": 0.0}
    runs += trained(lost, 1.0, 1.0, diverged_step=3)
    for name in ("mixer_micro", "convnext_micro"):
        own = {"model": name, "weights": f"{name}.safetensors"}
        for size in (32, 64) if name == "mixer_micro" else (32,):
            sized = own | {"image_size": size}
            runs.append(evaluation(sized, CLEAN, "clean", skill=2.5, n=60))
    old = evaluation(sized, SHIFTED, "shifted", skill=1.0, n=60)
    new = [
        again(run, digit, numbers_version="4")
        for run, digit in ((runs[-1], "0"), (old, "1"))
    ]
    store = ResultStore(tmp_path_factory.mktemp("models"), create=True)
    for run in (*runs, old, *new):
        store.write(run)
    return store


def runs_of(models):
    return {
        model.label: {address: row["run_id"] for address, row in model.rows.items()}
        for model in models
    }


def test_every_study_has_the_same_models_and_runs(store):
    results = load_results(store)
    kept = [entry for entry in results.entries if not diverged(entry.origin)]
    wanted = {
        entry.label: {a: r["run_id"] for a, r in (entry.clean | entry.shifted).items()}
        for entry in kept
    }
    assert sorted(wanted) == [
        "convnext_micro",
        "mixer_micro size=32",
        "mixer_micro size=64",
        "vit_micro (linear probe) adamw",
        "vit_micro (linear probe) adamw teacher=resnet_micro",
        "vit_micro adamw",
        "vit_micro adamw teacher=resnet_micro",
    ]
    models, notes = find_models(results, CLEAN)
    assert runs_of(models) == wanted == runs_of_models(results)
    assert "2 models diverged in training and left out" in " ".join(notes)
    assert wanted["convnext_micro"] == {CLEAN: "0" * 32, SHIFTED: "1" * 32}
    trials = {row["run_id"]: row for row in results.trials}
    rows = {row["run_id"]: row for row in results.evaluations}
    for label, found in wanted.items():
        if label.startswith("vit_micro"):
            assert trials[rows[found[CLEAN]]["trial_id"]]["seed"] == 1, label


def test_models_of_several_sizes_are_one_where_sizes_are_a_view(store):
    results = load_results(store)
    wanted = runs_of_models(results)
    models, _ = find_models(results, CLEAN, heads_only=True)
    (sized,) = [model for model in models if model.label == "mixer_micro"]
    assert {size: row["run_id"] for size, row in sized.sizes[CLEAN].items()} == {
        size: wanted[f"mixer_micro size={size}"][CLEAN] for size in (32, 64)
    }
    others = [model for model in models if model is not sized]
    assert runs_of(others) == {
        label: found
        for label, found in wanted.items()
        if "probe" not in label and "size" not in label
    }


def test_pages_and_the_terminal_name_the_same_models(store):
    wanted = set(runs_of_models(load_results(store)))

    def labels(page):
        (table,) = [part.table for part in page.sections if part.name == "models"]
        place = [column.heading for column in table.columns].index("Model")
        return {row[place].text for row in table.rows}

    terminal = {row[0].text for row in short_table(load_results(store)).rows}
    assert {label for label in terminal if "diverged" not in label} == wanted
    assert labels(build_selective(store, num_resamples=0)) == wanted
    assert labels(build_lottery(store, num_resamples=20)) == wanted
    assert set(table_of_store(store).models) == wanted
    heads = {label.partition(" size")[0] for label in wanted if "probe" not in label}
    assert labels(build_beyond(store, num_resamples=20)) == heads


def test_case_19_published_numbers_are_of_the_published_weights():
    row = {"model": CLIP, "weights": "pretrained"}
    assert published_of(row) is not None
    assert published_of(row | {"weights": "mine.safetensors"}) is None
    assert published_of(row | {"trial_id": "x"}) is None


@pytest.mark.parametrize(
    ("weights", "group"),
    [
        (f"/zoo/{CLIP}.safetensors", "transformer CLIP"),
        ("/zoo/mine.safetensors", "unknown"),
        ("pretrained", "transformer CLIP"),
        (None, "transformer CLIP"),
    ],
)
def test_case_38_files_named_as_checkpoints_have_their_group(weights, group):
    row = {"model": CLIP, "weights": weights, "zero_shot": "imagenet"}
    assert group_of(CLIP, CLIP, row, None, {}) == group
