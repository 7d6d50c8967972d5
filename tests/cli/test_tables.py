"""Tables of the command line: files, formats, and standard output."""

import csv
import json

import pyarrow
import pytest
from typer.testing import CliRunner

from jaxbench.cli.app import app
from jaxbench.cli.display import console, print_table
from jaxbench.cli.tables import (
    TableFormat,
    print_as,
    show_table,
    table_of_arrow,
    write_csv,
    write_tables,
)
from jaxbench.reports.cells import Cell, Column, Table, metric_cell, metric_column
from jaxbench.results import ResultStore
from tests.reports.coupling_runs import coupling_runs


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


def test_a_short_table_says_how_much_is_missing():
    table = Table(sample().columns, sample().rows * 3)
    for most, text in ((2, "1 more row in the files of --csv DIR"), (1, "2 more rows")):
        with console.capture() as shown:
            show_table("Models", "All of them.", table, most_rows=most)
        assert text in shown.get()


def test_a_query_may_give_two_columns_one_name():
    found = pyarrow.table([[1, 2], [None, "b"]], names=["x", "x"])
    assert table_of_arrow(found).to_csv() == "x,x\n1,\n2,b\n"
    with console.capture() as shown:
        print_table(found)
    assert shown.get().count("│ b │") == 1


def stdout(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("command", [("coupling",), ("study", "coupling")])
def test_a_program_gets_tables_and_nothing_else(command, tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    for run in coupling_runs():
        store.write(run)
    page = ("-o", tmp_path / "page.html") if command[0] == "study" else ()
    text = stdout(*command, store.path, "--csv", "-", *page)
    for part in text.split("\n\n"):
        name, *lines = part.strip().splitlines()
        assert name.startswith("# ")
        widths = {len(row) for row in csv.reader(lines)}
        assert len(widths) == 1, name
    # What a person reads is back at the next command.
    assert "Trained on" in stdout("coupling", store.path)
    rows = list(
        csv.reader(stdout("results", store.path, "--format", "csv").splitlines())
    )
    assert rows[0][0] == "model"
    assert len({len(row) for row in rows}) == 1
