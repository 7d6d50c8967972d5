"""Metrics computed anew from stored columns: the same numbers as from the images."""

import dataclasses
import math
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import jaxbench.sweeps.remeasure as remeasure_module
from jaxbench.errors import UserError
from jaxbench.metrics import SCORE_METRICS, ScoreMetric
from jaxbench.results import ResultStore
from jaxbench.sweeps import sweep
from jaxbench.sweeps.remeasure import remeasure
from tests.sweeps.experiment import experiment

RECORDED = ("num_resamples", "resampling_seed", "reference_dataset")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """An untrained network on a clean, a shifted and an out-of-distribution dataset."""
    folder = tmp_path_factory.mktemp("evaluated")
    config = experiment(
        folder,
        seed=3,
        train=None,
        evaluate={
            "clean": ["digits@test"],
            "shifted": ["digits-c/contrast_5"],
            "ood": ["digits-ood"],
            "calibration": "digits@validation",
            "models": [
                {"name": "mixer_micro", "weights": "random:0", "num_classes": 8}
            ],
            "batch_size": 96,
            "num_resamples": 20,
        },
    )
    assert not [run.error for run in sweep(config) if run.error]
    return folder


@pytest.fixture
def store(evaluated, tmp_path):
    shutil.copytree(evaluated, tmp_path / "store")
    return ResultStore(tmp_path / "store")


def runs_of(store):
    ids = store.summary("evaluation").column("run_id").to_pylist()
    return {run_id: store.read(run_id) for run_id in ids}


def change(store, *, without=(), unrecorded=False):
    """As if the metrics had not been known, or the settings not recorded."""
    for run in runs_of(store).values():
        kept = {
            name: value
            for name, value in run.metrics.items()
            if not any(name.startswith(prefix) for prefix in without)
        }
        settings = {
            name: value
            for name, value in run.settings.items()
            if not (unrecorded and name in RECORDED)
        }
        store.replace(dataclasses.replace(run, metrics=kept, settings=settings))


def assert_same_runs(found, wanted):
    assert found.keys() == wanted.keys()
    for run_id, run in found.items():
        # Bit for bit: the columns are stored as they were measured.
        assert run.metrics.keys() == wanted[run_id].metrics.keys()
        for name, value in run.metrics.items():
            np.testing.assert_equal(value, wanted[run_id].metrics[name], name)
        for name, column in run.examples.items():
            np.testing.assert_array_equal(column, wanted[run_id].examples[name])


@pytest.mark.parametrize("unrecorded", [False, True])
def test_case_39_lost_metrics_come_back_to_the_bit(store, unrecorded, monkeypatch):
    monkeypatch.setattr(remeasure_module, "_DEFAULT_RESAMPLES", 20)
    monkeypatch.setattr(remeasure_module, "_DEFAULT_SEED", 3)
    wanted = runs_of(store)
    change(store, without=("ece", "nll", "ood_auroc"), unrecorded=unrecorded)
    found = remeasure(store)
    assert found.num_runs == 3
    assert {"ece", "nll", "ood_auroc_energy"} <= set(found.added)
    assert (found.moved, found.refused) == ({}, {})
    assert_same_runs(runs_of(store), wanted)
    rows = store.summary().to_pylist()
    assert {row["num_resamples"] for row in rows} == {20}
    assert all(row["remeasured_at"] for row in rows)
    compared = {row["role"]: row["reference_dataset"] for row in rows}
    assert compared == {"clean": None, "shifted": None, "ood": "digits@test"}


def test_case_39_other_resamples_than_stored_are_refused_until_given(store):
    wanted = runs_of(store)
    change(store, without=("ece",), unrecorded=True)
    found = remeasure(store, ["ece"])
    assert found.num_runs == 0
    assert len(found.refused) == 2
    assert "not those of 1000 resamples" in next(iter(found.refused.values()))
    assert remeasure(store, ["ece", "ece_debiased"], num_resamples=20, seed=3).num_runs
    names = ("", "_low", "_high", "_ts", "_ts_low", "_ts_high")
    for run_id, run in runs_of(store).items():
        for name in (f"ece{ending}" for ending in names):
            # Two metrics are another program than all: float32 sums round otherwise.
            value = wanted[run_id].metrics.get(name, math.nan)
            found = run.metrics.get(name, math.nan)
            assert found == pytest.approx(value, rel=1e-6, nan_ok=True)


def test_case_39_a_metric_of_your_own(store, monkeypatch):
    def kernel(sample):
        # Confidence less 1 where right, which is at most 0.
        return sample.mean(jnp.maximum(sample.scores.gap, 0.0))

    row = ScoreMetric(kernel, "mean", "lower", (0.0, 1.0), "https://example.org")
    monkeypatch.setitem(SCORE_METRICS._rows, "wrong_confidence", row)
    found = remeasure(store, ["wrong_confidence"])
    assert found.added == ("wrong_confidence",)
    measured = [r for r in runs_of(store).values() if r.settings["role"] != "ood"]
    assert len(measured) == found.num_runs == 2
    for run in measured:
        for ending in ("", "_ts"):
            columns, value = run.examples, run.metrics[f"wrong_confidence{ending}"]
            confident = columns[f"confidence{ending}"].astype(np.float64)
            twin = np.mean(np.where(columns["correct"], 0, confident))
            assert value == pytest.approx(twin, rel=1e-6)
            low, high = (
                run.metrics[f"wrong_confidence{ending}_{end}"]
                for end in ("low", "high")
            )
            assert low <= value <= high


def test_case_39_a_moved_value_is_reported(store):
    run = next(r for r in runs_of(store).values() if r.settings["role"] == "clean")
    store.replace(
        dataclasses.replace(
            run, metrics=run.metrics | {"ece": run.metrics["ece"] + 0.5}
        )
    )
    found = remeasure(store)
    assert found.moved == {"ece": pytest.approx(0.5)}


def test_case_39_without_the_clean_run_nothing_is_compared(store):
    clean = next(r for r in runs_of(store).values() if r.settings["role"] == "clean")
    (store.path / "runs" / f"evaluation-{clean.run_id}.parquet").unlink()
    found = remeasure(store, ["ood_fpr95_energy"])
    assert found.num_runs == 0
    (reason,) = found.refused.values()
    assert "none of the model's 0 clean runs" in reason


def test_case_39_an_unknown_metric_is_refused(store):
    with pytest.raises(UserError, match="unknown metric 'smoth_ece'; did you mean"):
        remeasure(store, ["smoth_ece"])
