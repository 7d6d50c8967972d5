"""The short table: one row a model and clean dataset, narrow enough for a terminal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from jaxbench.reports.cells import (
    MISSING,
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
from model_zoo import registry

# The columns where nobody asks for metrics and all are there.
USUAL_METRICS = ("accuracy", "ece", "aurc")
_OOD = "ood_auroc_max_softmax"
_ENDINGS = ("_low", "_high", "_ts")


def short_table(
    results: Results, columns: Sequence[str] | None = None, *, only: bool = False
) -> Table:
    """One row an entry and clean dataset: clean, shifted and out-of-distribution.

    Where there are trials, an entry is the trial of a backbone and an optimizer with
    the best validation accuracy. Rows are sorted by accuracy, or by the first metric
    where accuracy is not shown, the best first. What a model does on shifted and
    out-of-distribution images stands once, beside its first clean dataset: the mean
    over the shifted datasets, where the severities of a corruption are one, and over
    the out-of-distribution ones. Columns that are empty in every row are left out
    unless they are asked for.

    Args:
        results: What to show.
        columns: Names of metrics, of stored columns and of `COMPUTED`; metrics of
            out-of-distribution detection are means over its datasets. Where None the
            usual metrics, or whatever is stored if some of them are not.
        only: Whether to show no other columns, and each with its interval.
    """
    asked_ood = [name for name in columns or () if name.startswith("ood_")]
    named = columns or shown_metrics(results)
    names = [n for n in named if n not in (*asked_ood, "model", "dataset")]
    metrics = [name for name in names if _is_metric(results, name)]
    sort_by = "accuracy" if "accuracy" in metrics else next(iter(metrics), "")
    has_shift = any(entry.shifted for entry in results.entries)
    shifted = sort_by if sort_by and has_shift and not only else None
    has_ood = not only and any(entry.ood for entry in results.entries)
    ood = asked_ood or ([_OOD] if has_ood else [])
    several = len({name for entry in results.entries for name in entry.clean}) > 1
    heads = [Column("Model"), Column("Dataset")]
    heads += [_column(results, name) for name in names]
    if shifted:
        of = "" if shifted == "accuracy" else f" {metric_text(shifted).heading}"
        heads.append(Column(f"Shift{of}{metric_text(shifted).unit}", True))
    titles = {name: metric_heading(name) if asked_ood else "OOD %" for name in ood}
    heads += [Column(title, True, name=name) for name, title in titles.items()]
    keyed = []
    for entry, dataset, row, first in _rows(results):
        label = f"{entry.label} (diverged)" if diverged(entry.origin) else entry.label
        cells = [text_cell(label), text_cell(dataset)]
        for number, name in enumerate(names):
            # One interval: with more, a row does not fit a terminal.
            cells.append(_cell(results, entry, row, name, only or not number))
        values = shifted_values(entry, shifted).values() if shifted and first else ()
        cells += [_plain(mean(values), shifted)] if shifted else []
        for name in ood:
            found = [other.get(name) for other in entry.ood.values()] if first else ()
            cells.append(_plain(mean(found), name))
        keyed.append(((dataset != results.dataset, dataset or ""), row, tuple(cells)))
    keyed.sort(key=lambda item: (item[0], _merit(item[1], sort_by)))
    table = Table(tuple(heads), tuple(cells for *_, cells in keyed))
    if not several and "dataset" not in (columns or ()):
        table = table.only(i for i in range(len(heads)) if i != 1)
    return table.without_empty(keep=columns or ())


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


def _is_metric(results: Results, name: str) -> bool:
    return name in results.metric_names


def _column(results: Results, name: str) -> Column:
    if _is_metric(results, name):
        return Column(metric_heading(name), True, name=name)
    heading, meaning, _ = COMPUTED.get(name, (name, "", None))
    numeric = name in COMPUTED or any(
        isinstance(row.get(name), int | float)
        for entry in results.entries
        for row in (*entry.clean.values(), entry.trial or {})
    )
    return Column(heading, numeric, meaning, name)


def _cell(results: Results, entry: Entry, row: Row, name: str, interval: bool) -> Cell:
    if _is_metric(results, name):
        cell = metric_cell(row, name)
        return (
            cell if interval else replace(cell, text=metric_value(row.get(name), name))
        )
    value = row.get(name)
    if value is None and entry.trial is not None:
        value = entry.trial.get(name)
    if name in COMPUTED:
        return COMPUTED[name][2](entry, {name: value} | row)
    return text_cell(value)


def _plain(value: float | None, name: str) -> Cell:
    return Cell(metric_value(value, name), value)


def _parameters(entry: Entry, row: Row) -> Cell:
    value = row.get("num_parameters")
    return Cell(MISSING) if value is None else Cell(f"{value / 1e6:.3g}M", value)


def _gmacs(entry: Entry, row: Row) -> Cell:
    """Of one image; known for the sizes that the registry has counted."""
    name = entry.model.partition(".")[0]
    known = registry.architectures().get(name)
    size = row.get("image_size")
    if known is None or known.num_macs is None or size != known.input_spec.size[0]:
        return Cell(MISSING)
    return Cell(f"{known.num_macs / 1e9:.3g}", known.num_macs / 1e9)


def _throughput(entry: Entry, row: Row) -> Cell:
    value = row.get("images_per_second")
    return Cell(MISSING) if value is None else Cell(f"{value:,.0f}", value)


# Columns with a unit of their own, or that are not stored: heading, meaning, cell.
COMPUTED: dict[str, tuple[str, str, Callable[[Entry, Row], Cell]]] = {
    "num_parameters": ("Params", "number of parameters", _parameters),
    "gmacs": ("GMACs", "multiply-accumulates of one image, in 1e9", _gmacs),
    "images_per_second": ("Images/s", "images evaluated a second", _throughput),
}
