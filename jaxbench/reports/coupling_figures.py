"""Figures of a grid of optimizers and backbones: pure functions of plain values."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxbench.reports.style import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    grid_of_axes,
    label_text,
    legend_below,
    line_style,
    new_figure,
    show_nothing,
    styled,
)

_NOTHING = "nothing to show"
_GRID_POINTS = 100
_MIN_FOR_DENSITY = 4
# Thinner tails are a line on a line.
_THIN = 0.004
# Height of a ridge, of the distance to the one above: none hides another's points.
_HEIGHT = 0.86


class Ridge(NamedTuple):
    """The scores of one optimizer over its hyper-parameters.

    Attributes:
        label: The optimizer.
        values: Fractions, one a trial that came to something.
        num_diverged: Trials that came to nothing.
        failed: Whether its best is marked as failed.
    """

    label: str
    values: Float[np.ndarray, " trials"]
    num_diverged: int = 0
    failed: bool = False


class Boxes(NamedTuple):
    """A panel of boxes.

    Attributes:
        title: Of the panel.
        labels: One a group of boxes.
        values: Kind to the values of each group; a group may be empty.
    """

    title: str
    labels: Sequence[str]
    values: Mapping[str, Sequence[np.ndarray]]


@styled
def ridges(panels: Mapping[str, Sequence[Ridge]], *, value_title: str) -> Figure:
    """Distributions over a grid, a panel a backbone and a ridge an optimizer.

    Each ridge is a Gaussian kernel density (Silverman's width) of equal height, with a
    point for every value and a bar at the best one; fewer than four values are points
    alone.

    Args:
        panels: Optimizers in one order, from the top.
        value_title: What the values are.
    """
    labels = list(
        dict.fromkeys(ridge.label for panel in panels.values() for ridge in panel)
    )
    height = 1.1 + 0.29 * max(3, len(labels))
    # Four panels are two and two.
    columns = 2 if len(panels) in (2, 4) else min(3, max(1, len(panels)))
    figure, axes = grid_of_axes(
        max(1, len(panels)),
        columns=columns,
        width=5.2 if columns == 2 else 3.9,
        height=height,
    )
    if not labels:
        show_nothing(axes[0], _NOTHING)
        return figure
    if len(axes) == 1:
        figure.set_size_inches(7.2, height + 0.4)
    rows = {label: len(labels) - 1 - place for place, label in enumerate(labels)}
    for place, (axis, (title, panel)) in enumerate(
        zip(axes, panels.items(), strict=True)
    ):
        _ridge_panel(axis, panel, rows)
        axis.set_title(label_text(title))
        axis.set_xlabel(value_title)
        # Every panel has the same rows: they are named once a line.
        names = [label_text(name) for name in rows] if place % columns == 0 else []
        axis.set_yticks(list(rows.values()), names or [""] * len(rows))
    _ridge_legend(figure, [ridge for panel in panels.values() for ridge in panel])
    return figure


def _ridge_legend(figure: Figure, shown: Sequence[Ridge]) -> None:
    handles: list[Artist] = [
        Line2D([], [], color=INK, marker="o", ms=3, ls="", label="a trial"),
        Line2D([], [], color=INK, marker="|", ms=8, ls="", label="the best"),
    ]
    if any(len(ridge.values) >= _MIN_FOR_DENSITY for ridge in shown):
        density = Patch(facecolor=PALETTE[0], alpha=0.45, label="density over the grid")
        handles.append(density)
    if any(ridge.failed for ridge in shown):
        handles.append(Patch(facecolor=PALETTE[1], alpha=0.45, label="failed"))
    if any(ridge.num_diverged for ridge in shown):
        cross = Line2D([], [], color=PALETTE[1], marker="x", ms=5, ls="")
        cross.set_label("diverged")
        handles.append(cross)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _ridge_panel(axis: Axes, panel: Sequence[Ridge], rows: Mapping[str, int]) -> None:
    known = [ridge.values for ridge in panel if len(ridge.values)]
    everything = np.concatenate(known) if known else np.array([0.0, 1.0])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.12 * (high - low) or 0.02
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    # Room on the left for the trials that have no value.
    lost = low - 0.09 * (high - low)
    x = np.linspace(low, high, _GRID_POINTS)
    for ridge in panel:
        _draw_ridge(axis, ridge, rows[ridge.label], x, lost)
    axis.set_ylim(-0.6, max(rows.values()) + 1.1)
    axis.set_xlim(lost - 0.04 * (high - low), high)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def _draw_ridge(
    axis: Axes, ridge: Ridge, base: int, x: np.ndarray, lost: float
) -> None:
    colour = PALETTE[1] if ridge.failed else PALETTE[0]
    if len(ridge.values) >= _MIN_FOR_DENSITY:
        density = _density(ridge.values, x)
        seen = np.flatnonzero(density > _THIN)
        part = slice(seen[0], seen[-1] + 1)
        # An area of its own: `fill_between` would write every foot into the file.
        across = np.r_[x[part][0], x[part], x[part][-1]]
        up = np.r_[base, base + _HEIGHT * density[part], base]
        axis.fill(across, up, facecolor=(colour, 0.45), edgecolor=colour, linewidth=0.9)
    look: dict[str, Any] = {"linestyle": "", "color": colour if ridge.failed else INK}
    feet = np.full(len(ridge.values), float(base))
    axis.plot(ridge.values, feet, **look, marker="o", markersize=2.6)
    if len(ridge.values):
        best = [float(ridge.values.max())]
        axis.plot(best, [base + 0.12], **look, marker="|", markersize=8)
    if ridge.num_diverged:
        axis.plot([lost], [base], "x", color=PALETTE[1], markersize=4.5)
    if ridge.num_diverged > 1:
        axis.annotate(
            str(ridge.num_diverged),
            (lost, base),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=MUTED,
        )


def _density(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A Gaussian kernel density whose highest value is 1."""
    spread = min(values.std(), np.subtract(*np.percentile(values, (75, 25))) / 1.34)
    width = 0.9 * (spread or values.std()) * len(values) ** -0.2
    # Equal values would make a needle that a page cannot show.
    width = max(width, 0.015 * (x[-1] - x[0]))
    density = np.exp(-0.5 * ((x[:, None] - values[None, :]) / width) ** 2).sum(axis=1)
    return density / density.max()


@styled
def distance_boxes(panels: Sequence[Boxes], *, value_title: str) -> Figure:
    """Box plots side by side, a panel a grouping, with a dot for every few values.

    A box holds the middle half, its line the median, whiskers reach the extremes. Dots
    grow with the share of equal values.

    Args:
        panels: All have the same kinds.
        value_title: Title of the vertical axis.
    """
    counts = [max(2, len(panel.labels)) for panel in panels] or [2]
    kinds = list(dict.fromkeys(kind for panel in panels for kind in panel.values))
    each = 0.32 + 0.08 * max(0, len(kinds) - 1)
    # Beside each other where they fit in the width of a page, else below.
    wide = 1.6 + each * sum(counts)
    beside = wide <= 13
    width = wide if beside else 1.2 + each * max(counts)
    longest = max((len(name) for panel in panels for name in panel.labels), default=0)
    # Slanted names take height from the boxes.
    height = 3.2 + 0.05 * min(longest, 44)
    figure = new_figure(max(7.2, width), height if beside else height * len(panels))
    rows, columns = (1, len(counts)) if beside else (len(counts), 1)
    ratios = counts if beside else None
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    axes = list(grid.flat)
    if not panels:
        show_nothing(axes[0], _NOTHING)
        return figure
    for axis, panel in zip(axes, panels, strict=True):
        _box_panel(axis, panel, kinds)
        axis.set_ylabel(value_title)
    if len(kinds) > 1:
        handles = [
            Patch(facecolor=PALETTE[i], alpha=0.45, label=label_text(kind))
            for i, kind in enumerate(kinds)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds))
    return figure


