"""Numbers as shown, and tables as files."""

import csv
import io
import json
import math
import re

import pytest

from jaxbench.reports.cells import (
    MISSING,
    Cell,
    Column,
    Table,
    column_name,
    format_interval,
    format_numbers,
    format_value,
    interval_cell,
    metric_cell,
    metric_column,
    metric_interval,
    metric_value,
)
from jaxbench.reports.metric_texts import METRIC_TEXTS, metric_text

TINY = (1e-12, 3e-9, 4.2e-7, 5e-5, 4e-4, 0.02, 0.5, 1.0)


@pytest.mark.parametrize("name", METRIC_TEXTS)
def test_no_number_is_shown_as_zeros(name):
    for value in TINY:
        for sign in (1, -1):
            low, high = sorted((sign * 0.5 * value, sign * 2 * value))
            for text in (
                metric_value(sign * value, name),
                metric_interval(sign * value, low, high, name),
            ):
                first = text.split()[0]
                assert float(first) != 0, (name, value, text)
                assert not re.search(r"-0\.?0*(?![\d.e])", text), text
    assert metric_interval(0.0, 0.0, 0.0, name) == "0 [0, 0]"
    assert float(metric_value(0.0, name)) == 0


def test_a_negative_zero_has_no_sign():
    assert format_interval(-1e-6, -0.2, 0.3, percent=True) == "0.0 [-20.0, 30.0]"
    assert format_value(-0.0) == "0.000"
    assert format_numbers([0.0, 0.0, 0.0], 2, "+") == ["0", "0", "0"]
    assert format_interval(0.021, 0.001, -0.04, percent=True, sign="+") == (
        "+2.1 [+0.1, -4.0]"
    )


@pytest.mark.parametrize("name", ["aurc", "excess_aurc", "augrc", "excess_augrc"])
def test_areas_are_shown_times_1000(name):
    assert metric_text(name).unit == " \u00d71000"
    assert metric_text(f"{name}_ts").scale == 1000
    row = {name: 0.0123456, f"{name}_low": 0.01, f"{name}_high": 0.02}
    assert metric_cell(row, name) == Cell(
        "12.346 [10.000, 20.000]", 0.0123456, 0.01, 0.02
    )
    assert "\u00d71000" in metric_column(name).heading
    assert metric_column(name).name == name


def test_what_is_missing_is_a_dash():
    assert format_value(None) == MISSING
    assert format_value(math.nan) == "NaN"
    assert format_value(math.inf) == "inf"
    assert metric_cell({"ece": 0.1}, "ece") == Cell("10.0", 0.1)


def test_pages_hold_whole_numbers_in_full():
    assert Cell("86.6M", 86_567_656).numbers == "86567656"
    assert Cell("0.1", 1 / 3, 0.0, 1.0).numbers == "0.3333333 0 1"
    assert Cell("-").numbers == Cell("a", "a").numbers == ""


def sample():
    row = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    return Table(
        (
            Column("Model"),
            metric_column("accuracy"),
            Column("Tau", True),
            Column("Nothing", True),
        ),
        (
            (
                Cell('a_1 & "b"|c\\', 'a_1 & "b"|c\\'),
                metric_cell(row, "accuracy"),
                interval_cell(0.5, None, 1.0),
                Cell(MISSING),
            ),
            (
                Cell("b", "b"),
                metric_cell({"accuracy": 0.7}, "accuracy"),
                interval_cell(float("nan"), 0.0, 1.0),
                Cell(MISSING),
            ),
        ),
    )


def test_csv_and_json_hold_unscaled_numbers():
    rows = list(csv.reader(io.StringIO(sample().to_csv())))
    assert rows == [
        ["model", "accuracy", "accuracy_low", "accuracy_high", "tau", "nothing"],
        ['a_1 & "b"|c\\', "0.9", "0.8", "0.95", "0.5", ""],
        ["b", "0.7", "", "", "", ""],
    ]
    first, second = json.loads(sample().to_json())
    assert first["accuracy_low"] == 0.8
    assert second == {
        **{"model": "b", "accuracy": 0.7, "accuracy_low": None},
        **{"accuracy_high": None, "tau": None, "nothing": None},
    }


def test_markdown_and_latex_are_escaped():
    lines = sample().to_markdown().splitlines()
    assert lines[0] == "| Model | Accuracy % ↑ | Tau | Nothing |"
    assert lines[1] == "| --- | ---: | ---: | ---: |"
    assert lines[2] == '| a_1 & "b"\\|c\\\\ | 90.0 [80.0, 95.0] | 0.500 | - |'
    text = sample().to_latex()
    assert r"Model & Accuracy \% $\uparrow$ & Tau & Nothing \\" in text
    assert r'a\_1 \& "b"|c\textbackslash{} & 90.0 {\scriptsize [80.0, 95.0]} &' in text
    assert text.startswith("\\begin{tabular}{lrrr}\n\\toprule\n")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_empty_columns_are_left_out_unless_asked_for():
    assert sample().without_empty().keys() == ["model", "accuracy", "tau"]
    assert sample().without_empty(keep=("nothing",)).keys()[-1] == "nothing"
    bare = Table((Column("Kept"), Column("Kept %")), ())
    assert bare.without_empty().keys() == ["kept", "kept_share"]
    assert bare.to_csv() == "kept,kept_share\n"


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Mean %", "mean"),
        ("ECE (T*) %", "ece_ts"),
        ("scale 1.5", "scale_1.5"),
        ("Δ accuracy", "delta_accuracy"),
    ],
)
def test_names_in_files(heading, name):
    assert column_name(heading) == name
