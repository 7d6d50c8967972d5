"""Figures of a report: pure functions of plain values, each returns a new figure.

Values are fractions, shown in percent. None of them knows of a store, a run or a file.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxbench.reports.scatter_legend import (
    group_colour,
    marker_look,
    scatter_legend,
)
from jaxbench.reports.style import (
    CARD,
    GRID,
    INK,
    MUTED,
    PALETTE,
    grid_of_axes,
    label_inches,
    label_text,
    legend_below,
    line_style,
    new_figure,
    show_nothing,
    styled,
)

_MAX_POINTS = 200
_NOTHING = "nothing to show"


class Reliability(NamedTuple):
    """One model's reliability diagram; see `metrics.reliability_bins`."""

    label: str
    counts: Integer[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    ece: float


class Curve(NamedTuple):
    """A labelled line; NaN leaves a gap."""

    label: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


class Point(NamedTuple):
    """A labelled point: the colour tells the group, the marker the kind."""

    group: str
    kind: str
    x: float
    y: float


@styled
def reliability_diagrams(panels: Sequence[Reliability]) -> Figure:
    """Accuracy in each bin of confidence, over the histogram of the confidences.

    A calibrated model's bars end on the diagonal. Guo et al. (2017), figure 1.
    """
    figure, axes = grid_of_axes(max(1, len(panels)))
    for axis, panel in zip(axes, panels, strict=False):
        edges = np.linspace(0, 1, len(panel.counts) + 1)
        width, left = edges[1], edges[:-1]
        filled = panel.counts > 0
        accuracy = np.where(filled, panel.accuracy, 0.0)
        confidence = np.where(filled, panel.confidence, 0.0)
        share = panel.counts / max(1, panel.counts.sum())
        bars = {"width": width, "align": "edge", "linewidth": 0.6}
        axis.bar(left, accuracy, color=PALETTE[0], edgecolor=CARD, **bars)
        gap = np.abs(accuracy - confidence)
        lowest = np.minimum(accuracy, confidence)
        axis.bar(
            left,
            gap,
            bottom=lowest,
            facecolor="none",
            edgecolor=PALETTE[1],
            hatch="////",
            **bars,
        )
        whiskers = np.stack([accuracy - panel.low, panel.high - accuracy])[:, filled]
        axis.errorbar(
            (left + width / 2)[filled],
            accuracy[filled],
            # Rounding may put an end a hair inside.
            yerr=np.maximum(whiskers, 0.0),
            fmt="none",
            ecolor=INK,
            elinewidth=0.8,
        )
        axis.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
        axis.step(edges, np.r_[share, share[-1]], where="post", color=INK, linewidth=1)
        axis.set_title(label_text(panel.label), fontsize=9)
        note = f"ECE {100 * panel.ece:.1f}%"
        box = {"facecolor": CARD, "edgecolor": GRID, "boxstyle": "round,pad=0.3"}
        axis.text(0.05, 0.9, note, fontsize=9, bbox=box)
        _percent(axis, x=True)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="Confidence", ylabel="Accuracy")
        axis.label_outer()
    if not panels:
        show_nothing(axes[0], _NOTHING)
        return figure
    figure.legend(
        handles=[
            Patch(color=PALETTE[0], label="accuracy"),
            Patch(facecolor="none", edgecolor=PALETTE[1], hatch="////", label="gap"),
            Line2D([], [], color=INK, linewidth=1, label="share of images"),
            Line2D([], [], color=INK, marker="|", ls="", label="95 % interval"),
        ],
        loc="outside lower center",
        ncols=4,
    )
    return figure


@styled
def risk_coverage(curves: Sequence[Curve], *, left_out: int = 0) -> Figure:
    """Error rate among the answered images, by the share of images answered.

    Args:
        curves: x is the coverage, y the selective risk, both in [0, 1].
        left_out: How many models are not shown, for the legend.
    """
    figure, (axis,) = grid_of_axes(1)
    for index, curve in enumerate(curves):
        kept = _thinned(curve)
        axis.plot(kept.x, kept.y, label=label_text(kept.label), **line_style(index))
    _percent(axis, x=True)
    axis.set(xlim=(0, 1), xlabel="Coverage", ylabel="Selective risk (error rate)")
    axis.set_ylim(bottom=0)
    _finish(figure, [axis], curves, left_out)
    return figure


