"""The short table: one row a model, narrow enough for a terminal."""

from jaxbench.reports.cells import (
    Cell,
    Column,
    Table,
    format_value,
    metric_cell,
    text_cell,
)
from jaxbench.reports.entries import Results, diverged, is_number, mean
from jaxbench.reports.tables import shifted_accuracy

_PLAIN = {"nll": "NLL", "ece": "ECE %", "auroc": "AUROC %", "aurc": "AURC"}
_PERCENT = ("ece", "auroc")


def short_table(results: Results) -> Table:
    """One row an entry, the most accurate first: clean, shifted and foreign images.

    Where there are trials, an entry is the trial of a backbone and an optimizer with
    the best validation accuracy.
    """
    columns = (
        Column("Model"),
        Column("Accuracy %", True),
        *(Column(heading, True) for heading in _PLAIN.values()),
        Column("ECE % at T*", True),
        Column("Shifted acc. %", True),
        Column("OOD AUROC %", True),
    )
    rows = []
    for entry in results.entries:
        clean = results.clean_row(entry) or next(iter(entry.clean.values()), {})
        shifted = mean(shifted_accuracy(entry).values())
        foreign = mean(row.get("ood_auroc_max_softmax") for row in entry.ood.values())
        label = f"{entry.label} (diverged)" if diverged(entry.trial) else entry.label
        numbers = [(clean.get(name), name in _PERCENT) for name in _PLAIN]
        numbers += [(clean.get("ece_ts"), True), (shifted, True), (foreign, True)]
        rows.append(
            (
                text_cell(label),
                metric_cell(clean, "accuracy"),
                *(Cell(format_value(v, percent=p), v) for v, p in numbers),
            )
        )
    rows.sort(key=lambda row: -row[1].value if is_number(row[1].value) else 1.0)
    return Table(columns, tuple(rows))
