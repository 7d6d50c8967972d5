"""Which figures a report holds, drawn from a store's results.

A figure shows the best few of many models and says how many it leaves out. Reading the
per-example columns is left to the two figures that need them, for the models shown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from jaxbench.errors import UserError
from jaxbench.metrics import reliability_bins, risk_coverage_curve
from jaxbench.reports import figures
from jaxbench.reports.coupling_gallery import coupling_exhibits
from jaxbench.reports.exhibit import Exhibit
from jaxbench.reports.figures import Curve, Point, Reliability
from jaxbench.reports.metric_texts import METRIC_TEXTS, metric_text
from jaxbench.reports.tables import shifted_accuracy
from jaxbench.results import ResultStore
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    clean_counterpart,
    corruption_of,
    diverged,
    is_number,
    mean,
)
from jaxbench.studies.grid_costs import Costs
from jaxbench.studies.grids import Sweep

# Curves that say where the points of the others are.
_AXES = ("step", "seconds")
_PANELS = ("train_loss", "val_accuracy", "val_nll", "val_ece", "val_aurc")
MAX_CURVES, MAX_PANELS, MAX_BARS, MAX_CORRUPTIONS = 8, 6, 15, 20


def build_exhibits(
    store: ResultStore, results: Results, studied: Sequence[tuple[Sweep, Costs]]
) -> list[Exhibit]:
    """Every figure that the results have something to show in.

    Args:
        store: Where they are.
        results: What is in it.
        studied: The grids of optimizers and backbones, and what they cost.
    """
    makers: tuple[Callable[[ResultStore, Results], Exhibit | None], ...] = (
        _scatter,
        _reliability,
        _risk_coverage,
        _severity,
        _ood,
        _learning,
    )
    exhibits = (maker(store, results) for maker in makers)
    shown = [exhibit for exhibit in exhibits if exhibit is not None]
    return coupling_exhibits(results, studied) + shown


def _scatter(_: ResultStore, results: Results) -> Exhibit | None:
    points = [
        Point(entry.model, entry.optimizer or "", row["accuracy"], row["ece"])
        for entry, row in results.ranked()
        if is_number(row.get("ece"))
    ]
    if len(points) < 2:
        return None
    return Exhibit(
        "accuracy_calibration",
        "Accuracy and calibration",
        f"Each point is a model on {results.dataset}. Best is the lower right: right "
        "often, and as confident as it is right.",
        figures.scatter(points),
    )


def _reliability(store: ResultStore, results: Results) -> Exhibit | None:
    panels = []
    for entry, row, columns in _samples(store, results, "confidence", MAX_PANELS):
        bins = jax.device_get(_bins(columns["confidence"], columns["correct"]))
        ece = row["ece"] if is_number(row.get("ece")) else np.nan
        panel = Reliability(
            label=entry.label,
            counts=bins.num_examples,
            confidence=bins.confidence,
            accuracy=bins.accuracy,
            low=bins.low,
            high=bins.high,
            ece=ece,
        )
        panels.append(panel)
    if not panels:
        return None
    left_out = len(results.ranked()) - len(panels)
    return Exhibit(
        "reliability",
        "Reliability",
        f"How often answers of a given confidence are right, on {results.dataset}. "
        "Bars that end on the diagonal are calibrated; hatching is the gap whose "
        "weighted mean is the ECE; whiskers are Wilson intervals; the line is the "
        "share of images in each bin." + _left_out(left_out),
        figures.reliability_diagrams(panels),
    )


def _risk_coverage(store: ResultStore, results: Results) -> Exhibit | None:
    curves = []
    name = "log_one_minus_confidence"
    for entry, _, columns in _samples(store, results, name, MAX_CURVES):
        coverage, risk = _curve(-columns[name], columns["correct"])
        x, y = (np.asarray(values, np.float64) for values in (coverage, risk))
        curves.append(Curve(entry.label, x, y))
    if not curves:
        return None
    left_out = len(results.ranked()) - len(curves)
    return Exhibit(
        "risk_coverage",
        "Risk and coverage",
        f"Error rate on {results.dataset} if only the most confident share of the "
        "images is answered. A curve that stays low knows when it is wrong; the mean "
        "height is the AURC.",
        figures.risk_coverage(curves, left_out=left_out),
    )


def _severity(_: ResultStore, results: Results) -> Exhibit | None:
    entries = [e for e in results.entries if any(map(corruption_of, e.shifted))]
    entries = _best(entries, lambda e: mean(shifted_accuracy(e).values()))
    panels: dict[str, list[Curve]] = {}
    for entry in entries[:MAX_CURVES]:
        for name, curve in _severities(entry, results.dataset):
            panels.setdefault(name, []).append(curve)
    if not panels:
        return None
    shown = dict(sorted(panels.items())[:MAX_CORRUPTIONS])
    hidden = len(panels) - len(shown)
    return Exhibit(
        "corruption_severity",
        "Corruption and severity",
        "Accuracy as each corruption grows from severity 1 to 5; 0 is the clean "
        "dataset." + (f" {hidden} more corruptions are not shown." if hidden else ""),
        figures.severity_curves(shown, left_out=max(0, len(entries) - MAX_CURVES)),
    )


def _severities(entry: Entry, default: str | None) -> Iterator[tuple[str, Curve]]:
    points: dict[str, dict[int, float]] = {}
    for dataset, row in entry.shifted.items():
        corruption = corruption_of(dataset)
        if corruption is None or not is_number(row.get("accuracy")):
            continue
        points.setdefault(corruption.name, {})[corruption.severity] = row["accuracy"]
        clean = (clean_counterpart(entry, dataset, default) or {}).get("accuracy")
        if is_number(clean):
            points[corruption.name][0] = clean
    for name, by_severity in points.items():
        x, y = zip(*sorted(by_severity.items()), strict=True)
        yield name, Curve(entry.label, np.array(x, float), np.array(y, float))


def _ood(_: ResultStore, results: Results) -> Exhibit | None:
    names = [name for name in METRIC_TEXTS if name.startswith("ood_auroc_")]
    bars: list[tuple[str, Row]] = []
    datasets = {dataset for e in results.entries for dataset in e.ood}
    for entry in results.entries:
        for dataset, row in entry.ood.items():
            label = entry.label if len(datasets) == 1 else f"{entry.label}, {dataset}"
            if any(is_number(row.get(name)) for name in names):
                bars.append((label, row))
    if not bars:
        return None
    bars = _best(bars, lambda bar: mean(bar[1].get(n) for n in names))
    shown = bars[:MAX_BARS]
    values = {
        name.removeprefix("ood_auroc_").replace("_", " "): np.array(
            [np.nan if row.get(name) is None else row[name] for _, row in shown]
        )
        for name in names
        if any(row.get(name) is not None for _, row in shown)
    }
    return Exhibit(
        "out_of_distribution",
        "Out-of-distribution detection",
        "Chance that an image of the known classes scores above a foreign one, for "
        "each score. 50% is a coin. Foreign: " + ", ".join(sorted(datasets)) + ".",
        figures.ood_bars(
            [label for label, _ in shown], values, left_out=len(bars) - len(shown)
        ),
    )


def _learning(store: ResultStore, results: Results) -> Exhibit | None:
    entries = [entry for entry in results.entries if entry.trial]
    entries = _best(entries, lambda e: (e.trial or {}).get("val_accuracy"))
    lost = [entry for entry in entries if diverged(entry.trial)]
    kept = [entry for entry in entries if not diverged(entry.trial)]
    # One place is left for a trial that diverged: its curve tells when.
    shown = kept[: MAX_CURVES - bool(lost)]
    shown += lost[: MAX_CURVES - len(shown)]
    read = list(_read_curves(store, shown))
    in_draws = all(row.get("objective") for _, row, _ in read)
    in_epochs = all(_epochs(row, curves) is not None for _, row, curves in read)
    panels: dict[str, list[Curve]] = {}
    for label, row, curves in read:
        x = _epochs(row, curves) if in_epochs else curves.get("step")
        if in_draws:
            x = np.arange(1.0, max(map(len, curves.values())) + 1)
        if x is None:
            continue  # says neither its steps nor its epochs
        for name in set(curves) - set(_AXES):
            panels.setdefault(name, []).append(Curve(label, x, curves[name]))
    if not panels:
        return None
    percent = [name for name in panels if name.endswith(("accuracy", "_ece"))]
    x_title = "Draw" if in_draws else "Epoch" if in_epochs else "Step"
    return Exhibit(
        "learning_curves",
        "Learning curves",
        "The best trial of each backbone, optimizer and training, those of the highest "
        f"validation accuracy, by {x_title.lower()}. A line that stops has no finite "
        "value any more.",
        figures.learning_curves(
            {_panel_title(n): panels[n] for n in sorted(panels, key=_panel_order)},
            percent=[_panel_title(name) for name in percent],
            left_out=len(entries) - len(shown),
            x_title=x_title,
        ),
    )


def _read_curves(
    store: ResultStore, entries: Sequence[Entry]
) -> Iterator[tuple[str, Row, dict[str, np.ndarray]]]:
    """Label, row and curves of the entries that have some."""
    for entry in entries:
        row = entry.trial or {}
        try:
            curves = store.read(row["run_id"]).curves
        except UserError:
            continue  # a damaged part: named among the problems by the next reader
        if curves:
            yield entry.label, row, curves


def _epochs(row: Row, curves: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Epochs gone by at each point of a trial's curves; None where not known."""
    if "step" in curves:
        each = row.get("steps_per_epoch")
        return curves["step"] / each if each else None
    # Contrastive runs have a point a draw.
    if row.get("objective"):
        return None
    # A point an epoch, where nothing else is said.
    return np.arange(1.0, max(map(len, curves.values())) + 1)