@styled
def heat_map(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    marks: Mapping[tuple[int, int], str] | None = None,
    row_title: str = "Backbone",
    column_title: str = "Optimizer",
    value_title: str = "Accuracy",
) -> Figure:
    """A number for every pair, written in its cell and coloured by it.

    Args:
        values: Fractions; NaN where a pair has none.
        rows: Names of the rows.
        columns: Names of the columns.
        marks: Words for cells, such as "failed", in place of or under the number.
        row_title: Title of the rows.
        column_title: Title of the columns.
        value_title: Title of the colour bar.
    """
    marks = marks or {}
    height, width = values.shape
    each = 0.72 if width <= 12 else 0.56
    # The figure has room for short names as it is.
    beside, below = (max(0.0, label_inches(n) - 1.2) for n in (rows, columns))
    tall = max([0.42, *(0.16 * (1 + label_text(n).count("\n")) for n in rows)])
    figure = new_figure(
        2.6 + each * max(2, width) + beside, 1.7 + tall * max(2, height) + below
    )
    axis = figure.subplots()
    if not height or not width:
        show_nothing(axis, _NOTHING)
        return figure
    shades = mpl.colormaps["viridis"]
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    norm = Normalize(low, high if high > low else low + 1e-3)
    shown = np.ma.masked_invalid(values)
    mesh = axis.pcolormesh(shown, cmap=shades, norm=norm, edgecolors=CARD, linewidth=1)
    for (row, column), value in np.ndenumerate(values):
        word = marks.get((row, column), "")
        number = f"{100 * value:.1f}" if np.isfinite(value) else ""
        red, green, blue, _ = shades(norm(value)) if number else (1, 1, 1, 1)
        pale = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        colour = MUTED if not number else "#111111" if pale else "#fafafa"
        text = "\n".join(filter(None, (number, word))) or "-"
        size = 7.5 if word else 9
        place = (column + 0.5, row + 0.5)
        axis.text(*place, text, ha="center", va="center", color=colour, fontsize=size)
    axis.set_xticks(np.arange(width) + 0.5, [label_text(name) for name in columns])
    axis.set_yticks(np.arange(height) + 0.5, [label_text(name) for name in rows])
    if width > 5 or below:
        axis.tick_params(axis="x", labelrotation=45)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.set(xlabel=column_title, ylabel=row_title)
    if known.size:
        bar = figure.colorbar(mesh, ax=axis, format=PercentFormatter(1.0), pad=0.02)
        bar.set_label(value_title)
        bar.outline.set_visible(False)
    return figure


@styled
def scatter(
    points: Sequence[Point],
    *,
    x_title: str = "Accuracy",
    y_title: str = "ECE",
    group_title: str = "Backbone",
    kind_title: str = "Optimizer",
) -> Figure:
    """One point per model: colour by group, marker by kind.

    Past the palette's length, groups share one grey colour, called "others".
    """
    figure = new_figure(7.2, 4.2)
    axis = figure.subplots()
    points = [p for p in points if np.isfinite([p.x, p.y]).all()]
    groups = _numbered(point.group for point in points)
    kinds = _numbered(point.kind for point in points)
    for point in points:
        colour = group_colour(groups[point.group], len(groups))
        look = marker_look(kinds[point.kind], colour)
        axis.plot([point.x], [point.y], markersize=8, **look)
    _percent(axis, x=True)
    axis.set(xlabel=x_title, ylabel=y_title)
    axis.margins(0.08)
    if not points:
        show_nothing(axis, _NOTHING)
    elif len(groups) > 1 or len(kinds) > 1:
        scatter_legend(figure, groups, kinds, (group_title, kind_title))
    return figure


