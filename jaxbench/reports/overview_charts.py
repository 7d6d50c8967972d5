"""Charts of the ordinary report: the models of a folder side by side.

Only the curves of some tens of models are read and drawn, however many there are; each
caption gives the number left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jaxbench.errors import UserError, counted
from jaxbench.reports.metric_texts import METRIC_TEXTS
from jaxbench.reports.page import Bars, Curves, Interval, Numbers, Panels
from jaxbench.reports.tables import shifted_accuracy
from jaxbench.results import ResultStore
from jaxbench.studies.curves import reliability_curve, risk_curve
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    clean_counterpart,
    corruption_of,
    is_number,
    mean,
)
from jaxbench.studies.mistakes import COLUMNS, Answers

# Models whose curves a page has, and how many of them are drawn at first.
MAX_KEPT, MAX_DRAWN = 40, 12
MAX_POINTS = 200
MAX_BARS, MAX_CORRUPTIONS = 15, 20
NUM_SHOWN = 8
# The largest range of error rates that one vertical axis can show.
_SPAN = 5.0
_ORDER = "log_one_minus_confidence"
_PERCENT = frozenset({"x", "y"})
Line = tuple[Numbers, Numbers]


def confidence_curves(
    store: ResultStore, results: Results, answers: Answers
) -> tuple[Curves, ...]:
    """Reliability and risk-coverage curves of the most accurate models.

    Args:
        store: Has the per-example columns.
        results: The models.
        answers: Given those of the same models, so that each part is read once.
    """
    risks: dict[str, Line] = {}
    lines: dict[str, Line] = {}
    bands: dict[str, Line] = {}
    rows: dict[str, Row] = {}
    for entry, row, columns in _read_examples(store, results):
        label = entry.label
        if columns.keys() >= set(COLUMNS):
            answers.add(label, columns)
        confidence, correct = _known(columns, "confidence")
        if correct.size:
            rows[label] = row
            curve = reliability_curve(confidence, correct)
            x, y, low, high = (values.tolist() for values in curve)
            lines[label], bands[label] = (x, y), (low, high)
        order, correct = _known(columns, _ORDER)
        if correct.size:
            risks[label] = _thinned_risk(*risk_curve(-order, correct))
    where = f"on {results.dataset}"
    count = len(results.ranked())
    charts = []
    if lines:
        charts.append(
            Curves(
                "reliability",
                lines,
                "Confidence",
                "Accuracy",
                kind="reliability",
                shown=_extremes(rows),
                bands=bands,
                percent=_PERCENT,
                heading="Reliability",
                caption=f"How often answers of a given confidence are right, {where}, "
                "in 15 equal bins. On the diagonal a model is calibrated, below it "
                "overconfident; bands are Wilson intervals. Drawn at first: the most "
                "accurate model, and those of the smallest and the largest ECE."
                + left_out(count, len(lines)),
            )
        )
    if risks:
        shown, words = _comparable(
            {label: line[1][-1] for label, line in risks.items()}
        )
        charts.append(
            Curves(
                "risk_coverage",
                risks,
                "Coverage",
                "Selective risk (error rate)",
                kind="risk",
                shown=shown,
                percent=_PERCENT,
                heading="Risk and coverage",
                caption=f"Error rate {where} if only the most confident share of the "
                "images is answered. A curve that stays low knows when it is wrong; "
                "its mean height is the AURC. Not drawn: the first few images, among "
                f"which one mistake would decide.{words}" + left_out(count, len(risks)),
            )
        )
    return tuple(charts)


def _read_examples(
    store: ResultStore, results: Results
) -> Iterator[tuple[Entry, Row, dict[str, np.ndarray]]]:
    """The most accurate entries that have per-example columns, and these."""
    found = 0
    for entry, row in results.ranked():
        if found == MAX_KEPT:
            return
        # Some runs are stored without what they answered, or without any columns.
        for names in ((*COLUMNS, _ORDER), ("confidence", "correct", _ORDER)):
            try:
                columns = store.examples(row["run_id"], names)
            except UserError:
                continue
            found += 1
            yield entry, row, columns
            break


def _known(
    columns: Mapping[str, np.ndarray], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """A column and what was correct, without the rows of logits that are not finite."""
    kept = np.isfinite(columns[name]) | np.isneginf(columns[name])
    return columns[name][kept], columns["correct"][kept]


def _thinned_risk(coverage: np.ndarray, risk: np.ndarray) -> Line:
    """At most `MAX_POINTS` points, the last among them.

    Of the first few images one mistake would decide, and set the height of the axis.
    """
    count = len(risk)
    first = min(count // 10, max(20, count // 100))
    places = np.linspace(first, count - 1, min(MAX_POINTS, count - first))
    places = places.round().astype(int)
    return (
        np.asarray(coverage, np.float64)[places].tolist(),
        np.asarray(risk, np.float64)[places].tolist(),
    )


def _extremes(rows: Mapping[str, Row]) -> tuple[str, ...]:
    """The most accurate model, and those of the smallest and the largest ECE."""
    errors = {n: row["ece"] for n, row in rows.items() if is_number(row.get("ece"))}
    names = [next(iter(rows))]
    if errors:
        names += [min(errors, key=errors.__getitem__)]
        names += [max(errors, key=errors.__getitem__)]
    return tuple(dict.fromkeys(names))


def _comparable(errors: Mapping[str, float]) -> tuple[tuple[str, ...], str]:
    """The most models whose curves one axis can show, and a sentence on the others.

    A model that is never wrong lies on the axis, and one that always is makes all
    others do so.
    """
    ordered = sorted((error, name) for name, error in errors.items() if error > 0)
    groups = [
        [name for error, name in ordered[i:] if error <= _SPAN * least]
        for i, (least, _) in enumerate(ordered)
    ]
    chosen = max(groups, key=len, default=[])
    if len(chosen) < min(2, len(errors)):
        chosen = list(errors)
    chosen = chosen[:MAX_DRAWN]
    if hidden := len(errors) - len(chosen):
        return tuple(chosen), (
            f" Drawn at first: {counted(len(chosen), 'model')} of similar error rates; "
            f"{hidden} more can be chosen."
        )
    return tuple(chosen), ""


def severity_panels(results: Results) -> Panels | None:
    """Accuracy by severity, a panel a corruption."""
    entries = [e for e in results.entries if any(map(corruption_of, e.shifted))]
    entries = best_first(entries, lambda e: mean(shifted_accuracy(e).values()))
    panels: dict[str, dict[str, Line]] = {}
    for entry in entries[:MAX_KEPT]:
        for name, line in _severities(entry, results.dataset):
            panels.setdefault(name, {})[entry.label] = line
    if not panels:
        return None
    shown = dict(sorted(panels.items())[:MAX_CORRUPTIONS])
    hidden = len(panels) - len(shown)
    return Panels(
        "corruption_severity",
        {
            name.replace("_", " "): panel_of(
                f"corruption_severity_{number}",
                lines,
                ("Severity", "Accuracy"),
                percent=True,
            )
            for number, (name, lines) in enumerate(shown.items())
        },
        heading="Corruption and severity",
        caption="Accuracy as each corruption grows from severity 1 to 5; 0 is the "
        "clean dataset."
        + (f" {hidden} more corruptions are in the table." if hidden else "")
        + left_out(len(entries), min(len(entries), MAX_KEPT)),
    )


def _severities(entry: Entry, default: str | None) -> Iterator[tuple[str, Line]]:
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
        severities = sorted(by_severity)
        yield name, (severities, [by_severity[s] for s in severities])


def detection_bars(results: Results) -> Bars | None:
    """AUROC of out-of-distribution detection, a group of bars a model."""
    names = [name for name in METRIC_TEXTS if name.startswith("ood_auroc_")]
    datasets = sorted({dataset for e in results.entries for dataset in e.ood})
    bars = [
        (entry.label if len(datasets) == 1 else f"{entry.label}, {dataset}", row)
        for entry in results.entries
        for dataset, row in entry.ood.items()
        if any(is_number(row.get(name)) for name in names)
    ]
    if not bars:
        return None
    bars = best_first(bars, lambda bar: mean(bar[1].get(n) for n in names))
    shown = bars[:MAX_BARS]
    series = {
        name.removeprefix("ood_auroc_").replace("_", " "): tuple(
            interval_of(row, name) for _, row in shown
        )
        for name in names
        if any(is_number(row.get(name)) for _, row in shown)
    }
    return Bars(
        "out_of_distribution",
        tuple(label for label, _ in shown),
        series,
        "AUROC",
        percent=True,
        reference=0.5,
        heading="Out-of-distribution detection",
        caption="Chance that an image of the known classes scores above one of "
        f"{', '.join(datasets)}, by each score. Dashed: 50%, a coin."
        + (
            f" The best {len(shown)} of {len(bars)}; the table has more."
            if len(bars) > len(shown)
            else ""
        ),
    )


def interval_of(row: Row, name: str) -> Interval | None:
    """A metric of a row with the ends of its interval; None where it is missing."""
    value, low, high = (row.get(name + end) for end in ("", "_low", "_high"))
    if not is_number(value):
        return None
    return (
        (value, low, high)
        if is_number(low) and is_number(high)
        else (value, None, None)
    )


def panel_of(
    name: str, lines: Mapping[str, Line], titles: tuple[str, str], *, percent: bool
) -> Curves:
    """Curves of one panel, of which the first few are shown."""
    return Curves(
        name,
        lines,
        *titles,
        shown=tuple(lines)[:NUM_SHOWN],
        percent=frozenset({"y"}) if percent else frozenset(),
    )


def best_first(items: Sequence, value: Callable) -> list:
    """Highest value first; items without one last."""

    def order(item):
        number = value(item)
        return -number if is_number(number) else np.inf

    return sorted(items, key=order)


def left_out(count: int, kept: int) -> str:
    """What a caption says of the models without a curve."""
    if count <= kept:
        return ""
    return (
        f" {counted(count - kept, 'more model')} of {count:,} left out: the curves of "
        "every run are in the store, read by jaxbench results FOLDER --sql."
    )
