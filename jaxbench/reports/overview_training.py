"""Learning curves of the ordinary report."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxbench.errors import UserError
from jaxbench.reports.metric_texts import MetricText, metric_text
from jaxbench.reports.overview_charts import (
    MAX_KEPT,
    MAX_POINTS,
    NUM_SHOWN,
    Line,
    best_first,
    left_out,
    panel_of,
)
from jaxbench.reports.page import Panels
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Entry, Results, Row, diverged

# Curves that say where the points of the others are.
_AXES = ("step", "seconds")
_PANELS = ("train_loss", "val_accuracy", "val_nll", "val_ece", "val_aurc")


def learning_panels(store: ResultStore, results: Results) -> Panels | None:
    """Curves over training, a panel a quantity."""
    entries = [entry for entry in results.entries if entry.trial]
    entries = best_first(entries, lambda e: (e.trial or {}).get("val_accuracy"))
    lost = [entry for entry in entries if diverged(entry.origin)]
    kept = [entry for entry in entries if not diverged(entry.origin)]
    # One of the places at first is for a trial that diverged: its curve shows when.
    first = kept[: NUM_SHOWN - bool(lost)] + lost[:1]
    order = [*first, *(e for e in (*kept, *lost) if e not in first)]
    read = list(_read_curves(store, order[:MAX_KEPT]))
    in_draws = all(row.get("objective") for _, row, _ in read)
    in_epochs = all(_epochs(row, curves) is not None for _, row, curves in read)
    panels: dict[str, dict[str, Line]] = {}
    for label, row, curves in read:
        x = _epochs(row, curves) if in_epochs else curves.get("step")
        if in_draws:
            x = np.arange(1.0, max(map(len, curves.values())) + 1)
        if x is None:
            continue  # says neither its steps nor its epochs
        for name in set(curves) - set(_AXES):
            y = curves[name] * _text(name).scale
            panels.setdefault(name, {})[label] = _thinned(x, y)
    if not panels:
        return None
    x_title = "Draw" if in_draws else "Epoch" if in_epochs else "Step"
    return Panels(
        "learning_curves",
        {
            _panel_title(name): panel_of(
                f"learning_curves_{number}",
                panels[name],
                (x_title, _panel_title(name)),
                percent=name.endswith(("accuracy", "_ece")),
            )
            for number, name in enumerate(sorted(panels, key=_panel_order))
        },
        heading="Learning curves",
        caption="The best trial of each backbone, optimizer and training, those of the "
        f"highest validation accuracy first, by {x_title.lower()}. A line that stops "
        "has no finite value any more." + left_out(len(entries), len(read)),
    )


def _thinned(x: np.ndarray, y: np.ndarray) -> Line:
    """At most `MAX_POINTS` points, the ends among them."""
    places = np.linspace(0, len(y) - 1, min(MAX_POINTS, len(y))).round().astype(int)
    return (
        np.asarray(x, np.float64)[places].tolist(),
        np.asarray(y, np.float64)[places].tolist(),
    )


def _read_curves(
    store: ResultStore, entries: Sequence[Entry]
) -> Iterator[tuple[str, Row, dict[str, np.ndarray]]]:
    """Label, row and curves of the entries that have some."""
    for entry in entries:
        row = entry.trial or {}
        try:
            curves = store.curves(row["run_id"])
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
    """`val_nll` is Validation NLL; areas say their unit."""
    text = _text(name)
    known = text.heading if text.meaning else name.removeprefix("val_")
    heading = known.replace("_", " ") + ("" if text.percent else text.unit)
    if not name.startswith("val_"):
        return f"{heading[:1].upper()}{heading[1:]}"
    return f"Validation {heading if known.isupper() else heading.lower()}"


def _text(name: str) -> MetricText:
    return metric_text(name.removeprefix("val_"))
