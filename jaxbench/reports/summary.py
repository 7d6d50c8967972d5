"""The short table: one row a model, narrow enough for a terminal."""

from jaxbench.reports.cells import (
    Cell,
    Column,
    Table,
    format_value,
    metric_cell,
    text_cell,
)
from jaxbench.reports.entries import Entry, Results, Row, diverged, is_number, mean
from jaxbench.reports.tables import shifted_accuracy


def short_table(results: Results) -> Table:
    """One row an entry, the most accurate first: clean, shifted and foreign images.

    Where there are trials, an entry is the trial of a backbone and an optimizer with
    the best validation accuracy. Shifted accuracy is the mean over the shifted
    datasets, where the severities of a corruption are one; AUROC of foreign images is
    by maximum softmax.
    """
    columns = (
        Column("Model"),
        Column("Accuracy %", True),
        Column("ECE %", True),
        Column("AURC", True),
        Column("Shift %", True),
        Column("OOD %", True),
    )
    rows = []
    for entry in results.entries:
        clean = results.clean_row(entry) or next(iter(entry.clean.values()), {})
        label = f"{entry.label} (diverged)" if diverged(entry.trial) else entry.label
        rows.append(
            (text_cell(label), metric_cell(clean, "accuracy"), *_numbers(entry, clean))
        )
    rows.sort(key=lambda row: -row[1].value if is_number(row[1].value) else 1.0)
    return Table(columns, tuple(rows))


def _numbers(entry: Entry, clean: Row) -> tuple[Cell, ...]:
    shifted = mean(shifted_accuracy(entry).values())
    foreign = mean(row.get("ood_auroc_max_softmax") for row in entry.ood.values())
    values = (
        (clean.get("ece"), True),
        (clean.get("aurc"), False),
        (shifted, True),
        (foreign, True),
    )
    return tuple(
        Cell(format_value(value, percent=percent), value) for value, percent in values
    )
