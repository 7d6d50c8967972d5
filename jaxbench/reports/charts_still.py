"""The still picture of each chart of a page: what the browser shows at first."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxbench.reports.cells import MISSING
from jaxbench.reports.charts_colours import text_on
from jaxbench.reports.charts_data import by_size, groups_of, metric_look
from jaxbench.reports.charts_heat import cell_text, shades_of_map
from jaxbench.reports.page import (
    Curves,
    HeatMap,
    Interactive,
    Interval,
    Number,
    Point,
    Ranks,
    Scatter,
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

# The same shapes as in the browser. Alike colours have unlike ones: with eight colours,
# 40 groups can be told apart.
SHAPES = ("o", "s", "^", "D", "v")
_FIRST_SHAPES = (0, 1, 2, 3, 4, 3, 2, 1)
# Past so many models, intervals hide the points.
MOST_INTERVALS = 100
_MOST_LINES = 12
_MOST_NAMES = 24
_NOTHING = "nothing to show"


@styled
def still(chart: Interactive) -> Figure:
    """A chart as a figure, in the state in which the page opens."""
    if isinstance(chart, Scatter):
        return _scatter(chart)
    if isinstance(chart, Curves):
        return _curves(chart)
    if isinstance(chart, Ranks):
        return _ranks(chart)
    return _heat_map(chart)


def _scatter(chart: Scatter) -> Figure:
    figure = new_figure(7.2, 4.4)
    axis = figure.subplots()
    points = [p for p in chart.points if _has(p, chart.x) and _has(p, chart.y)]
    groups = groups_of(points, chart.group)
    looks = {name: _look(number) for number, name in enumerate(groups)}
    looks[""] = {"color": MUTED, "marker": "o"}
    for name, look in looks.items():
        chosen = [p for p in points if p.groups.get(chart.group, "") == name]
        if chosen:
            _points(axis, chart, chosen, look, len(points) <= MOST_INTERVALS)
    for axis_of, name in ((axis.xaxis, chart.x), (axis.yaxis, chart.y)):
        look = metric_look(chart, name)
        axis_of.set_label_text(label_text(look.heading))
        if look.percent:
            axis_of.set_major_formatter(PercentFormatter(1.0))
    axis.margins(0.05)
    if not points:
        show_nothing(axis, _NOTHING)
    elif groups:
        _group_legend(figure, {name: looks[name] for name in groups}, len(points))
    return figure


def _points(
    axis: Axes,
    chart: Scatter,
    points: Sequence[Point],
    look: Mapping[str, Any],
    intervals: bool,
) -> None:
    x, y = ([p.values[name] for p in points] for name in (chart.x, chart.y))
    places = ([triple[0] for triple in x], [triple[0] for triple in y])
    if intervals:
        axis.errorbar(
            *places,
            xerr=_whiskers(x),
            yerr=_whiskers(y),
            fmt="none",
            ecolor=look["color"],
            elinewidth=0.8,
            alpha=0.55,
        )
    edges = {"markeredgecolor": CARD, "markeredgewidth": 0.6}
    axis.plot(*places, linestyle="none", markersize=6, **look, **edges)


def _whiskers(values: Sequence[Interval]) -> Float[np.ndarray, "2 n"]:
    """Distances to both ends; NaN, which draws nothing, where there is no interval."""
    ends = np.array(
        [
            (math.nan, math.nan)
            if low is None or high is None
            else (value - low, high - value)
            for value, low, high in values
        ]
    )
    # Rounding may put an end a hair inside.
    return np.maximum(ends, 0.0).T


def _group_legend(figure: Figure, looks: Mapping[str, dict], count: int) -> None:
    handles = [
        Line2D([], [], linestyle="none", label=label_text(name), **look)
        for name, look in list(looks.items())[:_MOST_NAMES]
    ]
    if (left_out := len(looks) - _MOST_NAMES) > 0:
        handles.append(Line2D([], [], linestyle="none", label=f"{left_out} more"))
    # 9 points and the space between two lines.
    needed = 0.206 * len(handles) + 0.6
    figure.set_figheight(max(figure.get_figheight(), needed))
    title = f"{count} models"
    place = "outside right upper"
    figure.legend(handles=handles, loc=place, title=title, title_fontsize=9)


def _curves(chart: Curves) -> Figure:
    figure, (axis,) = grid_of_axes(1)
    chosen = chart.shown or tuple(chart.lines)
    for index, label in enumerate(chosen[:_MOST_LINES]):
        x, y = (np.asarray(part, np.float64) for part in chart.lines[label])
        style = line_style(index)
        dots = {"marker": "o", "markersize": 3} if len(x) <= 25 else {}
        axis.plot(x, y, label=label_text(label), **style, **dots)
        if label in chart.bands:
            low, high = (np.asarray(end, np.float64) for end in chart.bands[label])
            shade = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
            axis.fill_between(x, low, high, **shade)
    axis.set(xlabel=label_text(chart.x_title), ylabel=label_text(chart.y_title))
    if chart.kind == "reliability":
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        axis.set(xlim=(0, 1), ylim=(0, 1))
    elif chart.kind == "risk":
        axis.set_xlim(0, 1)
        axis.set_ylim(bottom=0)
    if chart.x_labels:
        names = [label_text(name) for name in chart.x_labels]
        turned = {"rotation": 45, "ha": "right"} if sum(map(len, names)) > 50 else {}
        axis.set_xticks(range(len(names)), names, **turned)
    for name, axis_of in (("x", axis.xaxis), ("y", axis.yaxis)):
        if name in chart.percent and not (name == "x" and chart.x_labels):
            axis_of.set_major_formatter(PercentFormatter(1.0))
    if not chosen:
        show_nothing(axis, _NOTHING)
        return figure
    left_out = len(chosen) - _MOST_LINES
    legend_below(figure, [axis], f"{left_out} more not shown" if left_out > 0 else "")
    return figure


def _ranks(chart: Ranks) -> Figure:
    places = np.arange(len(chart.datasets))
    lines = {name: _floats(ranks) for name, ranks in chart.ranks.items()}
    worst = max((np.nanmax(line, initial=1.0) for line in lines.values()), default=1.0)
    height = min(8.0, max(3.4, 0.2 * len(lines)))
    figure = new_figure(min(14.0, 3.6 + 0.85 * len(places)), height)
    axis = figure.subplots()
    if not lines or not len(places):
        show_nothing(axis, _NOTHING)
        return figure
    # Every line has its colour where there are few; else only the chosen ones do.
    chosen = chart.shown or (tuple(lines) if len(lines) <= _MOST_LINES else ())
    others = [
        np.stack([places, line], axis=1)
        for name, line in lines.items()
        if name not in chosen
    ]
    axis.add_collection(LineCollection(others, colors=GRID, linewidths=0.7, zorder=1))
    looks = _rank_looks(chart, chosen)
    ends = {}
    for name in chosen:
        line = lines[name]
        group = label_text(chart.groups.get(name, ""))
        axis.plot(places, line, label=group or None, markersize=4, **looks[name])
        known = np.flatnonzero(np.isfinite(line))
        if known.size:
            ends[name] = (float(line[known[-1]]), looks[name]["color"])
    axis.set_xticks(places, [label_text(name) for name in chart.datasets])
    axis.tick_params(axis="x", labelrotation=40)
    for tick in axis.get_xticklabels():
        tick.set_horizontalalignment("right")
    ticks = MaxNLocator(8, integer=True).tick_values(1, worst)
    axis.set_yticks([1, *(tick for tick in ticks if 1 < tick <= worst)])
    axis.set(xlim=(-0.2, len(places) - 0.8), ylim=(worst + 0.5, 0.5), ylabel="Rank")
    axis.grid(visible=False)
    _name_ends(axis, ends, float(worst), height)
    if chart.groups:
        legend_below(figure, [axis])
    return figure


def _rank_looks(chart: Ranks, chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By group where there are groups, as in the browser; else in turn."""
    groups = by_size(chart.groups.values())
    numbers = {
        name: groups.index(chart.groups[name]) if name in chart.groups else -1
        for name in chosen
    }
    if not groups:
        numbers = {name: index for index, name in enumerate(chosen)}
    return {
        name: {"color": MUTED, "marker": "o"} if number < 0 else _look(number)
        for name, number in numbers.items()
    }


