"""Horizontal bars: a group of bars a label, a colour a series."""

from typing import Any

import altair as alt

from jaxbench.reports.charts.labels import axis_labels, label_lines
from jaxbench.reports.charts.readings import Reading, interval_text, is_bright
from jaxbench.reports.look import Look, token
from jaxbench.reports.page import Bars

_BAR, _GAP = 11, 9


def bars(chart: Bars, look: Look) -> alt.LayerChart:
    """Bars from zero, a rule for each interval, and a dashed line of reference."""
    count = max(1, len(chart.series))
    lines = max((len(label_lines(name)) for name in chart.labels), default=1)
    each = max(count * _BAR + _GAP, 13 * lines + 4)
    axis = {"grid": False, "ticks": False, "domain": False}
    base = alt.Chart(alt.Data(values=_rows(chart, look))).encode(
        alt.Y("y:O").axis(**axis_labels(chart.labels), **axis).title(None),
        alt.YOffset("s:O").scale(domain=list(range(count)), paddingInner=0.12),
        opacity=is_bright(),
    )
    x = (
        alt.X("value:Q")
        .axis(format="~%" if chart.percent else "~g", tickCount=6)
        .title(chart.title)
    )
    colour = alt.Color("colour:N").scale(None).legend(None)
    layers: list[alt.Chart] = [
        base.mark_bar(strokeWidth=2).encode(
            x,
            colour,
            stroke=alt.condition(
                "datum.t === hot", alt.value(token("ink")), alt.value(None)
            ),
        ),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(color=token("ink"), strokeWidth=1.2)
        .encode(x="low:Q", x2="high:Q"),
    ]
    if chart.reference is not None:
        layers.append(
            alt.Chart(alt.Data(values=[{"value": chart.reference}]))
            .mark_rule(color=token("muted"), strokeDash=[5, 4])
            .encode(x="value:Q")
        )
    return (
        alt.layer(*layers)
        .properties(width=480, height=each * max(1, len(chart.labels)))
        .add_params(alt.param("bright", value=[]), alt.param("hot", value=-1))
    )


def bar_readings(chart: Bars) -> list[Reading]:
    """What is read of each bar, label by label."""
    return [
        Reading(
            (label, series),
            label,
            ((series, interval_text(values[place], percent=chart.percent)),),
        )
        for place, label in enumerate(chart.labels)
        for series, values in chart.series.items()
    ]


def _rows(chart: Bars, look: Look) -> list[dict[str, Any]]:
    rows = []
    for s, (series, values) in enumerate(chart.series.items()):
        for y, interval in enumerate(values):
            row: dict[str, Any] = {"y": y, "s": s, "t": y * len(chart.series) + s}
            row["colour"] = look.of_group(series).colour
            if interval is not None:
                value, low, high = interval
                row["value"] = value
                if low is not None and high is not None:
                    row |= {"low": low, "high": high}
            rows.append(row)
    return rows
