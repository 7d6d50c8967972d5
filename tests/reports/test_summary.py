import dataclasses
import io

import numpy as np
from rich.console import Console

from jaxbench.reports.summary import short_table
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from tests.results.sample_runs import evaluation, failed


def test_one_row_an_entry_the_most_accurate_first(sweep_store):
    results = load_results(sweep_store)
    table = short_table(results)
    accuracies = [row[1].value for row in table.rows]
    assert len(accuracies) == len(results.entries)
    assert accuracies == sorted(accuracies, reverse=True)
    best, row = results.ranked()[0]
    assert table.rows[0][0].text == best.label
    assert table.rows[0][2].value == row["ece"]


def test_means_over_shifted_and_ood_datasets(sweep_store):
    results = load_results(sweep_store)
    rows = {row[0].text: row for row in short_table(results).rows}
    entry = results.entries[0]
    by_corruption = {}
    for name, row in entry.shifted.items():
        by_corruption.setdefault(name.rsplit("_", 1)[0], []).append(row["accuracy"])
    shifted = np.mean([np.mean(values) for values in by_corruption.values()])
    unknown = [row["ood_auroc_max_softmax"] for row in entry.ood.values()]
    assert np.isclose(rows[entry.label][4].value, shifted)
    assert np.isclose(rows[entry.label][5].value, np.mean(unknown))


def test_fits_a_terminal_of_80_columns(sweep_store):
    text = io.StringIO()
    table = short_table(load_results(sweep_store)).to_rich()
    Console(file=text, width=80).print(table)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    # A row of its own for each entry, none folded.
    entries = len(load_results(sweep_store).entries)
    assert len([line for line in lines if "[" in line]) == entries


def test_nothing_finished(tmp_path):
    store = ResultStore(tmp_path, create=True)
    store.write(failed({"model": "a"}, "digits@test"))
    assert short_table(load_results(store)).rows == ()


def test_case_13_metrics_that_are_asked_for_are_the_columns(sweep_store):
    results = load_results(sweep_store)
    table = short_table(results, ("nll", "auroc", "ood_fpr95_energy"))
    headings = [column.heading for column in table.columns]
    assert headings == ["Model", "NLL", "AUROC %", "Shift NLL", "OOD FPR95, energy %"]
    values = [row[1].value for row in table.rows]
    # A lower likelihood loss is better.
    assert values == sorted(values)
    by_label = {row[0].text: row for row in table.rows}
    for entry in results.entries:
        row, found = results.clean_row(entry), by_label[entry.label]
        assert (found[1].value, found[2].value) == (row["nll"], row["auroc"])
        ood = [other["ood_fpr95_energy"] for other in entry.ood.values()]
        assert np.isclose(found[4].value, np.mean(ood))


def test_case_13_what_is_stored_is_shown_where_the_usual_is_not(tmp_path):
    store = ResultStore(tmp_path, create=True)
    run = evaluation({"model": "a"}, "digits@test", "clean", skill=2.0, n=50)
    metrics = {"brier": 0.5, "brier_low": 0.4, "brier_high": 0.6, "nll_ts": 1.0}
    metrics |= {"nll": 1.5, "mine": 0.25}
    store.write(dataclasses.replace(run, metrics=metrics))
    table = short_table(load_results(store))
    headings = [column.heading for column in table.columns]
    assert headings == ["Model", "Brier", "NLL", "mine"]
    assert table.rows[0][3].text == "0.250"


def test_case_12_no_number_stands_under_another_dataset(tmp_path):
    store = ResultStore(tmp_path, create=True)
    runs = [
        evaluation({"model": model}, dataset, "clean", skill=2.0, n=50)
        for model, dataset in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    for run in runs:
        store.write(run)
    results = load_results(store)
    table = short_table(results)
    assert [column.heading for column in table.columns][:2] == ["Model", "Dataset"]
    shown = [(row[0].text, row[1].text) for row in table.rows]
    assert sorted(shown) == [("a", "x"), ("b", "x"), ("c", "y")]
    assert shown[2] == ("c", "y")
    # The runs of one request, as if nothing else were there.
    one = load_results(store, {runs[2].run_id})
    assert one.dataset == "y"
    assert [row[0].text for row in short_table(one).rows] == ["c"]
