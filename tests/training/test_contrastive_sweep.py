"""`[[pretrain]]` tables: from a file to rows, once."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxbench.config import parse_config
from jaxbench.data.scoring import Scoring
from jaxbench.engine import make_data_mesh
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grids import load_sweeps
from jaxbench.sweeps import Listener, make_plan, sweep
from jaxbench.sweeps.jobs.contrastive import Pretraining, expand_pretrainings
from jaxbench.sweeps.jobs.protocol import Context
from model_zoo import create_model, load_variables

TABLE = {
    "models": ["mixer_micro"],
    "dataset": "digits@train",
    "optimizer": "lars",
    "learning_rate": 0.3,
    "options": {"momentum": 0.8},
    "epochs": 2,
    "batch_size": 16,
    "width": 8,
    "views": {"crop_scale": [1.0, 1.0], "jitter": 0.0, "grayscale": 0.0, "blur": 0.0},
    "curation": {"method": "quantile", "quantile": 0.5, "warmup": 2, "window": 5},
    "seeds": [1],
    "probe": {
        "dataset": "digits@train",
        "validation": 20,
        "epochs": 5,
        "learning_rates": [0.1],
    },
}


def config_of(folder, *, clean="digits@test", on_error="raise", **changes):
    table = {"name": "s", "results": str(folder), "limit": 64, "on_error": on_error}
    table |= {"pretrain": TABLE | changes, "evaluate": {"clean": [clean]}}
    return parse_config(table, origin="test")


def probe_of(dataset, validation):
    return TABLE["probe"] | {"dataset": dataset, "validation": validation}


def refusal(config):
    with pytest.raises(UserError) as error:
        make_plan(config)
    return str(error.value)


def test_what_would_not_be_evaluated_is_refused():
    evaluate = {"clean": ["digits@test", "digits@validation"], "ood": ["digits-ood"]}
    table = {"name": "s", "results": "r", "pretrain": TABLE, "evaluate": evaluate}
    with pytest.raises(UserError, match="ood, clean after 'digits@test' would do noth"):
        parse_config(table, origin="test")
    # A probe is measured on all of it.
    probe = {"models": [{"name": "mixer_micro", "weights": "random:0"}]}
    probe |= {"train": "digits@train"}
    assert parse_config(table | {"probe": probe}, origin="test").evaluate.ood


def test_runs_are_made_once_and_stay_out_of_the_grids(tmp_path):
    config = config_of(tmp_path)
    runs = list(sweep(config))
    assert [run.status for run in runs] == ["ok"], runs[0].error
    assert set(make_plan(config).run_ids()) == {run.run_id for run in runs}
    first = runs[0]
    assert first.settings["objective"] == "nt_xent"
    assert first.settings["momentum"] == 0.8
    assert first.settings["draws"] == len(first.curves["loss"]) == 8
    share = first.settings["rejected"] / 8
    assert first.metrics["rejected_share"] == share > 0
    low, high = (first.metrics[f"probe_accuracy_{end}"] for end in ("low", "high"))
    assert 0 <= low < first.metrics["probe_accuracy"] < high <= 1
    # What is kept is a backbone without a head.
    kept = load_variables(tmp_path / "weights" / f"{first.run_id}.safetensors")
    assert set(kept) == set(create_model("mixer_micro", num_classes=0).shapes)
    assert list(sweep(config)) == []
    assert load_sweeps(load_results(ResultStore(tmp_path))) == ()


def test_names_and_values_are_checked_before_anything_is_done(tmp_path):
    with pytest.raises(UserError, match=r"'lar'.*did you mean 'lars'"):
        make_plan(config_of(tmp_path, optimizer="lar"))
    with pytest.raises(UserError, match="sophia needs the curvature"):
        make_plan(config_of(tmp_path, optimizer="sophia", options={}))
    with pytest.raises(UserError, match="max_distance is missing with method 'value'"):
        make_plan(config_of(tmp_path, curation=[{"method": "value"}]))
    with pytest.raises(UserError, match=r"pretrain.curation.0: unknown key 'metod'"):
        config_of(tmp_path, curation={"metod": "none"})


def test_nothing_is_tested_or_chosen_on_images_that_were_fitted_to(tmp_path):
    noisy = "digits@test+gaussian_noise_1"
    probe = probe_of("digits@test", noisy)
    said = refusal(config_of(tmp_path, dataset=noisy, probe=probe))
    # All problems are reported at once; 64 is the limit.
    for name, address in (
        ("probe.dataset", "digits@test"),
        ("probe.validation", noisy),
        ("dataset", noisy),
    ):
        assert f"pretrain: {name} {address} has 64 images of digits@test" in said
    assert f"{noisy} has 64 images of digits@test, which the probe is fitted" in said
    probe = probe_of("digits@train", "digits@train")
    said = refusal(config_of(tmp_path, probe=probe))
    assert "validation digits@train has 64 images of digits@train" in said
    # A part set apart is tested on with the rest.
    probe = probe_of("digits@test", 20)
    assert "probe.dataset digits@test has" in refusal(config_of(tmp_path, probe=probe))


def test_the_first_clean_address_may_be_a_pattern(tmp_path):
    (job,) = make_plan(config_of(tmp_path, clean="digits@te*")).jobs
    assert job.tested_on == "digits@test"
    assert job == make_plan(config_of(tmp_path)).jobs[0]


def test_tables_share_whole_pieces_of_work_or_nothing(tmp_path):
    def config(*seeds):
        tables = [TABLE | {"seeds": found} for found in seeds]
        table = {"name": "s", "results": str(tmp_path), "limit": 64}
        table |= {"pretrain": tables, "evaluate": {"clean": ["digits@test"]}}
        return parse_config(table, origin="test")

    said = refusal(config([0, 1], [2], [1, 2]))
    assert "'seed': 1} stands in two tables" in said
    assert "'seed': 2" in said
    assert make_plan(config([0, 1], [2], [0, 1])).num_trials == 3


def work(plan, progress):
    (job,), store = plan.of(Pretraining), ResultStore(plan.config.results, create=True)
    context = Context(plan, store, make_data_mesh(), Listener(progress=progress))
    return job.work(context, frozenset(job.run_ids()))


def test_checkpoints_stay_until_the_row_is_kept_and_belong_to_a_backend(
    tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def kill(spent, total):
        if spent == total:
            raise Killed

    plan = make_plan(config_of(tmp_path, checkpoint_seconds=0.0))
    folder = tmp_path / "checkpoints" / next(plan.run_ids())
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        with pytest.raises(Killed):
            next(work(plan, kill))
    # What one backend has begun, another does again from the start.
    spent = []
    stopped = work(plan, lambda at, total: spent.append(at))
    first = next(stopped)
    assert first.status == "ok", first.error
    # Images of four draws, and of all eight.
    assert spent == [64, 128]
    assert {path.name for path in folder.iterdir()} == {"gpu", "cpu"}
    # The process ends before the row is written: nothing is trained again.
    stopped.close()
    del spent[:]
    (again,) = work(plan, lambda at, total: spent.append(at))
    assert spent == []
    assert again.metrics == first.metrics
    np.testing.assert_array_equal(again.curves["loss"], first.curves["loss"])
    assert not folder.exists()


def test_a_test_set_is_scored_as_it_says_and_others_have_one_label(tmp_path):
    plan = make_plan(config_of(tmp_path))
    test = plan.datasets.open("digits@test")
    every = np.tile(np.arange(8, dtype=np.int32), (len(test), 1))
    test.scoring = Scoring(8, label_sets=every)
    (run,) = sweep(plan)
    assert run.status == "ok", run.error
    assert run.metrics["probe_accuracy"] == 1.0
    config = config_of(tmp_path, probe=probe_of("digits@train", "digits@validation"))
    plan = make_plan(config)
    datasets, (known,) = plan.datasets, plan.jobs
    mask = Scoring(8, class_mask=np.arange(8) < 4)
    datasets.open("digits@test").scoring = mask
    masked = next(expand_pretrainings(plan, config.pretrain[0]))
    assert masked.digest != known.digest
    for split in ("train", "validation"):
        datasets.open(f"digits@{split}").scoring = mask
    with pytest.raises(UserError) as error:
        next(expand_pretrainings(plan, config.pretrain[0]))
    assert "probe.dataset digits@train is scored in its own way" in str(error.value)
    assert "probe.validation digits@validation is scored" in str(error.value)


def test_images_that_cannot_be_read_are_counted(tmp_path):
    folder = tmp_path / "images" / "any"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    source = f"folder:{tmp_path / 'images'}"
    (run,) = sweep(config_of(tmp_path / "r", dataset=source, on_error="skip"))
    assert run.status == "ok", run.error
    assert run.settings["num_skipped"] == 1
    assert run.settings["probe_num_skipped"] == 0