def _name_ends(
    axis: Axes, ends: Mapping[str, tuple[float, str]], worst: float, height: float
) -> None:
    """Names right of the lines' last points, moved apart where they would touch."""
    room = 0.16 * worst / (0.75 * height)
    places = spread([rank for rank, _ in ends.values()], room, 0.5, worst + 0.5)
    right = axis.get_xlim()[1]
    for (name, (_, colour)), place in zip(ends.items(), places, strict=True):
        axis.text(
            right,
            place,
            f" {label_text(name)}",
            color=colour,
            va="center",
            fontsize=8,
            clip_on=False,
        )


def spread(
    places: Sequence[float], room: float, low: float, high: float
) -> list[float]:
    """Places in the same order, at least `room` apart, within a range if they fit.

    Args:
        places: Where labels want to stand.
        room: Least distance of two neighbours.
        low: Lower end of the range.
        high: Upper end; exceeded only where the labels need more than the range.

    Returns:
        A place for each, in the order given.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = [0.0] * len(places)
    last = low - room
    for i in order:
        found[i] = last = max(places[i], last + room)
    last = high + room
    for i in reversed(order):
        found[i] = last = min(found[i], last - room)
    short = low - last if order else 0.0
    return [place + max(0.0, short) for place in found]


def _heat_map(chart: HeatMap) -> Figure:
    height, width = len(chart.rows), len(chart.columns)
    longest = max(
        (len(cell_text(chart, v)) for row in chart.values for v in row), default=1
    )
    each = 0.2 + 0.075 * longest
    turned = sum(map(len, chart.columns)) > 8 * each * width
    beside = max(0.0, label_inches(chart.rows) - 1.2)
    below = max(0.0, label_inches(chart.columns) - 0.6) if turned else 0.0
    figure = new_figure(
        min(24.0, 2.6 + each * max(2, width)) + beside,
        min(40.0, 1.5 + 0.3 * max(2, height)) + below,
    )
    axis = figure.subplots()
    if not height or not width:
        show_nothing(axis, _NOTHING)
        return figure
    shades = shades_of_map(chart)
    shown = np.ma.masked_invalid([_floats(row) for row in chart.values])
    mesh = axis.pcolormesh(
        shown,
        cmap=shades.name,
        vmin=shades.low,
        vmax=shades.high if shades.high > shades.low else shades.low + 1e-3,
        edgecolors=CARD,
        linewidth=0.5,
    )
    for row, values in enumerate(chart.values):
        for column, value in enumerate(values):
            text = cell_text(chart, value)
            colour = MUTED
            if value is not None and text != MISSING:
                colour = text_on(shades.colour(value))
            place = (column + 0.5, row + 0.5)
            axis.text(*place, text, ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(np.arange(width) + 0.5, [label_text(n) for n in chart.columns])
    axis.set_yticks(np.arange(height) + 0.5, [label_text(n) for n in chart.rows])
    if turned:
        axis.tick_params(axis="x", labelrotation=90)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.tick_params(length=0, labelsize=8)
    if shown.count():
        form = PercentFormatter(1.0) if chart.percent else None
        bar = figure.colorbar(mesh, ax=axis, format=form, pad=0.02)
        bar.set_label(label_text(chart.title), color=INK)
        bar.outline.set_visible(False)
    return figure


def _look(number: int) -> dict[str, Any]:
    turn, index = divmod(number, len(PALETTE))
    shape = SHAPES[(_FIRST_SHAPES[index] + turn) % len(SHAPES)]
    return {"color": PALETTE[index], "marker": shape}


def _has(point: Point, name: str) -> bool:
    value = point.values[name][0] if name in point.values else None
    return value is not None and math.isfinite(value)


def _floats(values: Sequence[Number | None]) -> Float[np.ndarray, " n"]:
    return np.array([math.nan if v is None else v for v in values], np.float64)
