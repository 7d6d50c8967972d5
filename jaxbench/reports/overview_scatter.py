"""The scatter of the ordinary report: every metric of every model as an axis."""

from collections.abc import Sequence

from jaxbench.reports.metric_texts import METRIC_TEXTS
from jaxbench.reports.overview_charts import interval_of
from jaxbench.reports.page import Interval, Point, Scatter
from jaxbench.reports.summary import stored_metrics
from jaxbench.reports.tables import shifted_accuracy
from jaxbench.studies.entries import Entry, Results, Row, is_number, mean
from jaxbench.studies.regimes import UNKNOWN, model_family

# Accuracies on other datasets that may be axes too.
_MAX_DATASETS = 12
_SHIFTED = "shifted_accuracy"
_PLAIN = {"num_parameters": "Parameters", "images_per_second": "Images/s ↑"}


def models_scatter(results: Results) -> Scatter | None:
    """Models on the report's clean dataset; None without two metrics to show.

    What is measured elsewhere is an axis too: the mean accuracy under shift, accuracy
    on other clean datasets, and the mean over out-of-distribution datasets.
    """
    rows = [(e, row) for e in results.entries if (row := results.clean_row(e))]
    names = [n for n in scatter_metrics(results) if not n.startswith("ood_")]
    others = _others(results)
    points = tuple(
        Point(
            entry.label, _values(entry, row, (*names, *_PLAIN), others), _groups(entry)
        )
        for entry, row in rows
    )
    known = dict.fromkeys(name for point in points for name in point.values)
    axes = [name for name in ("accuracy", "ece") if name in known]
    axes = list(dict.fromkeys([*axes, *known]))[:2]
    if len(points) < 2 or len(axes) < 2:
        return None
    headings = _PLAIN | {_SHIFTED: "Accuracy under shift (mean) ↑"}
    headings |= {_on(name): f"Accuracy on {name} ↑" for name in others}
    groupings = {name for point in points for name in point.groups}
    wanted = ("backbone", "family", "optimizer")
    return Scatter(
        "accuracy_calibration",
        points,
        x=axes[0],
        y=axes[1],
        group=next((name for name in wanted if name in groupings), ""),
        headings={name: text for name, text in headings.items() if name in known},
        percent=frozenset({_SHIFTED, *map(_on, others)}) & set(known),
        caption=f"Each point is a model on {results.dataset}. Both axes and the "
        "colours can be chosen. With accuracy and ECE, best is the lower right: right "
        "often, and as confident as it is right.",
    )


def scatter_metrics(results: Results) -> list[str]:
    """Names of all stored metrics: known ones first, after scaling last."""
    stored = stored_metrics(results)
    known = [name for name in METRIC_TEXTS if name in stored]
    scaled = [f"{n}_ts" for n in stored if f"{n}_ts" in results.metric_names]
    return list(dict.fromkeys([*known, *stored, *scaled]))


def metrics_of_nan(results: Results) -> list[str]:
    """Metrics that were computed, and of which no model has a number."""
    rows = results.evaluations
    return [
        name
        for name in scatter_metrics(results)
        if any(row.get(name) is not None for row in rows)
        and not any(is_number(row.get(name)) for row in rows)
    ]


def _values(
    entry: Entry, row: Row, names: Sequence[str], others: Sequence[str]
) -> dict[str, Interval]:
    found = {name: interval_of(row, name) for name in names}
    found[_SHIFTED] = _alone(mean(shifted_accuracy(entry).values()))
    for name in others:
        found[_on(name)] = interval_of(entry.clean.get(name, {}), "accuracy")
    for name in METRIC_TEXTS:
        if name.startswith("ood_"):
            values = [other.get(name) for other in entry.ood.values()]
            found[name] = _alone(mean(values))
            if len(values) == 1:
                found[name] = interval_of(next(iter(entry.ood.values())), name)
    return {name: value for name, value in found.items() if value is not None}


def _alone(value: float | None) -> Interval | None:
    return None if value is None else (value, None, None)


def _others(results: Results) -> list[str]:
    """Other clean datasets, those of the most models first."""
    counts: dict[str, int] = {}
    for entry in results.entries:
        for name in entry.clean:
            counts[name] = counts.get(name, 0) + 1
    counts.pop(results.dataset or "", None)
    return sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_DATASETS]


def _on(dataset: str) -> str:
    return f"accuracy on {dataset}"


def _groups(entry: Entry) -> dict[str, str]:
    """Backbone and optimizer where models were trained here, the zoo's family else."""
    if entry.optimizer:
        return {"backbone": entry.model, "optimizer": entry.optimizer}
    family = model_family(entry.model)
    return {} if family == UNKNOWN else {"family": family}
