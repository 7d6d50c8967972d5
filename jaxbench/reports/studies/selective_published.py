"""Selective prediction: the released classifiers, and your own beside them."""

import math
from collections.abc import Sequence

from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.page import Interval, Point, Scatter, Section
from jaxbench.reports.studies.beside import Beside, beside_section
from jaxbench.reports.studies.selective_tables import median_table
from jaxbench.studies import UNKNOWN, group_medians, model_family, training_regime
from jaxbench.studies.entries import Row, is_number
from jaxbench.studies.models import Model
from jaxbench.studies.published.selective import (
    PublishedClassifier,
    load_published_classifiers,
)

# The images of the released numbers, all 50,000 of them.
_DATASET = "imagenet"
# What was released, by the names of own metrics.
_METRICS = {
    "accuracy": "accuracy",
    "auroc": "auroc",
    "mean_confidence": "confidence",
    "overconfidence": "gap",
}
_SOURCE = (
    "Published: released with arXiv 2302.11893 by the authors of arXiv 2302.11874 "
    "(mdabbah/COOD_benchmarking), on all 50,000 images, by the largest probability "
    "before temperature scaling. Weights of a name may have changed since 2022."
)


def published_sections(models: Sequence[Model], dataset: str) -> list[Section]:
    """Own classifiers beside their released numbers, and all that were released.

    Args:
        models: Those of the page.
        dataset: Address that they were evaluated on.

    Returns:
        Nothing, if that is not ImageNet's validation images.
    """
    if dataset != _DATASET:
        return []
    released = load_published_classifiers()
    # CLIP's encoders under a linear head are not the weights of that name.
    known = {row.model: row for row in released if not math.isnan(row.confidence)}
    rows = [
        Beside(
            model.label,
            known[model.checkpoint].released,
            metric_text(name).heading,
            interval_of(model.clean, name),
            getattr(known[model.checkpoint], field),
            metric_text(name).percent,
        )
        for model in models
        if model.checkpoint in known
        for name, field in _METRICS.items()
        if is_number(model.clean.get(name))
    ]
    beside = [beside_section(rows, _SOURCE)] if rows else []
    return [*beside, _released_section(models, released)]


def _released_section(
    models: Sequence[Model], released: Sequence[PublishedClassifier]
) -> Section:
    values = {row.released: _values(row) for row in released}
    regimes = {
        row.released: training_regime(row.model) if row.model else UNKNOWN
        for row in released
    }
    points = [
        Point(
            row.released,
            {name: (value, None, None) for name, value in values[row.released].items()},
            {"source": "published", "regime": regimes[row.released]}
            | {"family": model_family(row.model)},
        )
        for row in released
    ]
    points += [
        Point(
            f"{model.label} (own)",
            {
                name: interval_of(model.clean, name)
                for name in _METRICS
                if is_number(model.clean.get(name))
            },
            {"source": "own", "regime": model.regime, "family": model.family},
        )
        for model in models
    ]
    return Section(
        "published-classifiers",
        f"The {len(released)} released classifiers",
        f"{_SOURCE} Medians by training regime; overconfidence is mean confidence less "
        "accuracy. Left out of the confidences: CLIP under a linear head, whose "
        "released logits were not scaled.",
        median_table(
            group_medians(values, regimes, list(_METRICS)), list(_METRICS), "Regime"
        ),
        charts=(
            Scatter(
                "published-confidence",
                tuple(points),
                x="accuracy",
                y="overconfidence",
                group="source",
            ),
        ),
    )


def _values(row: PublishedClassifier) -> dict[str, float]:
    found = {name: getattr(row, field) for name, field in _METRICS.items()}
    return {name: value for name, value in found.items() if is_number(value)}


def interval_of(row: Row, name: str) -> Interval:
    """A metric of a row; without ends where it has no interval."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if is_number(low) and is_number(high):
        return row[name], low, high
    return row[name], None, None
