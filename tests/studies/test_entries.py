"""Which rows of a store a report draws from."""

import dataclasses

from jaxbench.reports import write_report
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from tests.results.sample_runs import evaluation


def test_earlier_numbers_are_left_out_and_stay_readable(tmp_path):
    """Clean by new numbers and shifted by old ones do not compare."""
    store = ResultStore(tmp_path, create=True)
    settings = {"model": "a", "weights": "a.safetensors"}
    old = [
        evaluation(settings, "digits@test", "clean", skill=2.0, n=30),
        evaluation(settings, "digits-c/fog_3", "shifted", skill=1.0, n=30),
        evaluation({"model": "b"}, "digits@test", "clean", skill=2.0, n=30),
    ]
    new = evaluation(settings, "digits@test", "clean", skill=4.0, n=30)
    versioned = new.provenance | {"numbers_version": "4"}
    new = dataclasses.replace(new, run_id="0" * 32, provenance=versioned)
    for run in (*old, new):
        store.write(run)
    results = load_results(store)
    assert results.num_outdated == 2
    assert {(r["model"], r["run_id"]) for r in results.evaluations} == {
        ("a", new.run_id),
        ("b", old[2].run_id),
    }
    (entry,) = [entry for entry in results.entries if entry.model == "a"]
    assert entry.clean["digits@test"]["accuracy"] == new.metrics["accuracy"]
    assert not entry.shifted
    counted = store.sql("SELECT count(*) AS n FROM runs WHERE model = 'a'")
    assert counted["n"].to_pylist() == [3]
    page = write_report(store, tmp_path / "report.html").read_text()
    assert "2 of the evaluations" in page


def test_of_two_rows_of_one_dataset_the_later_counts(tmp_path):
    store = ResultStore(tmp_path, create=True)
    run = evaluation({"model": "a"}, "digits@test", "clean", skill=2.0, n=30)
    later = run.provenance | {"created_at": "2026-03-02T03:04:05+00:00"}
    metrics = run.metrics | {"accuracy": 0.125}
    # Whose name comes first says nothing.
    for name, provenance in (("f" * 32, run.provenance), ("0" * 32, later)):
        shown = run.metrics if name[0] == "f" else metrics
        store.write(
            dataclasses.replace(run, run_id=name, provenance=provenance, metrics=shown)
        )
    (entry,) = load_results(store).entries
    assert entry.clean["digits@test"]["accuracy"] == 0.125