def _panel_order(name: str) -> tuple[int, str]:
    """Known curves in their order, others by name."""
    return (_PANELS.index(name) if name in _PANELS else len(_PANELS), name)


def _panel_title(name: str) -> str:
    """`val_nll` is Validation NLL."""
    metric = name.removeprefix("val_")
    text = metric_text(metric)
    heading = text.heading if text.meaning else metric.replace("_", " ")
    if metric == name:
        return heading
    return f"Validation {heading if heading.isupper() else heading.lower()}"


# Compiled once a shape: the models of a figure share the dataset, so once a figure.
_bins = jax.jit(reliability_bins)
_curve = jax.jit(risk_coverage_curve)


def _samples(
    store: ResultStore, results: Results, column: str, limit: int
) -> Iterator[tuple[Entry, Row, dict[str, np.ndarray]]]:
    """The best entries with their per-example columns, rows of finite logits only."""
    found = 0
    for entry, row in results.ranked():
        if found == limit:
            return
        try:
            columns = store.examples(row["run_id"], [column, "correct"])
        except UserError:
            continue  # stored without these columns
        finite = np.isfinite(columns[column]) | np.isneginf(columns[column])
        if finite.any():
            found += 1
            yield entry, row, {name: v[finite] for name, v in columns.items()}


def _best(items: Sequence, value: Callable) -> list:
    """Highest value first; items without one last."""

    def order(item):
        number = value(item)
        return -number if is_number(number) else np.inf

    return sorted(items, key=order)


def _left_out(count: int) -> str:
    return f" {count} more models are not shown." if count > 0 else ""
