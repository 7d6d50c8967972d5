"""Tables of a report: one source for the terminal and the page."""

from collections.abc import Sequence
from typing import Any

from jaxbench.reports.cells import (
    MISSING,
    Cell,
    Column,
    Table,
    format_interval,
    format_value,
    metric_cell,
    metric_column,
    metric_heading,
    metric_value,
    text_cell,
)
from jaxbench.reports.metric_texts import (
    CALIBRATION,
    HEADLINES,
    METRIC_TEXTS,
    SELECTIVE,
    metric_text,
)
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    clean_counterpart,
    corruption_of,
    diverged,
    identity,
    is_number,
    mean,
)


def main_table(results: Results) -> Table:
    """Every entry on every clean dataset, the best first: the usual metrics."""
    return _clean_table(results, HEADLINES)


def calibration_table(results: Results) -> Table:
    """The same entries: every measure of calibration."""
    return _clean_table(results, CALIBRATION)


def selective_table(results: Results) -> Table:
    """The same entries: every measure of selective prediction."""
    return _clean_table(results, SELECTIVE)


def _clean_table(results: Results, names: Sequence[str]) -> Table:
    rows = [
        (entry, dataset, row)
        for entry in results.entries
        for dataset, row in entry.clean.items()
    ]
    rows.sort(key=lambda r: (r[1] != results.dataset, r[1], -_or_least(r[2])))
    # What temperature scaling makes of them stands last.
    names = (*names, *(f"{name}_ts" for name in names))
    metrics = present([row for _, _, row in rows], names)
    rows = rows if metrics else []
    columns = (
        Column("Model"),
        Column("Dataset"),
        Column("Parameters", numeric=True, help="trainable parameters"),
        *(metric_column(name) for name in metrics),
    )
    cells = [
        (
            text_cell(entry.label),
            text_cell(dataset),
            _count_cell(row["num_parameters"]),
            *(metric_cell(row, name) for name in metrics),
        )
        for entry, dataset, row in rows
    ]
    return Table(columns, tuple(cells))


def shift_table(results: Results) -> Table:
    """Accuracy on each shifted dataset, and the mean drop.

    The severities of a corruption are one dataset: their mean.
    """
    names = list(
        dict.fromkeys(shift_name(d) for e in results.entries for d in e.shifted)
    )
    columns = (
        Column("Model"),
        Column("Clean %", numeric=True, help="accuracy on the clean dataset"),
        Column("Mean drop", numeric=True, help="clean minus shifted, points"),
        *(Column(f"{name} %", True, "mean over severities, if any") for name in names),
    )
    rows = []
    for entry in results.entries:
        if not entry.shifted:
            continue
        clean = results.clean_row(entry).get("accuracy")
        drop = mean(drops(entry, results.dataset).values())
        values = shifted_accuracy(entry)
        shown = [clean, drop, *(values.get(name) for name in names)]
        numbers = (Cell(format_value(v, percent=True), v) for v in shown)
        rows.append((text_cell(entry.label), *numbers))
    rows.sort(key=lambda row: row[2].value if is_number(row[2].value) else 2.0)
    return Table(columns, tuple(rows))


def ood_table(results: Results) -> Table:
    """Out-of-distribution detection, per entry and dataset."""
    rows = [(e, d, row) for e in results.entries for d, row in e.ood.items()]
    names = tuple(name for name in METRIC_TEXTS if name.startswith("ood_"))
    metrics = present([row for *_, row in rows], names)
    columns = (Column("Model"), Column("Dataset"), *map(metric_column, metrics))
    cells = (
        (text_cell(e.label), text_cell(d), *(metric_cell(row, m) for m in metrics))
        for e, d, row in rows
    )
    return Table(columns, tuple(cells))


def trial_table(results: Results) -> Table:
    """Every trial with its settings and validation metrics."""
    settings = ("model", "optimizer", "learning_rate", "weight_decay", "seed", "epochs")
    metrics = tuple(
        name for name in results.metric_names if present(results.trials, (name,))
    )
    columns = (
        *(Column(name.replace("_", " ").capitalize()) for name in settings),
        *(trial_metric_column(name) for name in metrics),
        Column("Diverged at step", numeric=True),
    )
    rows = (
        (
            *(text_cell(row[name]) for name in settings),
            *(_trial_cell(row, name) for name in metrics),
            text_cell(row["diverged_step"] if diverged(row) else None),
        )
        for row in results.trials
    )
    return Table(columns, tuple(rows))


