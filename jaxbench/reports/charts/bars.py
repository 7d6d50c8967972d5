"""Horizontal bars: a group of bars a label, a colour a series."""

import math
from functools import cache
from typing import Any

import altair as alt

from jaxbench.reports.charts.frame import (
    BOTTOM,
    TOP,
    LegendItem,
    Opening,
    axis_of,
    framed,
    raw,
    scale_of,
)
from jaxbench.reports.charts.labels import (
    label_axis,
    label_room,
    label_signals,
    row_height,
)
from jaxbench.reports.charts.readings import (
    Reading,
    interval_text,
    is_bright,
    reading_params,
    readings_data,
)
from jaxbench.reports.look import Look, token
from jaxbench.reports.page import Bars

_BAR, _GAP = 11, 9


@cache
def bars_spec() -> dict[str, Any]:
    """The chart of any bars; see `frame` for its data sets.

    `bars` has x, y and y2 (in rows), low, high, colour, t (its reading); `reference`
    has x.
    """
    x = alt.X("x:Q", scale=scale_of("x"), axis=axis_of("x"))
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=alt.ExprRef("[length(names) - 0.5, -0.5]"), nice=False),
        axis=label_axis(
            values=alt.ExprRef("sequence(length(names))"), grid=False, title=None
        ),
    )
    bars = alt.Chart(alt.NamedData(name="bars")).encode(opacity=is_bright())
    edge = alt.condition("datum.t === hot", alt.value(token("ink")), alt.value(None))
    layers = [
        bars.mark_rect(strokeWidth=2).encode(
            x, y, raw("colour:N", alt.Fill), x2="zero:Q", y2="y2:Q", stroke=edge
        ),
        bars.transform_filter("isValid(datum.low)")
        .mark_rule(color=token("ink"), strokeWidth=1.2, aria=False)
        .encode(alt.Y("middle:Q"), x="low:Q", x2="high:Q"),
        alt.Chart(alt.NamedData(name="reference"))
        .mark_rule(color=token("muted"), strokeDash=[5, 4])
        .encode(x="x:Q"),
    ]
    return framed(alt.layer(*layers).add_params(*reading_params()))


def bars_opening(chart: Bars, look: Look) -> Opening:
    """Rows and parameters of bars."""
    rows = _rows(chart, look)
    ends = [row[key] for row in rows for key in ("x", "low", "high") if key in row]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if chart.percent and low >= 0 and high <= 1:
        high = 1.0
    each = row_height(chart.labels, max(1, len(chart.series)) * _BAR + _GAP)
    legend = (LegendItem(n, look.of_group(n), is_line=False) for n in chart.series)
    reference = [] if chart.reference is None else [{"x": chart.reference}]
    return Opening(
        {"bars": rows, "reference": reference},
        {
            "x_domain": [low, high if high > low else low + 1.0],
            "x_title": chart.title,
            "x_percent": chart.percent,
            **label_signals(chart.labels),
        },
        tuple(legend),
        left=label_room(chart.labels),
        height=round(each * max(1, len(chart.labels))) + TOP + BOTTOM,
        message="" if chart.labels and chart.series else "Nothing to show.",
    )


def bars_data(chart: Bars, look: Look) -> dict[str, Any]:
    """What the page's script needs: rows, what is read of each, the legend."""
    readings = [
        Reading(
            (label, series),
            label,
            ((series, interval_text(values[place], percent=chart.percent)),),
        )
        for place, label in enumerate(chart.labels)
        for series, values in chart.series.items()
    ]
    opening = bars_opening(chart, look)
    return readings_data({"": opening}, readings, list(chart.series), look)


def _rows(chart: Bars, look: Look) -> list[dict[str, Any]]:
    rows = []
    count = len(chart.series)
    each = 0.8 / max(1, count)
    for s, (series, values) in enumerate(chart.series.items()):
        for place, interval in enumerate(values):
            if interval is None or not math.isfinite(interval[0]):
                continue
            value, low, high = interval
            top = place - 0.4 + s * each
            row: dict[str, Any] = {"x": value, "zero": 0, "t": place * count + s}
            row |= {"y": top, "y2": top + 0.92 * each, "middle": top + 0.46 * each}
            row["colour"] = look.of_group(series).colour
            if low is not None and high is not None:
                row |= {"low": low, "high": high}
            rows.append(row)
    return rows
