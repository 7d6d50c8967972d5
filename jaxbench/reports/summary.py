"""The short table: one row a model and clean dataset, narrow enough for a terminal."""

from collections.abc import Iterator, Sequence

from jaxbench.reports.cells import (
    Cell,
    Column,
    Table,
    metric_cell,
    metric_heading,
    metric_value,
    text_cell,
)
from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.tables import present, shifted_values
from jaxbench.studies.entries import Entry, Results, Row, diverged, is_number, mean

# The columns where nobody asks for metrics and all are there.
USUAL_METRICS = ("accuracy", "ece", "aurc")
_OOD = "ood_auroc_max_softmax"
_ENDINGS = ("_low", "_high", "_ts")


def short_table(results: Results, metrics: Sequence[str] | None = None) -> Table:
    """One row an entry and clean dataset: clean, shifted and out-of-distribution.

    Where there are trials, an entry is the trial of a backbone and an optimizer with
    the best validation accuracy. Rows are sorted by accuracy, or by the first metric
    where accuracy is not shown, the best first. What a model does on shifted and
    out-of-distribution images stands once, beside its first clean dataset: the mean
    over the shifted datasets, where the severities of a corruption are one, and over
    the out-of-distribution ones.

    Args:
        results: What to show.
        metrics: Names of the columns; those of out-of-distribution detection are
            means over its datasets. Where None the usual ones, or whatever is stored
            if some of them are not.
    """
    names = tuple(metrics or shown_metrics(results))
    asked_ood = [name for name in names if name.startswith("ood_")]
    names = tuple(name for name in names if name not in asked_ood)
    sort_by = "accuracy" if "accuracy" in names else next(iter(names), "")
    shifted = sort_by if any(entry.shifted for entry in results.entries) else None
    foreign = any(entry.ood for entry in results.entries)
    ood = asked_ood or ([_OOD] if foreign else [])
    several = len({name for entry in results.entries for name in entry.clean}) > 1
    columns = [Column("Model"), *([Column("Dataset")] if several else [])]
    columns += [Column(metric_heading(name), True, name=name) for name in names]
    if shifted:
        of = "" if shifted == "accuracy" else f" {metric_text(shifted).heading}"
        columns.append(Column(f"Shift{of}{metric_text(shifted).unit}", True))
    columns += [
        Column(metric_heading(name) if asked_ood else "OOD %", True) for name in ood
    ]
    keyed = []
    for entry, dataset, row, first in _rows(results):
        label = f"{entry.label} (diverged)" if diverged(entry.trial) else entry.label
        cells = [text_cell(label), *([text_cell(dataset)] if several else [])]
        # One interval: with more, a row does not fit a terminal.
        cells += [metric_cell(row, name) for name in names[:1]]
        cells += [_cell(row.get(name), name) for name in names[1:]]
        values = shifted_values(entry, shifted).values() if shifted and first else ()
        cells += [_cell(mean(values), shifted)] if shifted else []
        for name in ood:
            found = [other.get(name) for other in entry.ood.values()] if first else ()
            cells.append(_cell(mean(found), name))
        keyed.append(((dataset != results.dataset, dataset or ""), row, tuple(cells)))
    keyed.sort(key=lambda item: (item[0], _merit(item[1], sort_by)))
    return Table(tuple(columns), tuple(cells for *_, cells in keyed))


def shown_metrics(results: Results) -> tuple[str, ...]:
    """The usual metrics; where some of them are not stored, whatever is."""
    rows = [row for entry in results.entries for row in entry.clean.values()]
    if not rows or len(present(rows, USUAL_METRICS)) == len(USUAL_METRICS):
        return USUAL_METRICS
    return present(rows, stored_metrics(results))


def stored_metrics(results: Results) -> tuple[str, ...]:
    """Names of the metrics that evaluations hold, without intervals' ends and T*."""
    found = set(results.metric_names)
    return tuple(
        name
        for name in results.metric_names
        if not name.startswith("val_")
        and not any(name.removesuffix(e) in found - {name} for e in _ENDINGS)
    )


def _rows(results: Results) -> Iterator[tuple[Entry, str | None, Row, bool]]:
    """Each entry with each clean dataset, and whether that is its first one."""
    for entry in results.entries:
        if not entry.clean:
            yield entry, results.dataset, {}, True
        names = sorted(entry.clean, key=lambda name: (name != results.dataset, name))
        for number, name in enumerate(names):
            yield entry, name, entry.clean[name], number == 0


def _merit(row: Row, name: str) -> float:
    value = row.get(name)
    if not is_number(value):
        return float("inf")
    return value if metric_text(name).direction == "↓" else -value


def _cell(value: float | None, name: str) -> Cell:
    return Cell(metric_value(value, name), value)
