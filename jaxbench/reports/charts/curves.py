"""Curves of models in one plot."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import altair as alt

from jaxbench.reports.charts.data import numbers
from jaxbench.reports.charts.frame import (
    BOTTOM,
    LEFT,
    RIGHT,
    WIDTH,
    LegendItem,
    Opening,
    axis_of,
    framed,
    raw,
    scale_of,
)
from jaxbench.reports.charts.names import shortened
from jaxbench.reports.look import Look, token
from jaxbench.reports.page import Curves, Number, Numbers

MOST_LINES = 12
# Few points are seen as points.
MOST_DOTS = 25
_PLACES = "length(places) ? places[datum.value] : "


@cache
def curves_spec() -> dict[str, Any]:
    """The chart of any curves; see `frame` for its data sets.

    `lines` has x, y, low, high, s (the stretch between gaps), colour, dash, opacity,
    faint; `dots` are the points of short curves; `diagonal` has x, y; `cursor` has x.
    """
    across = axis_of(
        "x",
        labelAngle=alt.ExprRef("slanted ? -38 : 0"),
        labelAlign=alt.ExprRef("slanted ? 'right' : 'center'"),
        values=alt.ExprRef("length(places) ? sequence(length(places)) : x_ticks"),
        # Vega leaves out every other value where there are more.
        tickCount=alt.ExprRef("length(places) || width / 85"),
        titleY=alt.ExprRef("x_title_y"),
    )
    across.labelExpr = _PLACES + across.labelExpr
    x = alt.X("x:Q", scale=scale_of("x"), axis=across)
    y = alt.Y("y:Q", scale=scale_of("y"), axis=axis_of("y"))
    lines = alt.Chart(alt.NamedData(name="lines"))
    dots = alt.Chart(alt.NamedData(name="dots"))
    opacity = raw("opacity:Q", alt.Opacity)
    layers = [
        lines.mark_area(aria=False).encode(
            x,
            alt.Y("low:Q", scale=scale_of("y"), axis=axis_of("y")),
            y2="high:Q",
            detail="s:N",
            fill=raw("colour:N", alt.Fill),
            opacity=raw("faint:Q", alt.Opacity),
        ),
        alt.Chart(alt.NamedData(name="diagonal"))
        .mark_line(color=token("muted"), strokeWidth=1, strokeDash=[5, 4], aria=False)
        .encode(x, y),
        lines.mark_line(strokeWidth=2, strokeJoin="round").encode(
            x,
            y,
            detail="s:N",
            stroke=raw("colour:N", alt.Stroke),
            strokeDash=raw("dash:N", alt.StrokeDash),
            opacity=opacity,
        ),
        dots.mark_point(filled=True, size=28, aria=False).encode(
            x, y, fill=raw("colour:N", alt.Fill), opacity=opacity
        ),
        alt.Chart(alt.NamedData(name="cursor"))
        .mark_rule(color=token("edge"), aria=False)
        .encode(x),
    ]
    starts: dict[str, Any] = {"places": [], "slanted": False, "x_title_y": 30}
    for direction in "xy":
        starts |= {f"{direction}_domain": [0, 1], f"{direction}_title": ""}
        starts[f"{direction}_percent"] = False
    starts["x_ticks"] = None
    params = [alt.param(name, value=value) for name, value in starts.items()]
    return framed(alt.layer(*layers).add_params(*params))


def chosen_at_first(chart: Curves) -> tuple[str, ...]:
    """The models whose curves a page shows when it opens."""
    return chart.shown or tuple(chart.lines)[:MOST_LINES]


def curves_opening(chart: Curves, look: Look) -> Opening:
    """Rows and parameters of curves as the page opens."""
    chosen = chosen_at_first(chart)
    lines, dots = [], []
    for label in chosen:
        rows = curve_rows(chart, look, label)
        lines += rows
        if len(chart.lines[label][0]) <= MOST_DOTS:
            dots += [row for row in rows if row["y"] is not None]
    x_domain, y_domain = domains(chart, chosen)
    names = [shortened(name, 22) for name in chart.x_labels]
    longest = max(map(len, names), default=0)
    inner = WIDTH - LEFT - RIGHT
    slanted = longest * 7 > inner / max(1, len(names))
    lower = min(90, round(longest * 4.4)) if slanted else 0
    legend = [
        LegendItem(label, look.of_model(label), is_line=True)
        for label in chosen[: 2 * MOST_LINES]
    ]
    return Opening(
        {
            "lines": lines,
            "dots": dots,
            "diagonal": diagonal(chart),
            "cursor": [],
        },
        {
            "x_domain": x_domain,
            "y_domain": y_domain,
            "x_title": chart.x_title,
            "y_title": chart.y_title,
            "x_percent": "x" in chart.percent,
            "y_percent": "y" in chart.percent,
            "places": names,
            "slanted": slanted,
            "x_title_y": 30 + lower,
        },
        tuple(legend),
        bottom=BOTTOM + lower,
        message="" if chosen else "Nothing to show.",
    )


def diagonal(chart: Curves) -> list[dict[str, int]]:
    """Where a calibrated model's curve lies, on a reliability diagram."""
    ends = (0, 1) if chart.kind == "reliability" else ()
    return [{"x": end, "y": end} for end in ends]


def curve_rows(chart: Curves, look: Look, label: str) -> list[dict[str, Any]]:
    """A row a point; the stretch's number grows at each gap."""
    style = look.of_model(label)
    given = [*chart.lines[label], *chart.bands.get(label, ((), ()))]
    x, y, low, high = (numbers(part) for part in given)
    rows, stretch = [], 0
    for k, (at, value) in enumerate(zip(x, y, strict=True)):
        if at is None or value is None:
            stretch += 1
            continue
        row = {"x": at, "y": value, "s": f"{look.model_slot(label)}.{stretch}"}
        row |= {"colour": style.colour, "dash": list(style.dash)}
        row |= {"label": label, "opacity": 1, "faint": 0.16}
        if low and low[k] is not None and high[k] is not None:
            row |= {"low": low[k], "high": high[k]}
        rows.append(row)
    return rows


def domains(chart: Curves, chosen: Sequence[str]) -> tuple[list[Number], list[Number]]:
    """The ranges of both axes for the chosen curves."""
    if chart.kind == "reliability":
        return [0, 1], [0, 1]
    parts = [
        part
        for label in chosen
        for part in (chart.lines[label][1], *chart.bands.get(label, ()))
    ]
    low, high = _range(parts)
    if chart.kind == "risk":
        return [0, 1], [min(0, low), high * 1.05 or 0.05]
    room = (high - low) * 0.06 or 0.05
    # What begins just above zero begins at zero.
    start = 0 if low >= 0 and low - room < 0 else low - room
    across = _range(chart.lines[label][0] for label in chosen)
    if chart.x_labels:
        across = (-0.3, len(chart.x_labels) - 0.7)
    return list(across), [start, high + room]


def _range(parts: Iterable[Numbers]) -> tuple[Number, Number]:
    known = [v for part in parts for v in part if v is not None and math.isfinite(v)]
    return (min(known), max(known)) if known else (0.0, 1.0)
