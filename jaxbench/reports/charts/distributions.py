"""Distributions as ridges or boxes, a panel a grouping."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
from jaxtyping import Float

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
    is_bright,
    number_text,
    reading_params,
    readings_data,
)
from jaxbench.reports.look import Look, style_at, token
from jaxbench.reports.page import Distributions, Samples

_PLACES = 100
_FEWEST = 4
# Thinner tails are a line on a line.
_THIN = 0.004
# Of the distance to the ridge above: none hides another's points.
_HEIGHT = 0.86
_ROW, _BOX = 26, 15
_WIDTH = 440

Rows = dict[str, list[dict[str, Any]]]


@cache
def distributions_spec() -> dict[str, Any]:
    """The chart of any panel; see `frame` for its data sets. All have t, y, colour.

    `areas` has x, top; `dots` x, size; `boxes` low, q1, q3, high, above, below (where
    its box begins and ends, in rows); `ticks` x, above, below.
    """
    x = alt.X("x:Q", scale=scale_of("x"), axis=axis_of("x"))
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=alt.ExprRef("[length(names) - 0.5, top]"), nice=False),
        axis=label_axis(values=alt.ExprRef("sequence(length(names))"), title=None),
    )

    def rows(name: str) -> alt.Chart:
        return alt.Chart(alt.NamedData(name=name)).encode(opacity=is_bright())

    colour, ink = raw("colour:N", alt.Color), token("ink")
    hot = alt.condition("datum.t === hot", alt.value(3), alt.value(1))
    layers = [
        rows("areas")
        .mark_area(fillOpacity=0.4)
        .encode(
            x,
            y,
            raw("colour:N", alt.Fill),
            raw("colour:N", alt.Stroke),
            y2="top:Q",
            detail="t:N",
            strokeWidth=hot,
        ),
        rows("boxes").mark_rule(aria=False).encode(y, colour, x="low:Q", x2="high:Q"),
        rows("boxes")
        .mark_rect(fillOpacity=0.4)
        .encode(
            raw("colour:N", alt.Fill),
            raw("colour:N", alt.Stroke),
            x="q1:Q",
            x2="q3:Q",
            y="above:Q",
            y2="below:Q",
            strokeWidth=hot,
        ),
        rows("dots")
        .mark_point(filled=True, color=ink, aria=False)
        .encode(x, y, size=raw("size:Q", alt.Size)),
        rows("ticks")
        .mark_rule(color=ink, strokeWidth=2, aria=False)
        .encode(x, y="above:Q", y2="below:Q"),
    ]
    params = [*reading_params(), alt.param("top", value=-1)]
    return framed(alt.layer(*layers).add_params(*params))


def distributions_opening(chart: Distributions, look: Look) -> Opening:
    """Rows and parameters of the only panel of a chart; see `single_panels`."""
    samples = next(iter(chart.panels.values()), ())
    return _opening(chart, samples, 0, look)


def distributions_data(chart: Distributions, look: Look) -> dict[str, Any]:
    """What the page's script needs: rows by panel, what is read of each, a legend."""
    openings: dict[str, Opening] = {}
    readings: list[Reading] = []
    for title, samples in chart.panels.items():
        openings[title] = _opening(chart, samples, len(readings), look)
        readings += [_reading(chart, sample) for sample in samples]
    groups = [sample.group for panel in chart.panels.values() for sample in panel]
    named = list(dict.fromkeys(filter(None, groups)))
    return readings_data(openings, readings, named, look)


