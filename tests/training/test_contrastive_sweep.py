"""`[[pretrain]]` tables: from a file to rows, once."""

import pytest

from jaxbench.config import parse_config
from jaxbench.errors import UserError
from jaxbench.reports.coupling import load_sweeps
from jaxbench.reports.entries import load_results
from jaxbench.results import ResultStore
from jaxbench.sweeps import make_plan, sweep
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


def config_of(folder, **changes):
    table = {"name": "s", "results": str(folder), "limit": 64}
    evaluate = {"clean": ["digits@test"], "num_resamples": 0}
    table |= {"pretrain": TABLE | changes, "evaluate": evaluate}
    return parse_config(table, origin="test")


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
