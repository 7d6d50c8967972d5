"""Distributions as ridges or boxes, a panel a grouping."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
from jaxtyping import Float

from jaxbench.reports.charts.labels import axis_labels, label_lines
from jaxbench.reports.charts.readings import Reading, is_bright, number_text
from jaxbench.reports.look import Look, style_at, token
from jaxbench.reports.page import Distributions, Samples

_PLACES = 100
_FEWEST = 4
# Thinner tails are a line on a line.
_THIN = 0.004
# Of the distance to the ridge above: none hides another's points.
_HEIGHT = 0.86
_ROW, _BOX = 26, 15


def distribution_panels(chart: Distributions, look: Look) -> list[alt.LayerChart]:
    """A chart a panel, with its title."""
    draw = _ridges if chart.kind == "ridge" else _boxes
    return [
        draw(chart, samples, look)
        .properties(title=label_lines(title, width=44))
        .add_params(alt.param("bright", value=[]), alt.param("hot", value=-1))
        for title, samples in chart.panels.items()
    ]


def distribution_readings(chart: Distributions, title: str) -> list[Reading]:
    """What is read of each distribution of a panel."""
    return [
        Reading(
            tuple(filter(None, (sample.label, sample.group))),
            _with_note(sample),
            tuple(_statistics(sample, percent=chart.percent)),
        )
        for sample in chart.panels[title]
    ]


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


def _known(sample: Samples) -> Float[np.ndarray, " n"]:
    values = np.array(sample.values, np.float64)
    return values[np.isfinite(values)]


def _limits(chart: Distributions, samples: Sequence[Samples]) -> tuple[float, float]:
    known = [_known(sample) for sample in samples]
    everything = np.concatenate([*known, np.empty(0)])
    if not everything.size:
        return 0.0, 1.0
    low, high = float(everything.min()), float(everything.max())
    margin = 0.08 * (high - low) or 0.02
    if chart.percent:
        return max(0.0, low - margin), min(1.0, high + margin)
    return low - margin, high + margin


def _axes(
    chart: Distributions, names: Sequence[str], limits: tuple[float, float]
) -> tuple[alt.X, alt.Y]:
    x = (
        alt.X("x:Q")
        .scale(domain=list(limits), nice=False, zero=False)
        .axis(format="~%" if chart.percent else "~g", tickCount=5)
        .title(chart.title)
    )
    y = (
        alt.Y("y:Q")
        .scale(domain=[-0.95, len(names) - 0.4], reverse=True, nice=False)
        .axis(
            values=list(range(len(names))),
            **axis_labels(names),
            ticks=False,
            domain=False,
        )
        .title(None)
    )
    return x, y


def _ridges(
    chart: Distributions, samples: Sequence[Samples], look: Look
) -> alt.LayerChart:
    """Densities of equal height, with a point a value and a tick at the highest."""
    names = [_with_note(sample) for sample in samples]
    low, high = limits = _limits(chart, samples)
    places = np.linspace(low, high, _PLACES)
    areas: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for t, sample in enumerate(samples):
        values = _known(sample)
        same = {"t": t, "y": t, "colour": _colour(sample, look)}
        shown = sorted(map(_short, values))
        points += [same | {"x": value} for value in shown]
        # One value may be there often; one tick marks it.
        if shown:
            points[-1]["best"] = True
        if len(values) >= _FEWEST:
            height = density(values, places)
            seen = np.flatnonzero(height > _THIN)
            areas += [
                same | {"x": _short(places[k]), "top": _short(t - _HEIGHT * height[k])}
                for k in range(seen[0], seen[-1] + 1)
            ]
    x, y = _axes(chart, names, limits)
    colour = alt.Color("colour:N").scale(None).legend(None)
    drawn = alt.Chart(alt.Data(values=areas)).encode(x, y, colour, alt.Detail("t:N"))
    dots = alt.Chart(alt.Data(values=points)).encode(x, y)
    return alt.layer(
        drawn.mark_area(fillOpacity=0.4, strokeWidth=1, line=True).encode(
            y="top:Q", y2="y:Q", opacity=is_bright()
        ),
        dots.mark_circle(size=12, color=token("ink")).encode(opacity=is_bright()),
        dots.transform_filter("datum.best")
        .mark_tick(color=token("ink"), thickness=2, size=9, yOffset=-4)
        .encode(opacity=is_bright()),
    ).properties(width=300, height=_ROW * len(names) + 14)


def _boxes(
    chart: Distributions, samples: Sequence[Samples], look: Look
) -> alt.LayerChart:
    """Quartiles and median, whiskers to the extremes, dots by the share of equals."""
    labels = list(dict.fromkeys(sample.label for sample in samples))
    groups = list(dict.fromkeys(sample.group for sample in samples))
    notes = {s.label: _with_note(s) for s in samples if s.note}
    names = [notes.get(label, label) for label in labels]
    boxes: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    step = 0.8 / max(1, len(groups))
    for t, sample in enumerate(samples):
        values = _known(sample)
        if not values.size:
            continue
        offset = (groups.index(sample.group) - (len(groups) - 1) / 2) * step
        same = {"t": t, "y": round(labels.index(sample.label) + offset, 3)}
        same["colour"] = _colour(sample, look)
        ends = map(_short, np.percentile(values, (0, 25, 50, 75, 100)))
        boxes.append(
            same | dict(zip(("low", "q1", "x", "q3", "high"), ends, strict=True))
        )
        levels, counts = np.unique(values, return_counts=True)
        dots += [
            same | {"x": _short(level), "share": _short(count / values.size)}
            for level, count in zip(levels, counts, strict=True)
        ]
    x, y = _axes(chart, names, _limits(chart, samples))
    y = y.scale(domain=[-0.6, len(names) - 0.4], reverse=True, nice=False)
    colour = alt.Color("colour:N").scale(None).legend(None)
    base = alt.Chart(alt.Data(values=boxes)).encode(x, y, colour, opacity=is_bright())
    size = 0.62 * _BOX
    return alt.layer(
        base.mark_rule().encode(x="low:Q", x2="high:Q"),
        base.mark_bar(size=size, fillOpacity=0.4, strokeWidth=1).encode(
            alt.Stroke("colour:N").scale(None).legend(None), x="q1:Q", x2="q3:Q"
        ),
        base.mark_tick(size=size, thickness=2, color=token("ink")).encode(color=alt.value(token("ink"))),
        alt.Chart(alt.Data(values=dots))
        .mark_circle(color=token("ink"))
        .encode(
            x,
            y,
            opacity=is_bright(),
            size=alt.Size("share:Q").scale(domain=[0, 1], range=[6, 60]).legend(None),
        ),
    ).properties(width=300, height=(_BOX * len(groups) + 10) * len(names))


def _colour(sample: Samples, look: Look) -> str:
    return (look.of_group(sample.group) if sample.group else style_at(0)).colour


def _with_note(sample: Samples) -> str:
    return f"{sample.label} ({sample.note})" if sample.note else sample.label


def _short(value: float) -> float:
    return float(f"{value:.4g}")