def density(
    values: Float[np.ndarray, " n"], x: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """A Gaussian kernel density whose highest value is 1.

    Silverman's width, 0.9 min(std, IQR / 1.34) n^(-1/5), eq. 3.31 of "Density
    Estimation for Statistics and Data Analysis" (1986), but not less than 1.5 % of the
    axis: equal values would make a needle that a page cannot show.

    Args:
        values: At least one.
        x: Where, rising.
    """
    between = np.subtract(*np.percentile(values, (75, 25))) / 1.34
    scale = min(values.std(), between) or values.std()
    width = max(0.9 * scale * len(values) ** -0.2, 0.015 * (x[-1] - x[0]))
    found = np.exp(-0.5 * ((x[:, None] - values[None, :]) / width) ** 2).sum(axis=1)
    return found / found.max()


def _opening(
    chart: Distributions, samples: Sequence[Samples], start: int, look: Look
) -> Opening:
    is_ridge = chart.kind == "ridge"
    limits = _limits(chart, samples)
    draw = _ridges if is_ridge else _boxes
    rows = draw(samples, start, look, limits)
    groups = list(dict.fromkeys(sample.group for sample in samples))
    if is_ridge:
        names, least = [_with_note(sample) for sample in samples], _ROW
    else:
        names = list({sample.label: _with_note(sample) for sample in samples}.values())
        least = _BOX * len(groups) + 10
    each = row_height(names, least)
    legend = (LegendItem(n, look.of_group(n), is_line=False) for n in groups if n)
    top = -0.95 if is_ridge else -0.5
    return Opening(
        {name: rows.get(name, []) for name in ("areas", "boxes", "dots", "ticks")},
        {
            "x_domain": list(limits),
            "x_title": chart.title,
            "x_percent": chart.percent,
            "top": top,
            **label_signals(names),
        },
        tuple(legend),
        left=label_room(names),
        width=_WIDTH,
        height=round(each * (len(names) - 0.5 - top)) + TOP + BOTTOM,
        message="" if samples else "Nothing to show.",
    )


def _limits(chart: Distributions, samples: Sequence[Samples]) -> tuple[float, float]:
    known = np.concatenate([np.empty(0), *(_known(sample) for sample in samples)])
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    margin = 0.08 * (high - low) or 0.02
    if chart.percent:
        return max(0.0, low - margin), min(1.0, high + margin)
    return low - margin, high + margin


def _ridges(
    samples: Sequence[Samples], start: int, look: Look, limits: tuple[float, float]
) -> Rows:
    """Densities of equal height, a point a value, and a tick at the highest."""
    places = np.linspace(*limits, _PLACES)
    rows: Rows = {"areas": [], "dots": [], "ticks": []}
    for y, sample in enumerate(samples):
        values = _known(sample)
        same = {"t": start + y, "y": y, "colour": _colour(sample, look)}
        rows["dots"] += [same | {"x": _short(v), "size": 12} for v in values]
        if values.size:
            best = {"x": _short(values.max()), "above": y - 0.32, "below": y}
            rows["ticks"].append(same | best)
        if len(values) >= _FEWEST:
            height = density(values, places)
            seen = np.flatnonzero(height > _THIN)
            rows["areas"] += [
                same | {"x": _short(places[k]), "top": _short(y - _HEIGHT * height[k])}
                for k in range(seen[0], seen[-1] + 1)
            ]
    return rows


def _boxes(
    samples: Sequence[Samples], start: int, look: Look, limits: tuple[float, float]
) -> Rows:
    """Quartiles and median, whiskers to the extremes, dots by the share of equals."""
    labels = list(dict.fromkeys(sample.label for sample in samples))
    groups = list(dict.fromkeys(sample.group for sample in samples))
    step = 0.8 / max(1, len(groups))
    rows: Rows = {"boxes": [], "dots": [], "ticks": []}
    for number, sample in enumerate(samples):
        values = _known(sample)
        if not values.size:
            continue
        offset = (groups.index(sample.group) - (len(groups) - 1) / 2) * step
        y = labels.index(sample.label) + offset
        same = {"t": start + number, "y": y, "colour": _colour(sample, look)}
        ends = {"above": y - 0.36 * step, "below": y + 0.36 * step}
        low, q1, middle, q3, high = map(
            _short, np.percentile(values, (0, 25, 50, 75, 100))
        )
        box = {"low": low, "q1": q1, "q3": q3, "high": high}
        rows["boxes"].append(same | box | ends)
        rows["ticks"].append(same | {"x": middle} | ends)
        levels, counts = np.unique(values, return_counts=True)
        rows["dots"] += [
            same | {"x": _short(level), "size": round(6 + 54 * count / values.size)}
            for level, count in zip(levels, counts, strict=True)
        ]
    return rows


def _reading(chart: Distributions, sample: Samples) -> Reading:
    names = tuple(filter(None, (sample.label, sample.group)))
    rows = tuple(_statistics(sample, percent=chart.percent))
    return Reading(names, _with_note(sample), rows)


def _statistics(sample: Samples, *, percent: bool) -> Iterator[tuple[str, str]]:
    if sample.group:
        yield "group", sample.group
    values = _known(sample)
    yield "values", str(values.size)
    if values.size:
        parts = np.percentile(values, (0, 25, 50, 75, 100))
        for name, value in zip(
            ("lowest", "first quartile", "median", "third quartile", "highest"),
            parts,
            strict=True,
        ):
            yield name, number_text(float(value), percent=percent)


def _known(sample: Samples) -> Float[np.ndarray, " n"]:
    values = np.array(sample.values, np.float64)
    return np.sort(values[np.isfinite(values)])


def _colour(sample: Samples, look: Look) -> str:
    return (look.of_group(sample.group) if sample.group else style_at(0)).colour


def _with_note(sample: Samples) -> str:
    return f"{sample.label} ({sample.note})" if sample.note else sample.label


def _short(value: float) -> float:
    return float(f"{value:.4g}")
