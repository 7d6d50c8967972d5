"""Tables of reports as CSV files."""

import csv

import pytest

from jaxbench.cli.tables import column_name, column_names, write_csv
from jaxbench.reports.cells import Cell, Column, Table, interval_cell, metric_cell


@pytest.mark.parametrize(
    ("headings", "names"),
    [
        (["Kept", "Kept %"], ["kept", "kept_share"]),
        (["Mean %", "Level"], ["mean", "level"]),
        (["ECE (T*) %", "scale 1.5"], ["ece_ts", "scale_1.5"]),
    ],
)
def test_names_are_unlike(headings, names):
    assert column_names(headings) == names
    assert column_name(headings[0]) == names[0]


def test_intervals_are_written(tmp_path):
    row = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    table = Table(
        (Column("Model"), Column("Accuracy %"), Column("Tau"), Column("Images")),
        (
            (
                Cell("a", "a"),
                metric_cell(row, "accuracy"),
                interval_cell(0.5, None, 1.0),
                Cell("7", 7),
            ),
            (
                Cell("b", "b"),
                metric_cell({"accuracy": 0.7}, "accuracy"),
                interval_cell(float("nan"), 0.0, 1.0),
                Cell("-"),
            ),
        ),
    )
    write_csv(tmp_path / "t.csv", table)
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["model", "accuracy", "accuracy_low", "accuracy_high", "tau", "images"],
        ["a", "0.9", "0.8", "0.95", "0.5", "7"],
        ["b", "0.7", "", "", "", ""],
    ]


def test_a_table_without_rows_has_its_names(tmp_path):
    write_csv(tmp_path / "t.csv", Table((Column("Kept"), Column("Kept %")), ()))
    assert (tmp_path / "t.csv").read_text().split() == ["kept,kept_share"]
