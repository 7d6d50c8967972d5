"""A rank-flow (bump) chart: a thin line a model, the chosen ones in colour."""

from typing import Any

import altair as alt

from jaxbench.reports.charts.labels import axis_labels
from jaxbench.reports.charts.names import shortened, spread
from jaxbench.reports.look import Look, by_size, token
from jaxbench.reports.page import Ranks

# Every line has its colour where there are no more.
_FEW = 12
_ROOM, _EDGE = 14, 8  # pixels: between names, and from the first rank to the top
_IS_LIT = "indexof(lit, datum.i) >= 0"


def ranks_data(chart: Ranks, look: Look) -> dict[str, Any]:
    """What the page's script needs: ranks by model, and how each line is drawn."""
    groups = by_size(chart.groups.values())
    labels = list(chart.ranks)
    slots = {
        name: look.group_slot(chart.groups[name])
        if name in chart.groups
        else -1
        if chart.groups
        else look.model_slot(name)
        for name in labels
    }
    few = len(labels) <= _FEW
    chosen = dict.fromkeys(chart.shown or (labels if few else ()))
    return {
        "labels": labels,
        "datasets": list(chart.datasets),
        "ranks": [list(ranks) for ranks in chart.ranks.values()],
        "groups": groups,
        "of": [
            groups.index(chart.groups[name]) if name in chart.groups else -1
            for name in labels
        ],
        "slots": list(slots.values()),
        "group_slots": [look.group_slot(name) for name in groups],
        "shown": [labels.index(name) for name in chosen],
        "height": min(560, max(240, 18 * len(labels))),
        "worst": max([1, *(r for line in chart.ranks.values() for r in line if r)]),
    }


def ranks(chart: Ranks, look: Look, *, rows: bool = True) -> alt.LayerChart:
    """Lines of all models, and the names of those in the parameter `lit`.

    Data set `ranks` has i (model), k (dataset), rank, colour, dash and alone, `ends`
    has y (pixels), name and colour. The parameter `hot` is the model under the pointer.

    Args:
        chart: The ranks.
        look: Of the page.
        rows: Whether it holds its rows; a page's script fills them in.
    """
    data = ranks_data(chart, look)
    x = (
        alt.X("k:O")
        .scale(type="point", padding=0.3, domain=list(range(len(chart.datasets))))
        .axis(
            **axis_labels([shortened(name, 24) for name in chart.datasets]),
            labelAngle=-38,
            grid=True,
        )
        .title(None)
    )
    y = (
        alt.Y("rank:Q")
        .scale(domain=[data["worst"], 1], range=[data["height"] - _EDGE, _EDGE])
        .axis(values=_ticks(data["worst"]), grid=False, domain=False)
        .title("Rank")
    )
    source = alt.Data(values=_rows(chart, look) if rows else [], name="ranks")
    base = alt.Chart(source).encode(x, y)
    lines = base.encode(alt.Detail("i:N"))
    colour = alt.Color("colour:N").scale(None).legend(None)
    dash = alt.StrokeDash("dash:N").scale(None).legend(None)
    layers = [
        lines.transform_filter(f"!({_IS_LIT})").mark_line(
            color=token("line"), strokeWidth=1
        ),
        base.transform_filter(f"datum.alone && !({_IS_LIT})").mark_point(
            color=token("edge"), filled=True, size=14
        ),
        lines.transform_filter(_IS_LIT).mark_line(strokeWidth=2.4).encode(colour, dash),
        base.transform_filter(f"isValid(datum.rank) && {_IS_LIT}")
        .mark_point(filled=True, opacity=1, size=40)
        .encode(colour),
        lines.transform_filter("datum.i === hot").mark_line(
            color=token("ink"), strokeWidth=2.6
        ),
        _names(_ends(chart, look) if rows else []),
    ]
    return (
        alt.layer(*layers)
        .properties(width=max(220, 70 * len(chart.datasets)), height=data["height"])
        .add_params(alt.param("lit", value=data["shown"]), alt.param("hot", value=-1))
    )


def _rows(chart: Ranks, look: Look) -> list[dict[str, Any]]:
    """A row a rank; one without a rank is a gap."""
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
    return rows


def _style(chart: Ranks, name: str, look: Look):
    if chart.groups:
        return look.of_group(chart.groups.get(name))
    return look.of_model(name)


def _ends(chart: Ranks, look: Look) -> list[dict[str, Any]]:
    """Names at their lines' last ranks, moved apart where they would touch."""
    data = ranks_data(chart, look)
    last = {}
    for name in (data["labels"][i] for i in data["shown"]):
        known = [rank for rank in chart.ranks[name] if rank is not None]
        if known:
            last[name] = known[-1]
    height = data["height"]
    # More names than lines of text would overlap.
    last = dict(list(last.items())[: height // _ROOM])
    share = (height - 2 * _EDGE) / max(1, data["worst"] - 1)
    wanted = [_EDGE + (rank - 1) * share for rank in last.values()]
    places = spread(wanted, _ROOM, _EDGE, height - _EDGE)
    return [
        {"y": y, "name": shortened(name), "colour": _style(chart, name, look).colour}
        for y, name in zip(places, last, strict=True)
    ]


def _names(rows: list[dict[str, Any]]) -> alt.Chart:
    return (
        alt.Chart(alt.Data(values=rows, name="ends"))
        .mark_text(align="left", dx=8)
        .encode(
            x=alt.value("width"),
            y=alt.Y("y:Q").scale(None),
            text="name:N",
            color=alt.Color("colour:N").scale(None).legend(None),
        )
    )


def _ticks(worst: float) -> list[int]:
    """1, and at most eight round ranks below it."""
    steps = (s * 10**power for power in range(9) for s in (1, 2, 5))
    step = next(step for step in steps if worst <= 8 * step)
    return [1, *range(max(2, step), int(worst) + 1, step)]
