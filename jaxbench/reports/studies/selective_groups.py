"""The selective study's sections about many models: correlations, scaling, regimes."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxbench.reports.metric_texts import metric_text
from jaxbench.reports.page import HeatMap, Section
from jaxbench.reports.studies import selective_tables as tables
from jaxbench.studies import (
    PLAIN,
    Change,
    Correlation,
    group_medians,
    median_change,
    regime_changes,
)
from jaxbench.studies.entries import is_number
from jaxbench.studies.models import Model
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.selective import MIN_MODELS, rank_correlations

# What a temperature may change.
_SCALED = (
    *("auroc", "aurc", "ece", "nll", "brier"),
    *("coverage_at_99_accuracy", "coverage_at_95_accuracy"),
)


class Correlations(NamedTuple):
    """What comparing rankings gave.

    Attributes:
        sections: Of the page.
        overall: Pair of metrics to its correlation over all models.
        notes: What was left out, and why.
    """

    sections: list[Section]
    overall: dict[tuple[str, str], Correlation]
    notes: list[str]


class Scaling(NamedTuple):
    """What temperature scaling changes over the models.

    Attributes:
        sections: Of the page.
        changes: Metric to change.
        notes: What was left out, and why.
    """

    sections: list[Section]
    changes: dict[str, Change]
    notes: list[str]


def correlation_section(
    models: Sequence[Model], resampling: Resampling
) -> Correlations:
    """Spearman's correlations over all models, and within families and regimes."""
    found = rank_correlations(models, resampling)
    if not found:
        note = f"Correlations need {MIN_MODELS} models; there are {len(models)}."
        return Correlations([], {}, [note])
    section = Section(
        "correlations",
        "Do metrics rank models alike?",
        "Spearman's rank correlation, with bootstrap intervals over models; "
        "-1 for a metric of which less is better means agreement. Models of one family "
        "are not independent: intervals over all are rather too narrow. Groups of "
        f"fewer than {MIN_MODELS} models are left out.",
        table=tables.correlation_table(found),
        charts=(_correlation_map(found),),
    )
    overall = {(row.x, row.y): row for kind, row in found if not kind}
    return Correlations([section], overall, [])


def scaling_sections(models: Sequence[Model]) -> Scaling:
    """What the fitted temperature changes, over the models and model by model."""
    known = {
        name
        for name in _SCALED
        if any(is_number(model.clean.get(f"{name}_ts")) for model in models)
    }
    names = [name for name in _SCALED if name in known]
    if not names:
        return Scaling([], {}, ["No temperature was fitted: give `calibration`."])
    zero = [0.0] * len(models)
    changes = {
        name: median_change(
            zero,
            [tables.scaling_of(model, name) for model in models],
            higher_is_better=metric_text(name).direction == "↑",
        )
        for name in names
    }
    sections = [
        Section(
            "scaling",
            "What temperature scaling changes",
            "After less before, over the models: the median with a distribution-free "
            "interval, and how many got better. One temperature changes no decision, "
            "but the order of images by confidence.",
            table=tables.change_table({("", n): c for n, c in changes.items()}, ""),
        ),
        Section(
            "scaling-models",
            "Temperature scaling, model by model",
            "After less before; points where the metric is in percent.",
            table=tables.scaling_table(models, names),
        ),
    ]
    return Scaling(sections, changes, [])


def group_sections(models: Sequence[Model], names: Sequence[str]) -> list[Section]:
    """Medians by regime and by family, and regimes at equal architecture."""
    values = {model.label: model.clean for model in models}
    regimes = {model.label: model.regime for model in models}
    families = {model.label: model.family for model in models}
    sections = [
        Section(
            "regimes",
            "By training regime",
            "Medians over the models of each regime. Regimes were applied to different "
            "architectures: the table after the next compares them at equal ones.",
            table=tables.median_table(
                group_medians(values, regimes, names), names, "Regime"
            ),
        ),
        Section(
            "families",
            "By family",
            "Medians over the models of each family.",
            table=tables.median_table(
                group_medians(values, families, names), names, "Family"
            ),
        ),
    ]
    metrics = {
        name: metric_text(name).direction == "↑"
        for name in tables.all_metrics(models)
        if name.removesuffix("_ts") in ("accuracy", "auroc", "aurc", "ece")
    }
    architectures = {model.label: model.architecture for model in models}
    changes = regime_changes(values, architectures, regimes, metrics, base=PLAIN)
    flat = {
        (regime, name): found
        for regime, by_metric in changes.items()
        for name, found in by_metric.items()
        if found.num_pairs
    }
    if flat:
        sections.append(
            Section(
                "regime-changes",
                "Regimes at equal architecture",
                "A pair is an architecture that was trained in the regime and plainly "
                "too (medians where there are several); regime less plain.",
                table=tables.change_table(flat, "Regime"),
            )
        )
    return sections


def _correlation_map(found: Sequence[tuple[str, Correlation]]) -> HeatMap:
    rows = dict.fromkeys(_group_name(kind, row.group) for kind, row in found)
    pairs = dict.fromkeys((row.x, row.y) for _, row in found)
    cells = {(_group_name(kind, r.group), (r.x, r.y)): r.value for kind, r in found}
    return HeatMap(
        "correlations",
        tuple(rows),
        tuple(f"{metric_text(x).heading}, {metric_text(y).heading}" for x, y in pairs),
        tuple(tuple(_known(cells.get((row, pair))) for pair in pairs) for row in rows),
        "Spearman",
        diverging=True,
    )


def _group_name(kind: str, group: str) -> str:
    return f"{kind} {group}" if kind else group


def _known(value: float | None) -> float | None:
    return value if is_number(value) else None
