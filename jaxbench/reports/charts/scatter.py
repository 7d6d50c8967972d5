"""Models as points over two metrics of the reader's choice."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from jaxbench.reports.charts.data import metric_look, numbers
from jaxbench.reports.charts.frame import (
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    LegendItem,
    Opening,
    axis_of,
    framed,
    raw,
    scale_of,
)
from jaxbench.reports.charts.names import Spot, place_names
from jaxbench.reports.look import Look, by_size, token
from jaxbench.reports.page import Interval, Number, Numbers, Point, Scatter

# Past so many models, intervals and names hide more than they show.
MOST_INTERVALS = 100
MOST_NAMES = 30
_MOST_GROUPS = 24


@cache
def scatter_spec() -> dict[str, Any]:
    """The chart of any scatter; see `frame` for its data sets.

    `points` has x, y, x_low, x_high, y_low, y_high, colour, shape, opacity; `names`
    has px, py (pixels), text; `front` has x, y; `focus` is the point under the keys.
    """
    x = alt.X("x:Q", scale=scale_of("x"), axis=axis_of("x"))
    y = alt.Y("y:Q", scale=scale_of("y"), axis=axis_of("y"))
    colour, opacity = raw("colour:N", alt.Color), raw("opacity:Q", alt.Opacity)
    points = alt.Chart(alt.NamedData(name="points"))
    thin = {"strokeWidth": 1, "aria": False}
    front = alt.Chart(alt.NamedData(name="front"))
    focus = alt.Chart(alt.NamedData(name="focus"))
    faint = raw("faint:Q", alt.Opacity)
    layers = [
        points.transform_filter("isValid(datum.x_low)")
        .mark_rule(**thin)
        .encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=y, color=colour, opacity=faint),
        points.transform_filter("isValid(datum.y_low)")
        .mark_rule(**thin)
        .encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour, opacity=faint),
        front.mark_line(
            interpolate="step-after", color=token("muted"), strokeDash=[4, 3]
        ).encode(x, y, order="n:Q"),
        points.mark_point(
            filled=True, stroke=token("card"), strokeWidth=0.6, cursor="pointer"
        )
        .properties(name="point")
        .encode(
            x,
            y,
            fill=raw("colour:N", alt.Fill),
            shape=raw("shape:N", alt.Shape),
            opacity=opacity,
            size=raw("size:Q", alt.Size),
            # Read aloud; Vega's own description formats every number.
            description="label:N",
        ),
        focus.mark_point(
            color=token("ink"), strokeWidth=3, size=190, opacity=1, aria=False
        ).encode(x, y),
        alt.Chart(alt.NamedData(name="names"))
        .mark_text(align="left", baseline="alphabetic", fontSize=11, aria=False)
        .encode(
            x=alt.X("px:Q", scale=None), y=alt.Y("py:Q", scale=None), text="text:N"
        ),
    ]
    starts = {"domain": [0, 1], "title": "", "percent": False}
    params = [
        alt.param(f"{direction}_{name}", value=value)
        for direction in "xy"
        for name, value in starts.items()
    ]
    return framed(alt.layer(*layers).add_params(*params))


def scatter_opening(chart: Scatter, look: Look) -> Opening:
    """Rows and parameters of a scatter as the page opens."""
    points = [p for p in chart.points if _has(p, chart.x) and _has(p, chart.y)]
    bars = len(chart.points) <= MOST_INTERVALS
    rows = [_row(chart, look, p, bars, len(chart.points)) for p in points]
    signals: dict[str, Any] = {}
    for direction in "xy":
        text = metric_look(chart, chart.x if direction == "x" else chart.y)
        signals[f"{direction}_title"] = text.heading
        signals[f"{direction}_percent"] = text.percent
        signals[f"{direction}_domain"] = domain(
            [row[key] for row in rows for key in _keys(direction) if key in row]
        )
    names = []
    if len(chart.points) <= MOST_NAMES:
        names = _names([p.label for p in points], rows, signals)
    groups = by_size(
        p.groups[chart.group] for p in points if chart.group and chart.group in p.groups
    )
    legend = [
        LegendItem(name, look.of_group(name), is_line=False)
        for name in groups[:_MOST_GROUPS]
    ]
    return Opening(
        {"points": rows, "names": names, "front": [], "focus": []},
        signals,
        tuple(legend),
        message="" if points else "No model has both numbers.",
    )


def domain(values: Numbers) -> list[Number]:
    """The range of an axis: that of the values, and a twentieth of it beyond."""
    if not values:
        return [0.0, 1.0]
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(low) * 0.05 or 0.05
    return [low - room, high + room]


def _keys(direction: str) -> tuple[str, str, str]:
    return direction, f"{direction}_low", f"{direction}_high"


def _row(
    chart: Scatter, look: Look, point: Point, bars: bool, count: int
) -> dict[str, Any]:
    style = look.of_group(point.groups.get(chart.group))
    row: dict[str, Any] = {
        "label": point.label,
        "colour": style.colour,
        "shape": style.shape,
        "opacity": 1,
        "faint": 0.55,
        "size": 28 if count > 1000 else 50 if count > 300 else 80,
    }
    for direction, metric in (("x", chart.x), ("y", chart.y)):
        scale = metric_look(chart, metric).scale
        value, low, high = _scaled(point.values[metric], scale)
        row[direction] = value
        if bars and low is not None and high is not None:
            row |= {f"{direction}_low": low, f"{direction}_high": high}
    return row


def _scaled(values: Interval, scale: int) -> list[Number | None]:
    return numbers(None if v is None else v * scale for v in values)


def _names(
    labels: Sequence[str], rows: Sequence[dict[str, Any]], signals: dict[str, Any]
) -> list[dict[str, Any]]:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - 46
    (x0, x1), (y0, y1) = signals["x_domain"], signals["y_domain"]
    spots = [
        Spot(
            label,
            (row["x"] - x0) / (x1 - x0) * width,
            (y1 - row["y"]) / (y1 - y0) * height,
        )
        for label, row in zip(labels, rows, strict=True)
    ]
    return place_names(spots, width + RIGHT, height)


def _has(point: Point, name: str) -> bool:
    value = point.values[name][0] if name in point.values else None
    return value is not None and math.isfinite(value)