def evaluation_table(results: Results) -> Table:
    """Every finished evaluation, chosen or not."""
    names = tuple(METRIC_TEXTS)
    metrics = present(results.evaluations, names)
    counts = {"num_examples": "Examples", "num_skipped": "Skipped"}
    counts["num_nonfinite"] = "Non-finite"
    columns = (
        Column("Model"),
        Column("Dataset"),
        Column("Role"),
        *(metric_column(name) for name in metrics),
        *(Column(heading, numeric=True) for heading in counts.values()),
    )
    rows = []
    for row in results.evaluations:
        numbers = (Cell(metric_value(row.get(n), n), row.get(n)) for n in metrics)
        words = (results.labels[identity(row)], row["dataset"], row["role"])
        totals = (_count_cell(row[name]) for name in counts)
        rows.append((*map(text_cell, words), *numbers, *totals))
    return Table(columns, tuple(rows))


def failure_table(results: Results) -> Table:
    """Every failed run with its error."""
    columns = tuple(map(Column, ("Kind", "Model", "Settings", "Dataset", "Error")))
    rows = []
    for row in results.failures:
        names = ("optimizer", "learning_rate", "weight_decay", "seed")
        pairs = [f"{name}={row[name]}" for name in names if row[name] is not None]
        error = f"{row['error_type']}: {row['error_message']}"
        words = (row["kind"], row["model"], " ".join(pairs), row["dataset"], error)
        rows.append(tuple(map(text_cell, words)))
    return Table(columns, tuple(rows))


def comparison_table(comparisons: Sequence[Any]) -> Table:
    """The rows of `studies.compare.compare_runs`."""
    columns = (
        Column("Metric"),
        Column("A", True),
        Column("B", True),
        Column("A - B", True, "with its interval"),
        Column("p", True, "two-sided"),
        Column("n", True, "examples"),
    )
    rows = []
    for row in comparisons:
        text = metric_text(row.metric)
        form = {"percent": text.percent, "scale": text.scale}
        shown = [format_value(v, digits=4, **form) for v in (row.a, row.b)]
        difference = format_interval(row.difference, row.low, row.high, **form)
        rows.append(
            (
                Cell(metric_heading(row.metric)),
                Cell(shown[0], row.a),
                Cell(shown[1], row.b),
                Cell(difference, row.difference, row.low, row.high),
                Cell(f"{row.p_value:.2g}", row.p_value),
                Cell(f"{row.n:,}", row.n),
            )
        )
    return Table(columns, tuple(rows))


def present(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """The names that some row has a value for."""
    return tuple(n for n in names if any(row.get(n) is not None for row in rows))


def shift_name(dataset: str) -> str:
    """The corruption of a corrupted dataset, the address of any other."""
    corruption = corruption_of(dataset)
    return corruption.name if corruption else dataset


def shifted_accuracy(entry: Entry) -> dict[str, float | None]:
    """Accuracy on each shifted dataset, of a corruption averaged over severities."""
    return shifted_values(entry, "accuracy")


def shifted_values(entry: Entry, metric: str) -> dict[str, float | None]:
    """A metric on each shifted dataset, of a corruption averaged over severities."""
    groups: dict[str, list[float | None]] = {}
    for dataset, row in entry.shifted.items():
        groups.setdefault(shift_name(dataset), []).append(row.get(metric))
    return {name: mean(values) for name, values in groups.items()}


def drops(entry: Entry, default: str | None) -> dict[str, float | None]:
    """Clean minus shifted accuracy, of a corruption averaged over severities."""
    groups: dict[str, list[float | None]] = {}
    for dataset, row in entry.shifted.items():
        clean = (clean_counterpart(entry, dataset, default) or {}).get("accuracy")
        shifted = row.get("accuracy")
        if is_number(clean) and is_number(shifted):
            groups.setdefault(shift_name(dataset), []).append(clean - shifted)
    return {name: mean(values) for name, values in groups.items()}


def trial_metric_column(name: str) -> Column:
    """The column of a trial's metric: `val_accuracy` is shown as accuracy is."""
    text = metric_text(name.removeprefix("val_"))
    heading = text.heading if text.meaning else name.removeprefix("val_")
    word = "Val. " if name.startswith("val_") else ""
    return Column(f"{word}{heading}{' %' if text.percent else ''}", numeric=True)


def _trial_cell(row: Row, name: str) -> Cell:
    return Cell(metric_value(row.get(name), name.removeprefix("val_")), row.get(name))


def _count_cell(value: int | None) -> Cell:
    return Cell(MISSING if value is None else f"{value:,}", value)


def _or_least(row: Row) -> float:
    accuracy = row.get("accuracy")
    return accuracy if is_number(accuracy) else -1.0
