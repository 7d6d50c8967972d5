"""Results that earlier versions wrote stay readable, with the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from jaxbench.engine import weights_digest
from jaxbench.reports import write_report
from jaxbench.results import ResultStore
from model_zoo import load_variables

WRITTEN = sorted((Path(__file__).parent / "written").glob("format-*"))
# Read off when the first folder was written, whose experiment the later ones repeat.
TRIAL = {"val_accuracy": 0.2083333283662796, "val_nll": 2.036480188369751}
TRAINED = {"accuracy": 0.2916666567325592, "nll": 2.0447819232940674}
PROBED = {"accuracy": 0.5, "nll": 1.412296175956726}
CONTRASTIVE = {"probe_accuracy": 0.5, "final_loss": 2.617098808288574}


@pytest.fixture(params=WRITTEN, ids=lambda folder: folder.name)
def store(request):
    return ResultStore(request.param)


def rows_of(store):
    rows = store.summary().to_pylist()
    return {
        "trial": next(r for r in rows if r["optimizer"] == "sgd" and not r["role"]),
        "trained": next(r for r in rows if r["optimizer"] == "sgd" and r["role"]),
        "probed": next(r for r in rows if r["protocol"] == "knn"),
        "contrastive": next(r for r in rows if r["objective"] == "nt_xent"),
    }


def test_summary(store):
    rows = rows_of(store)
    assert store.problems == ()
    assert len(store.completed()) == store.summary().num_rows == 4
    wanted = zip(rows, (TRIAL, TRAINED, PROBED, CONTRASTIVE), strict=True)
    for name, metrics in wanted:
        assert {key: rows[name][key] for key in metrics} == metrics
    assert rows["trained"]["trial_id"] == rows["trial"]["run_id"]


def test_columns(store):
    rows = rows_of(store)
    for name, right in (("trained", 7), ("probed", 12)):
        columns = store.examples(rows[name]["run_id"])
        assert columns["correct"].sum() == right
        assert len(columns["id"]) == len(set(columns["id"])) == 24
        assert columns["nll"].mean() == pytest.approx(rows[name]["nll"], rel=1e-6)
    run = store.read(rows["contrastive"]["run_id"])
    np.testing.assert_allclose(
        run.curves["loss"], [2.617099, 2.470449, 2.432556], rtol=1e-6
    )


def test_sql(store):
    rows = rows_of(store)
    counted = store.sql(
        "SELECT run_id, sum(correct::INT)::INT AS right FROM examples GROUP BY run_id"
    ).to_pylist()
    assert {row["run_id"]: row["right"] for row in counted} == {
        rows["trained"]["run_id"]: 7,
        rows["probed"]["run_id"]: 12,
    }
    (losses,) = store.sql(
        "SELECT list(train_loss ORDER BY epoch) AS loss FROM curves "
        "WHERE train_loss IS NOT NULL"
    ).to_pylist()
    np.testing.assert_allclose(losses["loss"], [2.115679, 2.050427], rtol=1e-6)


def test_report(store, tmp_path):
    text = write_report(store, tmp_path / "report.html").read_text()
    assert "29.2" in text
    assert "50.0" in text


def test_weights_are_those_of_the_trial(store):
    trial = store.read(rows_of(store)["trial"]["run_id"])
    variables = load_variables(store.path / f"weights/{trial.run_id}.safetensors")
    assert weights_digest(variables) == trial.provenance["weights_digest"]
