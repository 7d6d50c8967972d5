"""A rank-flow (bump) chart: a thin line a model, the chosen ones in colour."""

from functools import cache
from typing import Any

import altair as alt

from jaxbench.reports.charts.data import positions
from jaxbench.reports.charts.frame import (
    TOP,
    LegendItem,
    Opening,
    axis_of,
    framed,
    raw,
)
from jaxbench.reports.charts.names import LETTER, shortened, spread
from jaxbench.reports.look import Look, Style, by_size, token
from jaxbench.reports.page import Number, Ranks

# Every line has its colour where there are no more.
_FEW = 12
_ROOM = 14.0  # pixels between two names
_IS_LIT = "indexof(lit, datum.i) >= 0"


@cache
def ranks_spec() -> dict[str, Any]:
    """The chart of any ranks; see `frame` for its data sets.

    `ranks` has i (model), k (dataset), rank, colour, dash, alone; `ends` has y in
    pixels, name, colour. Parameters: `lit`, the models in colour; `hot`, the one under
    the pointer; `places`, the datasets' names; `worst`, the last rank.
    """
    x = alt.X(
        "k:Q",
        scale=alt.Scale(domain=alt.ExprRef("[-0.2, length(places) - 0.8]"), nice=False),
        axis=alt.Axis(
            values=alt.ExprRef("sequence(length(places))"),
            labelExpr="places[datum.value]",
            labelAngle=-38,
            labelOverlap=False,
            labelLimit=0,
            title=None,
        ),
    )
    y = alt.Y(
        "rank:Q",
        scale=alt.Scale(domain=alt.ExprRef("[worst + 0.5, 0.5]"), nice=False),
        axis=axis_of("y", values=alt.ExprRef("ticks"), title="Rank", grid=False),
    )
    base = alt.Chart(alt.NamedData(name="ranks")).encode(x, y)
    lines = base.encode(detail="i:N")
    colour = raw("colour:N", alt.Color)
    known = "isValid(datum.rank) && "
    ends = alt.Chart(alt.NamedData(name="ends")).encode(
        x=alt.value("width"), y=alt.Y("y:Q", scale=None)
    )
    layers = [
        lines.transform_filter(f"!({_IS_LIT})").mark_line(
            color=token("line"), strokeWidth=1
        ),
        base.transform_filter(f"datum.alone && !({_IS_LIT})").mark_point(
            color=token("edge"), filled=True, size=14, aria=False
        ),
        lines.transform_filter(_IS_LIT)
        .mark_line(strokeWidth=2.4)
        .encode(colour, raw("dash:N", alt.StrokeDash)),
        base.transform_filter(known + _IS_LIT)
        .mark_point(filled=True, opacity=1, size=40, aria=False)
        .encode(colour),
        lines.transform_filter("datum.i === hot").mark_line(
            color=token("ink"), strokeWidth=3, aria=False
        ),
        # A coloured dash and a name in ink: small text needs more contrast than lines.
        ends.mark_point(
            shape="stroke", xOffset=4, size=64, opacity=1, aria=False
        ).encode(colour),
        ends.mark_text(align="left", dx=11, aria=False).encode(text="name:N"),
    ]
    starts: dict[str, Any] = {"lit": [], "hot": -1, "places": [], "worst": 1}
    starts |= {"ticks": [1], "y_percent": False}
    params = [alt.param(name, value=value) for name, value in starts.items()]
    return framed(alt.layer(*layers).add_params(*params))


def ranks_opening(chart: Ranks, look: Look) -> Opening:
    """Rows and names of ranks as the page opens."""
    data = ranks_data(chart, look)
    rows = []
    for i, (name, given) in enumerate(chart.ranks.items()):
        around = (None, *given, None)
        style = _style(chart, name, look)
        for k, rank in enumerate(given):
            row: dict[str, Any] = {"i": i, "k": k, "rank": rank}
            row |= {"colour": style.colour, "dash": list(style.dash)}
            # A line needs a neighbour.
            row["alone"] = rank is not None and around[k] is around[k + 2] is None
            rows.append(row)
    shown = [data["labels"][i] for i in data["shown"]]
    longest = max((len(shortened(name)) for name in shown), default=0)
    signals = {name: data[name] for name in ("places", "worst", "ticks")}
    return Opening(
        {"ranks": rows, "ends": _ends(chart, look, shown, data["height"])},
        signals | {"lit": data["shown"]},
        tuple(
            LegendItem(name, look.of_group(name), is_line=True)
            for name in data["groups"]
        ),
        bottom=data["bottom"],
        right=24 + round(LETTER * longest),
        height=data["height"] + TOP + data["bottom"],
        message="" if chart.ranks and chart.datasets else "Nothing to show.",
    )


def ranks_data(chart: Ranks, look: Look) -> dict[str, Any]:
    """What the page's script needs: ranks by model, and how each line is drawn."""
    groups = by_size(chart.groups.values())
    labels = list(chart.ranks)
    few = len(labels) <= _FEW
    places = [shortened(name, 24) for name in chart.datasets]
    worst = max([1, *(r for line in chart.ranks.values() for r in line if r)])
    return {
        "labels": labels,
        "datasets": list(chart.datasets),
        "places": places,
        "ranks": [list(ranks) for ranks in chart.ranks.values()],
        "groups": groups,
        "of": [
            groups.index(chart.groups[name]) if name in chart.groups else -1
            for name in labels
        ],
        "slots": [look.model_slot(name) for name in labels] if not groups else [],
        "group_slots": [look.group_slot(name) for name in groups],
        "shown": sorted(positions(chart.ranks, chart.shown or (labels if few else ()))),
        "height": min(560, max(240, 18 * len(labels))),
        "bottom": 16 + round(4.4 * max(map(len, places), default=0)),
        "worst": worst,
        "ticks": _ticks(worst),
    }


def _style(chart: Ranks, name: str, look: Look) -> Style:
    if chart.groups:
        return look.of_group(chart.groups.get(name))
    return look.of_model(name)


def _ends(
    chart: Ranks, look: Look, shown: list[str], height: int
) -> list[dict[str, Any]]:
    """Names at their lines' last ranks, moved apart where they would touch."""
    last = {}
    for name in shown:
        known = [rank for rank in chart.ranks[name] if rank is not None]
        if known:
            last[name] = known[-1]
    # More names than lines of text would overlap.
    last = dict(list(last.items())[: int(height / _ROOM)])
    worst = ranks_data(chart, look)["worst"]
    wanted = [(rank - 0.5) / worst * height for rank in last.values()]
    places = spread(wanted, _ROOM, _ROOM / 2, height - _ROOM / 2)
    return [
        {"y": y, "name": shortened(name), "colour": _style(chart, name, look).colour}
        for y, name in zip(places, last, strict=True)
    ]


def _ticks(worst: Number) -> list[int]:
    """1, and at most eight round ranks below it."""
    steps = (s * 10**power for power in range(9) for s in (1, 2, 5))
    step = next(step for step in steps if worst <= 8 * step)
    return [1, *range(max(2, step), int(worst) + 1, step)]