def _box_panel(axis: Axes, panel: Boxes, kinds: Sequence[str]) -> None:
    step, highest = 0.8 / len(kinds), 1.0
    for index, kind in enumerate(kinds):
        colour = PALETTE[index % len(PALETTE)]
        for group, values in enumerate(panel.values.get(kind, ())):
            known = values[np.isfinite(values)]
            if not known.size:
                continue
            place = group + (index - (len(kinds) - 1) / 2) * step
            drawn = axis.boxplot(
                known,
                positions=[place],
                widths=0.72 * step,
                whis=(0, 100),
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": INK, "linewidth": 1.6},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )
            for box in drawn["boxes"]:
                box.set(facecolor=colour, alpha=0.45, edgecolor=colour)
            levels, counts = np.unique(known, return_counts=True)
            sizes = 4.0 + 26.0 * counts / known.size
            axis.scatter(
                np.full(len(levels), place), levels, s=sizes, color=INK, zorder=3
            )
            highest = max(highest, float(known.max()))
    labels = [label_text(name) for name in panel.labels]
    slanted = sum(map(len, labels)) > 5 * len(labels) or len(labels) > 6
    axis.set_xticks(
        np.arange(len(labels)),
        labels,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    axis.set_xlim(-0.7, len(labels) - 0.3)
    axis.set_ylim(-0.08 * highest, 1.08 * highest)
    axis.grid(visible=False, axis="x")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axis.set_title(label_text(panel.title))


@styled
def performance_profiles(
    profiles: Mapping[str, Float[np.ndarray, " taus"]],
    taus: Float[np.ndarray, " taus"],
    *,
    num_named: int = 8,
) -> Figure:
    """Steps of performance profiles, the best first; all but a few are grey.

    Args:
        profiles: Optimizer to its profile, in [0, 1].
        taus: From 1.
        num_named: How many have a colour and a name.
    """
    figure = new_figure(7.2, 3.8)
    axis = figure.subplots()
    if not profiles:
        show_nothing(axis, _NOTHING)
        return figure
    more = len(profiles) - num_named
    for index, (name, values) in enumerate(profiles.items()):
        (line,) = axis.step(taus, values, where="post", color=GRID, linewidth=1.2)
        if index < num_named:
            # The best lies on top.
            line.set(zorder=4 + num_named - index, linewidth=1.8, **line_style(index))
            line.set_label(label_text(name))
        elif index == num_named:
            line.set_label(f"{more} more")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.xaxis.set_major_formatter("{x:g}x")
    axis.set(
        xlim=(taus[0], taus[-1]),
        ylim=(-0.02, 1.02),
        xlabel="Time to the target over the fastest optimizer's",
        ylabel="Share of backbones",
    )
    legend_below(figure, [axis])
    return figure
