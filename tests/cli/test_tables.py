"""Tables of the command line: files, formats, and standard output."""

import csv
import json

import pytest

from jaxbench.cli.tables import TableFormat, print_as, write_csv, write_tables
from jaxbench.reports.cells import Cell, Column, Table, metric_cell, metric_column


def sample():
    row = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    columns = (Column("Model"), metric_column("accuracy"))
    return Table(columns, ((Cell("a", "a"), metric_cell(row, "accuracy")),))


def test_intervals_are_written(tmp_path):
    write_csv(tmp_path / "new" / "t.csv", sample())
    with open(tmp_path / "new" / "t.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["model", "accuracy", "accuracy_low", "accuracy_high"],
        ["a", "0.9", "0.8", "0.95"],
    ]


@pytest.mark.parametrize("form", [f for f in TableFormat if f != TableFormat.TABLE])
def test_formats_are_alone_on_standard_output(form, capsys):
    print_as(sample(), form)
    text = capsys.readouterr().out
    assert text == getattr(sample(), f"to_{form}")()
    if form == TableFormat.JSON:
        assert json.loads(text)[0]["accuracy"] == 0.9


def test_tables_are_printed_for_a_dash(capsys):
    from pathlib import Path

    write_tables(Path("-"), [("models", sample()), ("others", sample())])
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[0] == "# models"
    assert second == f"# others\n{sample().to_csv()}"
