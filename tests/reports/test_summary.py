import io

import numpy as np
from rich.console import Console

from jaxbench.reports.entries import load_results
from jaxbench.reports.summary import short_table
from jaxbench.results import ResultStore
from tests.results.sample_runs import failed


def test_one_row_an_entry_the_most_accurate_first(sweep_store):
    results = load_results(sweep_store)
    table = short_table(results)
    accuracies = [row[1].value for row in table.rows]
    assert len(accuracies) == len(results.entries)
    assert accuracies == sorted(accuracies, reverse=True)
    best, row = results.ranked()[0]
    assert table.rows[0][0].text == best.label
    assert table.rows[0][2].value == row["ece"]


def test_means_over_shifted_and_foreign_datasets(sweep_store):
    results = load_results(sweep_store)
    rows = {row[0].text: row for row in short_table(results).rows}
    entry = results.entries[0]
    by_corruption = {}
    for name, row in entry.shifted.items():
        by_corruption.setdefault(name.rsplit("_", 1)[0], []).append(row["accuracy"])
    shifted = np.mean([np.mean(values) for values in by_corruption.values()])
    foreign = [row["ood_auroc_max_softmax"] for row in entry.ood.values()]
    assert np.isclose(rows[entry.label][4].value, shifted)
    assert np.isclose(rows[entry.label][5].value, np.mean(foreign))


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
