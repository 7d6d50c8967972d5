"""The selective study's tables of numbers over models."""

import math
from collections.abc import Mapping, Sequence

from jaxbench.reports.cells import (
    MISSING,
    Cell,
    Column,
    Table,
    decimal_cell,
    format_interval,
    format_numbers,
    interval_cell,
    metric_cell,
    metric_column,
    metric_heading,
    text_cell,
)
from jaxbench.reports.metric_texts import METRIC_TEXTS, metric_text
from jaxbench.studies import Change, Correlation, Effect
from jaxbench.studies.entries import is_number
from jaxbench.studies.models import Model

_NAMED = (
    Column("Model"),
    Column("Rank", numeric=True, help="1 is the best; equal values share the mean"),
    Column("Regime", help="how it was trained, by its tag"),
    Column("Family"),
)
_DECISIONS = ("accuracy", "top_5_accuracy", "balanced_accuracy")


def metric_names(models: Sequence[Model], names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that a model has a number for, each followed by its `_ts`.

    One temperature changes no decision, so nothing about decisions is repeated.
    """
    both = [
        name + suffix
        for name in names
        for suffix in (("",) if name in _DECISIONS else ("", "_ts"))
    ]
    return tuple(n for n in both if any(is_number(m.clean.get(n)) for m in models))


def all_metrics(models: Sequence[Model]) -> tuple[str, ...]:
    """Every metric of images of known classes, each followed by its `_ts`."""
    return metric_names(
        models, tuple(name for name in METRIC_TEXTS if not name.startswith("ood_"))
    )


def model_table(
    models: Sequence[Model], metrics: Sequence[str], ranks: Mapping[str, float]
) -> Table:
    """One row a model, in the order of the ranks; metrics with intervals."""
    known = [model for model in models if model.label in ranks]
    known.sort(key=lambda model: (ranks[model.label], model.label))
    known += [model for model in models if model.label not in ranks]
    rows = []
    for model in known:
        rank = ranks.get(model.label)
        rows.append(
            (
                text_cell(model.label),
                Cell(MISSING) if rank is None else Cell(f"{rank:g}", rank),
                text_cell(model.regime),
                text_cell(model.family),
                *(metric_cell(model.clean, name) for name in metrics),
                _optional(model.clean.get("temperature")),
            )
        )
    temperature = Column("T*", numeric=True, help="fitted temperature")
    columns = (*_NAMED, *map(metric_column, metrics), temperature)
    return Table(columns, tuple(rows))


def scaling_table(models: Sequence[Model], metrics: Sequence[str]) -> Table:
    """What the temperature changes, model by model: after less before."""
    columns = [
        Column(
            f"Δ {metric_heading(name)}",
            numeric=True,
            help="after less before",
            name=f"delta_{name}",
        )
        for name in metrics
    ]
    rows = tuple(
        (
            text_cell(model.label),
            text_cell(model.regime),
            _optional(model.clean.get("temperature")),
            *(difference_cell(scaling_of(model, name), name) for name in metrics),
        )
        for model in models
    )
    named = (Column("Model"), Column("Regime"), Column("T*", numeric=True))
    return Table((*named, *columns), rows)


def scaling_of(model: Model, metric: str) -> float:
    """A metric after temperature scaling less the one before; NaN without both."""
    before, after = model.clean.get(metric), model.clean.get(f"{metric}_ts")
    if not (is_number(before) and is_number(after)):
        return math.nan
    return after - before


def change_table(changes: Mapping[tuple[str, str], Change], heading: str) -> Table:
    """One row for each (group, metric): median change, its interval, who got better."""
    columns = (
        *([Column(heading)] if heading else []),
        Column("Metric"),
        Column("Pairs", numeric=True),
        Column(
            "Median change", numeric=True, help="interval by inverting the sign test"
        ),
        Column(
            "Better", numeric=True, help="pairs that got better, of those that moved"
        ),
        Column("Share better %", numeric=True, help="with its Wilson interval"),
        Column("p", numeric=True, help="exact two-sided sign test"),
    )
    rows = []
    for (group, metric), found in changes.items():
        moved = found.num_better + found.num_worse
        share = found.num_better / moved if moved else None
        rows.append(
            (
                *([text_cell(group)] if heading else []),
                _metric_name(metric),
                text_cell(found.num_pairs),
                _ends_cell(change_text(found, metric), found.median, found),
                Cell(f"{found.num_better} of {moved}", found.num_better),
                interval_cell(share, found.share_low, found.share_high, percent=True),
                Cell(p_text(found.p_value), _finite(found.p_value)),
            )
        )
    return Table(columns, tuple(rows))


def correlation_table(found: Sequence[tuple[str, Correlation]]) -> Table:
    """One row for each pair of metrics and group; `found` has kind of group first."""
    columns = (
        Column("Metric"),
        Column("With"),
        Column("Grouping"),
        Column("Group"),
        Column("Models", numeric=True),
        Column("Spearman", numeric=True, help="bootstrap interval over models"),
    )
    rows = tuple(
        (
            text_cell(metric_text(row.x).heading),
            text_cell(metric_text(row.y).heading),
            text_cell(kind),
            text_cell(row.group),
            text_cell(row.num_models),
            interval_cell(row.value, row.low, row.high),
        )
        for kind, row in found
    )
    return Table(columns, rows)


def median_table(
    medians: Mapping[str, tuple[int, Mapping[str, float]]],
    metrics: Sequence[str],
    heading: str,
) -> Table:
    """Medians of each group."""
    columns = (Column(heading), Column("Models", numeric=True))
    rows = []
    for group, (count, values) in medians.items():
        cells = (metric_cell(dict(values), name) for name in metrics)
        cells = (c if c.value is not None else Cell(MISSING) for c in cells)
        rows.append((text_cell(group), text_cell(count), *cells))
    return Table((*columns, *map(metric_column, metrics)), tuple(rows))


def effect_table(
    effects: Sequence[tuple[tuple[str, ...], Effect]],
    headings: Sequence[str],
    sides: tuple[str, str],
) -> Table:
    """One row for each effect: both sides, their difference, its interval."""
    columns = (
        *(Column(heading) for heading in headings),
        Column("Metric"),
        Column(sides[0], numeric=True),
        Column(sides[1], numeric=True),
        Column("Difference", numeric=True, help="first less second, 95 % interval"),
        Column("Better", numeric=True, help="pairs in which the first is better"),
        Column("Images", numeric=True),
    )
    rows = []
    for names, effect in effects:
        rows.append(
            (
                *map(text_cell, names),
                _metric_name(effect.metric),
                value_cell(effect.with_it, effect.metric),
                value_cell(effect.without, effect.metric),
                _ends_cell(effect_text(effect), effect.difference, effect),
                Cell(f"{effect.num_better} of {effect.num_pairs}", effect.num_better),
                text_cell(effect.num_images),
            )
        )
    return Table(columns, tuple(rows))


def effect_text(effect: Effect) -> str:
    """`+2.1 [+0.5, +3.7]`, in points where the metric is in percent."""
    ends = (effect.difference, effect.low, effect.high)
    return _signed(ends, effect.metric)


def _ends_cell(text: str, value: float, found: Effect | Change) -> Cell:
    return Cell(text, _finite(value), _finite(found.low), _finite(found.high))


def change_text(found: Change, metric: str) -> str:
    """`+2.1 [+0.5, +3.7]`; the median alone where there are too few pairs."""
    return _signed((found.median, found.low, found.high), metric)


def correlation_text(row: Correlation) -> str:
    """`0.03 [-0.06, 0.12]`."""
    return format_interval(row.value, row.low, row.high)


def p_text(p_value: float) -> str:
    """A p-value to two significant digits; small ones as a bound."""
    if not math.isfinite(p_value):
        return MISSING
    return "<0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def value_cell(value: float, metric: str) -> Cell:
    """A metric without an interval."""
    return metric_cell({metric: value}, metric) if is_number(value) else Cell(MISSING)


def difference_cell(value: float, metric: str) -> Cell:
    """A signed difference, in points where the metric is in percent."""
    return Cell(_signed((value,), metric), _finite(value))


def _signed(values: Sequence[float], metric: str) -> str:
    """The first with a sign, the others behind it in brackets, where finite."""
    if not math.isfinite(values[0]):
        return MISSING
    text = metric_text(metric)
    scale = 100 if text.percent else text.scale
    scaled = [scale * value for value in values if math.isfinite(value)]
    shown = format_numbers(scaled, 2, "+")
    ends = f" [{', '.join(shown[1:])}]" if len(shown) == len(values) > 1 else ""
    return f"{shown[0]}{ends}"


def _metric_name(metric: str) -> Cell:
    """A metric with its unit, which files lack: their numbers are unscaled."""
    return Cell(metric_heading(metric), metric_text(metric).heading)


def _optional(value: float | None) -> Cell:
    return Cell(MISSING) if not is_number(value) else decimal_cell(value, 3)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