@styled
def severity_curves(
    corruptions: Mapping[str, Sequence[Curve]], *, left_out: int = 0
) -> Figure:
    """Accuracy by severity, a panel a corruption and a line a model.

    Args:
        corruptions: x is the severity (0 is the clean dataset), y the accuracy.
        left_out: How many models are not shown, for the legend.
    """
    figure, axes = grid_of_axes(max(1, len(corruptions)), columns=4, width=2.6)
    labels = _numbered(c.label for curves in corruptions.values() for c in curves)
    for axis, (name, curves) in zip(axes, corruptions.items(), strict=False):
        for curve in curves:
            style = line_style(labels[curve.label])
            text = label_text(curve.label)
            axis.plot(curve.x, curve.y, label=text, marker="o", markersize=3, **style)
        _percent(axis)
        axis.set_title(label_text(name.replace("_", " ")))
        axis.set(xlabel="Severity", ylabel="Accuracy", ylim=(0, 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(axes) > 1:
            axis.label_outer()
    _finish(figure, axes, corruptions, left_out)
    return figure


@styled
def ood_bars(
    labels: Sequence[str],
    scores: Mapping[str, Float[np.ndarray, " n"]],
    *,
    left_out: int = 0,
) -> Figure:
    """Detection of foreign images: bars of AUROC, a group a model, a colour a score.

    Args:
        labels: One per model.
        scores: AUROC in [0, 1] by the name of the score.
        left_out: How many models are not shown, for the legend.
    """
    figure = new_figure(7.2, 1.3 + max(2, len(labels)) * (0.16 * len(scores) + 0.14))
    axis = figure.subplots()
    height = 0.8 / max(1, len(scores))
    middle = np.arange(len(labels), dtype=np.float64)
    for index, (name, values) in enumerate(scores.items()):
        place = middle + (index - (len(scores) - 1) / 2) * height
        shown = np.nan_to_num(values, nan=0.0)
        axis.barh(place, shown, height * 0.92, color=PALETTE[index], label=name)
    axis.axvline(0.5, color=MUTED, linestyle="--", linewidth=1)
    axis.set_yticks(middle, [label_text(label) for label in labels])
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set(xlim=(0, 1), xlabel="AUROC (dashed: a coin)")
    _finish(figure, [axis], labels, left_out)
    return figure


@styled
def learning_curves(
    panels: Mapping[str, Sequence[Curve]],
    *,
    percent: Sequence[str] = (),
    left_out: int = 0,
    x_title: str = "Epoch",
) -> Figure:
    """Curves over training, a panel a quantity and a line a trial.

    Args:
        panels: x is the epoch, or what `x_title` says.
        percent: Panels whose values are fractions to show in percent.
        left_out: How many trials are not shown, for the legend.
        x_title: Title of the horizontal axis.
    """
    figure, axes = grid_of_axes(max(1, len(panels)), width=3.4)
    labels = _numbered(c.label for curves in panels.values() for c in curves)
    for axis, (name, curves) in zip(axes, panels.items(), strict=False):
        for curve in curves:
            kept = _thinned(curve)
            style = line_style(labels[curve.label])
            axis.plot(kept.x, kept.y, label=label_text(kept.label), **style)
        title = name.replace("_", " ")
        axis.set_title(label_text(title[:1].upper() + title[1:]))
        axis.set_xlabel(x_title)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in percent:
            _percent(axis)
    _finish(figure, axes, panels, left_out)
    return figure


def _finish(figure: Figure, axes: Sequence[Axes], content: object, left_out: int):
    if not content:
        show_nothing(axes[0], _NOTHING)
        return
    note = f"{left_out} more not shown" if left_out else ""
    legend_below(figure, axes, note)


def _percent(axis: Axes, *, x: bool = False) -> None:
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    if x:
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))


def _thinned(curve: Curve) -> Curve:
    """At most 200 points, the ends among them: more than a line on a page resolves."""
    if len(curve.x) <= _MAX_POINTS:
        return curve
    kept = np.linspace(0, len(curve.x) - 1, _MAX_POINTS).round().astype(int)
    return Curve(curve.label, curve.x[kept], curve.y[kept])


def _numbered(names) -> dict[str, int]:
    return {name: index for index, name in enumerate(dict.fromkeys(names))}
