"""The selective study's curves: risk and coverage, reliability, class-OOD severity."""

from collections.abc import Sequence

import numpy as np

from jaxbench.errors import UserError
from jaxbench.reports.cells import MISSING, Cell, Column, Table, percent_cell, text_cell
from jaxbench.reports.page import Curves, Section
from jaxbench.results import ResultStore
from jaxbench.studies.curves import reliability_curve, risk_curve
from jaxbench.studies.models import Model
from jaxbench.studies.selective_severity import (
    SeverityCurve,
    SeverityOptions,
    classes_by_id,
    model_severity,
)

_ORDER = "log_one_minus_confidence"
_CURVE_COLUMNS = ("correct", "confidence", "confidence_ts", _ORDER, f"{_ORDER}_ts")
# Points of a curve on a page.
_MAX_POINTS = 200
_SCALED = " (T*)"


def curve_sections(
    store: ResultStore, models: Sequence[Model]
) -> tuple[list[Section], list[str]]:
    """Risk-coverage and reliability curves, before and after temperature scaling.

    Returns:
        The sections, and notes on what is missing.
    """
    risks: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    bins: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    bands: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    missing = []
    for model in models:
        held = store.example_names(model.clean["run_id"])
        if _ORDER not in held:
            missing.append(model.label)
            continue
        names = [name for name in _CURVE_COLUMNS if name in held]
        columns = store.examples(model.clean["run_id"], names)
        for suffix, words in (("", ""), ("_ts", _SCALED)):
            if _ORDER + suffix in columns:
                label = model.label + words
                risks[label] = _risk(columns, suffix)
                curve = reliability_curve(
                    columns["confidence" + suffix], columns["correct"]
                )
                bins[label], bands[label] = curve.line, curve.band
    notes = []
    if missing:
        notes.append(f"No per-image scores, so no curves: {', '.join(missing)}.")
    if not risks:
        return [], notes
    shown = tuple(label for label in risks if not label.endswith(_SCALED))
    return [
        Section(
            "coverage",
            "Risk and coverage",
            "Error rate if only the most confident share of the images is answered. "
            "A curve that stays low knows when it is wrong; its mean height is the "
            f"AURC.{_scaled_words(risks, shown)}",
            charts=(
                Curves(
                    "risk-coverage",
                    risks,
                    "Coverage",
                    "Error rate",
                    kind="risk",
                    shown=shown,
                    percent=frozenset({"x", "y"}),
                ),
            ),
        ),
        Section(
            "reliability",
            "Reliability",
            "How often answers of a given confidence are right, in 15 equal bins; "
            "bands are Wilson intervals. On the diagonal a model is calibrated, below "
            f"it overconfident.{_scaled_words(risks, shown)}",
            charts=(
                Curves(
                    "reliability",
                    bins,
                    "Confidence",
                    "Accuracy",
                    kind="reliability",
                    shown=shown,
                    bands=bands,
                    percent=frozenset({"x", "y"}),
                ),
            ),
        ),
    ], notes


def severity_sections(
    store: ResultStore,
    models: Sequence[Model],
    shown: Sequence[Model],
    options: SeverityOptions,
) -> tuple[list[Section], list[str]]:
    """AUROC against classes of rising severity, one section a dataset.

    Rows do not hold the classes: they are read from the datasets, by the ids.

    Returns:
        The sections, and notes on what could not be shown.
    """
    sections, notes = [], []
    addresses = dict.fromkeys(address for model in models for address in model.ood)
    for number, address in enumerate(addresses):
        try:
            classes = classes_by_id(address)
            curves = {
                model.label: model_severity(store, model, address, classes, options)
                for model in models
                if address in model.ood
            }
        except UserError as error:
            notes.append(f"No severity curves on {address}: {error}.")
            continue
        absent = len(models) - len(curves)
        if absent:
            notes.append(f"{absent} models have no numbers on {address}.")
        suffix = f"-{number + 1}" if number else ""
        sections.append(_severity_section(address, suffix, curves, shown))
    return sections, notes


def _risk(columns, suffix: str) -> tuple[list[float], list[float]]:
    coverage, risk = risk_curve(-columns[_ORDER + suffix], columns["correct"])
    places = np.unique(np.linspace(0, len(risk) - 1, _MAX_POINTS).round().astype(int))
    return coverage[places].tolist(), risk[places].tolist()


def _scaled_words(labels, shown: Sequence[str]) -> str:
    if len(labels) == len(shown):
        return ""
    return " Choose the curves marked T* to see what temperature scaling changes."


def _severity_section(
    address: str, suffix: str, curves: dict[str, SeverityCurve], shown: Sequence[Model]
) -> Section:
    first = next(iter(curves.values()))
    levels = len(first.auroc)
    labels = tuple(f"{100 * level / (levels - 1):.0f} %" for level in range(levels))
    places = list(range(levels))
    left_out = (
        f" {first.num_left_out} classes with a single image are left out."
        if first.num_left_out
        else ""
    )
    chart = Curves(
        f"severity{suffix}",
        {label: (places, curve.auroc.tolist()) for label, curve in curves.items()},
        "Percentile of severity",
        "AUROC",
        shown=tuple(model.label for model in shown if model.label in curves),
        percent=frozenset({"y"}),
        x_labels=labels,
    )
    columns = (Column("Model"), *(Column(text, numeric=True) for text in labels))
    rows = []
    for label, curve in curves.items():
        cells = (
            percent_cell(value) if np.isfinite(value) else Cell(MISSING)
            for value in curve.auroc.tolist()
        )
        rows.append((text_cell(label), *cells))
    return Section(
        f"severity{suffix}",
        f"Out-of-distribution classes at rising severity: {address}",
        f"AUROC in percent, in-distribution against those of {first.group_size} of "
        f"{first.num_classes} other classes, by the largest probability. Each model "
        "ranks the classes by its own mean confidence on three quarters of their "
        "images, from the easiest for it to the hardest, and is measured on the other "
        f"quarter (arXiv 2302.11893).{left_out}",
        table=Table(columns, tuple(rows)),
        charts=(chart,),
    )
