"""The result of `evaluate` is shown in a few lines, exported, and saved losslessly."""

import dataclasses
import errno
import json
import math
import os

import numpy as np
import pandas as pd
import polars as pl
import pytest

from jaxbench.data import ArraySource, ImageArrays, Skipped, open_dataset, take
from jaxbench.data.scoring import Scoring
from jaxbench.engine import Evaluation, Timing
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from tests.results.sample_runs import evaluation

TIMING = Timing(1.5, 2.0, math.nan, math.nan, 3.5, math.nan, 0.1, 1000, "program", 2000)


def made(**changes) -> Evaluation:
    draw = np.random.default_rng(0)
    names = ("accuracy", "nll", "ece", "aurc", "brier", "sharpness", "auroc")
    metrics = {name: float(draw.uniform()) for name in names}
    for name in names[:4]:
        metrics |= {name + "_low": 0.125, name + "_high": 0.875}
    values = {
        "model": "resnet_<micro>",
        "dataset": "digits@test",
        "role": "clean",
        "metrics": metrics | {"undefined": math.nan},
        "columns": {
            "id": np.array(["a", "b", "ü"], dtype=object),
            "label": np.array([0, 1, 2], np.int32),
            "correct": np.array([True, False, True]),
            "nll": np.array([0.1, np.nan, np.inf], np.float32),
        },
        "num_examples": 3,
        "num_skipped": 1,
        "skipped": (Skipped("d", "cut off"),),
        "num_nonfinite": 0,
        "temperature": 1.3,
        "batch_size": 8,
        "num_devices": 1,
        "num_resamples": 100,
        "timing": TIMING,
        "logits": draw.normal(size=(3, 4)).astype(np.float32),
        "scoring": Scoring(4, label_sets=np.array([[0, -1], [1, 2], [2, -1]])),
    }
    return Evaluation(**(values | changes))


def test_repr_is_a_few_lines_with_intervals():
    lines = repr(made()).splitlines()
    assert lines[0] == (
        "Evaluation of resnet_<micro> on digits@test: 3 images, 1 skipped"
    )
    assert [line.split()[0] for line in lines[1:5]] == [
        *("accuracy", "nll", "ece", "aurc")
    ]
    assert lines[1].endswith("[0.1250, 0.8750]")
    assert lines[5] == "  and 4 values more in .metrics"
    assert len(lines) == 6


def test_repr_shows_the_metrics_that_were_asked_for():
    found = made(metrics={"sharpness": 0.5}, dataset=None, num_examples=1)
    assert repr(found).splitlines() == [
        "Evaluation of resnet_<micro> on images in memory: 1 image, 1 skipped",
        "  sharpness  0.5000",
    ]


def test_html_is_a_table_and_names_are_escaped():
    page = made()._repr_html_()
    assert page.startswith("<table>")
    assert page.count("<tr>") == 5
    assert "resnet_&lt;micro&gt;" in page
    assert "<td>[0.1250, 0.8750]</td>" in page


def test_to_dict_is_plain_and_separates_intervals():
    found = made()
    plain = json.loads(json.dumps(found.to_dict(columns=True)))
    assert plain["metrics"]["accuracy"] == found.metrics["accuracy"]
    assert plain["intervals"]["accuracy"] == [0.125, 0.875]
    assert not [name for name in plain["metrics"] if name.endswith(("_low", "_high"))]
    assert plain["settings"]["num_resamples"] == 100
    assert plain["skipped"] == [{"id": "d", "reason": "cut off"}]
    assert plain["columns"]["label"] == [0, 1, 2]
    assert "columns" not in found.to_dict()


SCORINGS = {
    "none": None,
    "sets": made().scoring,
    "mask": Scoring(4, class_mask=np.array([True, False, True, True])),
    "groups": Scoring(2, groups=np.array([0, 1], np.int32), output_names=("a", "b")),
}


@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_saved_evaluation_is_loaded_to_the_bit(tmp_path, scoring):
    found = made(scoring=scoring)
    path = found.save(tmp_path / "deep" / "found.parquet")
    assert [file.name for file in path.parent.iterdir()] == ["found.parquet"]
    again = Evaluation.load(path)
    special = ("columns", "logits", "metrics", "timing", "scoring")
    for field in dataclasses.fields(Evaluation):
        if field.name not in special:
            assert getattr(again, field.name) == getattr(found, field.name), field.name
    # As text, where NaN equals itself; Python's floats have one text each.
    assert repr(again.metrics) == repr(found.metrics)
    assert repr(again.timing) == repr(found.timing)
    assert list(again.columns) == list(found.columns)
    for name, column in found.columns.items():
        assert again.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(again.columns[name], column)
    np.testing.assert_array_equal(again.logits, found.logits)
    assert (again.scoring and again.scoring.digest) == (scoring and scoring.digest)
    assert again.columns["nll"].flags.writeable


def test_saved_columns_are_rows_for_other_programs(tmp_path):
    path = made().save(tmp_path / "found.parquet")
    assert pd.read_parquet(path)["label"].tolist() == [0, 1, 2]
    assert pl.read_parquet(path)["correct"].to_list() == [True, False, True]


def test_full_disk_is_a_user_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = made().save(tmp_path / "found.parquet")
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; choose"):
        made(model="other").save(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_what_is_not_a_saved_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist; check the path"):
        Evaluation.load(tmp_path / "nothing")
    run = evaluation({"model": "a"}, "digits@test", "clean", skill=3.0, n=20)
    part = ResultStore(tmp_path / "results", create=True).write(run)
    with pytest.raises(UserError, match=r"not a saved evaluation.*ResultStore"):
        Evaluation.load(part)
    path = made().save(tmp_path / "found.parquet")
    whole = bytearray(path.read_bytes())
    for position in (len(whole) // 20, len(whole) - 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read"):
            Evaluation.load(path)


def test_datasets_and_runs_have_a_short_repr():
    source = open_dataset("digits@test")
    assert repr(source) == "<View digits@test: 289 images, 8 classes>"
    assert repr(take(source, 1)) == "<View digits@test[:1]: 1 image, 8 classes>"
    images = np.zeros((2, 8, 9, 3), np.uint8)
    labels = np.zeros(2, np.int32)
    assert repr(ArraySource("mine", images, labels)) == (
        "<ArraySource mine: 2 images, 1 class>"
    )
    assert repr(ImageArrays(images, labels, ("a", "b"), ())) == (
        "<ImageArrays: 2 images of 8 x 9 pixels>"
    )
    run = evaluation({"model": "a"}, "digits@test", "clean", skill=3.0, n=20)
    assert repr(run).startswith(f"<Run {run.run_id}: evaluation, ok, a on digits@test")
    assert len(repr(run)) < 200
