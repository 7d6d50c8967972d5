"""The command about curated contrastive training."""

import csv

import typer
from typer.testing import CliRunner

from jaxbench.cli.display import console, results_table
from jaxbench.cli.study_curation import curation
from jaxbench.results import ResultStore
from tests.reports.studies.test_curation_page import write


def test_tables_are_printed_and_written(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    rule = {"curation_quantile": 0.9, "curation_on_reject": "skip"}
    for seed, gain in ((0, 0.04), (1, 0.06)):
        plain = {"curation": "none", "curation_measured": False}
        write(store, "plain", seed, 0.5, **plain)
        skip = rule | {"curation": "quantile"}
        write(store, "skip", seed, 0.5 + gain, rejected=3, **skip)
    # Nothing to rank in the table of classifiers.
    with console.capture() as shown:
        results_table(store)
    assert "4 contrastive runs, compared by: jaxbench study curation" in shown.get()
    assert "Accuracy" not in shown.get()
    app = typer.Typer()
    app.command()(curation)
    words = [str(tmp_path / "results"), "--csv", str(tmp_path / "csv")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "At equal draws" in result.output
    with open(tmp_path / "csv" / "equal-draws.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert abs(float(row["accuracy_gain_points"]) - 0.05) < 1e-9
