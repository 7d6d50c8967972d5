"""A heat map: the page's table of coloured cells, and its picture."""

import math
from typing import Any

import altair as alt

from jaxbench.reports.cells import MISSING
from jaxbench.reports.charts.frame import Opening, compile_chart
from jaxbench.reports.charts.labels import (
    label_axis,
    label_lines,
    label_signals,
    row_height,
)
from jaxbench.reports.charts.names import LETTER, shortened
from jaxbench.reports.charts.shades import Shades, shades_of, text_on
from jaxbench.reports.look import token
from jaxbench.reports.page import HeatMap, Number

_STEPS = 12
# A sign and the dashes of a border distinguish words without colour; known words have
# the same in every chart.
_KNOWN = ("failed", "diverged", "not trained", "error")
_SIGNS = ("\u00d7", "!", "\u25cb", "\u2020", "\u2021", "\u00a7")
_BORDERS = ((1, 0), (5, 3), (1.5, 2), (8, 2, 2, 2))
_ROW = 26


def shades_of_map(chart: HeatMap) -> Shades:
    """The colour scale of a heat map."""
    values = chart.limits or [value for row in chart.values for value in row]
    return shades_of(values, diverging=chart.diverging)


def mark_numbers(chart: HeatMap) -> dict[str, int]:
    """Number of each word in `marks`, by which it has its sign and its border."""
    words = dict.fromkeys([*_KNOWN, *chart.marks.values()])
    used = set(chart.marks.values())
    return {word: number for number, word in enumerate(words) if word in used}


def _sign(number: int) -> str:
    return _SIGNS[number % len(_SIGNS)]


def cell_text(chart: HeatMap, value: Number | None) -> str:
    """A value of a heat map as shown; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if chart.percent:
        return f"{100 * value:.{max(0, chart.digits - 1)}f}"
    return f"{value:.{chart.digits}f}"


def heat_table(chart: HeatMap) -> dict[str, Any]:
    """What the template draws: rows of cells with their colours, the scale, the signs.

    Colours are the same on light and dark pages: each text is chosen for its cell.
    """
    shades = shades_of_map(chart)
    cells = _cells(chart, shades)
    width = len(chart.columns)
    ends = dict.fromkeys((shades.low, (shades.low + shades.high) / 2, shades.high))
    return {
        "columns": chart.columns,
        "rows": [
            (name, cells[row * width : (row + 1) * width])
            for row, name in enumerate(chart.rows)
        ],
        "title": chart.title,
        "unit": " (%)" if chart.percent else "",
        "scale": [shades.at(step / _STEPS) for step in range(_STEPS + 1)],
        "ends": [cell_text(chart, value) for value in ends],
        "signs": [
            (_sign(number), word, number % len(_BORDERS))
            for word, number in mark_numbers(chart).items()
        ],
    }


def _cells(chart: HeatMap, shades: Shades) -> list[dict[str, str]]:
    """Cells row by row: text, full value, colours, and the word with its sign."""
    numbers = mark_numbers(chart)
    cells = []
    for row, values in zip(chart.rows, chart.values, strict=True):
        for column, value in zip(chart.columns, values, strict=True):
            cell = {"text": cell_text(chart, value), "value": "", "style": ""}
            cell |= {"word": "", "fill": "", "ink": ""}
            if value is not None and cell["text"] != MISSING:
                fill = shades.colour(value)
                ink = text_on(fill)
                cell |= {"value": f"{value:.9g}", "fill": fill, "ink": ink}
                cell["style"] = f"background:{fill};color:{ink}"
            if word := chart.marks.get((row, column), ""):
                number = numbers[word]
                cell |= {"word": word, "sign": _sign(number)}
                cell["mark"] = str(number % len(_BORDERS))
                # A dash beside the sign would say nothing more.
                cell["text"] = "" if cell["text"] == MISSING else cell["text"]
            cells.append(cell)
    return cells


def matrix_spec(chart: HeatMap) -> dict[str, Any]:
    """The picture of a heat map: a coloured cell with its number for every pair."""
    shades = shades_of_map(chart)
    width = max(1, len(chart.columns))
    cells = [
        {"x": number % width, "y": number // width, **_drawn(cell)}
        for number, cell in enumerate(_cells(chart, shades))
    ]
    longest = max((len(cell["text"]) for cell in cells), default=1)
    each = max(34.0, 16 + LETTER * longest)
    heads = [shortened(name) for name in chart.columns]
    upright = LETTER * max(map(len, heads), default=0) > each
    across = alt.Axis(
        labelExpr="columns[datum.value]",
        labelAngle=-90 if upright else 0,
        labelOverlap=False,
        labelLimit=0,
        orient="top",
        domain=False,
        title=None,
    )
    base = alt.Chart(alt.Data(values=cells)).encode(
        alt.X("x:O", axis=across), alt.Y("y:O", axis=label_axis(title=None))
    )
    fill = alt.Color("fill:N").scale(None).legend(None)
    layers = [
        base.mark_rect(stroke=token("card"), strokeWidth=1).encode(fill),
        base.mark_text(fontSize=11).encode(
            alt.Text("text:N"), alt.Color("ink:N").scale(None).legend(None)
        ),
    ]
    numbers = mark_numbers(chart)
    layers += [_border(base, word, number) for word, number in numbers.items()]
    if shades.high > shades.low:
        layers.append(_scale(chart, shades))
    return compile_chart(
        alt.layer(*layers)
        .properties(
            width=alt.Step(each),
            height=alt.Step(row_height(chart.rows, _ROW)),
            title=alt.Title(
                ", ".join(f"{_sign(n)} {word}" for word, n in numbers.items()),
                orient="bottom",
                anchor="start",
                color=token("muted"),
                fontSize=12,
            ),
        )
        .resolve_scale(color="independent", stroke="independent")
        .add_params(
            alt.param("columns", value=heads),
            *(alt.param(k, value=v) for k, v in label_signals(chart.rows).items()),
        )
    )


def matrix_opening(chart: HeatMap) -> Opening:
    """Whether there is something to draw: the chart holds its rows."""
    is_drawn = bool(chart.rows and chart.columns)
    message = "" if is_drawn else "Nothing to show."
    return Opening({}, {}, height=None, message=message)


def _drawn(cell: dict[str, str]) -> dict[str, str]:
    text = " ".join(filter(None, (cell["text"], cell.get("sign"))))
    return {
        "text": text,
        "word": cell["word"],
        "fill": cell["fill"] or token("card"),
        "ink": cell["ink"] or token("muted"),
    }


def _border(base: alt.Chart, word: str, number: int) -> alt.Chart:
    """An inner border around the cells of a word."""
    return (
        base.transform_filter(alt.FieldEqualPredicate(field="word", equal=word))
        .mark_rect(
            fill=None,
            strokeWidth=1.6,
            strokeDash=list(_BORDERS[number % len(_BORDERS)]),
            width=alt.RelativeBandSize(0.86),
            height=alt.RelativeBandSize(0.78),
        )
        .encode(alt.Stroke("ink:N").scale(None).legend(None))
    )


def _scale(chart: HeatMap, shades: Shades) -> alt.Chart:
    """The bar of colours: a legend of points that are not seen."""
    stops = [shades.at(step / _STEPS) for step in range(_STEPS + 1)]
    colours = (
        alt.Color("value:Q")
        .scale(domain=[shades.low, shades.high], range=stops, interpolate="rgb")
        .legend(title=label_lines(chart.title), format="~%" if chart.percent else "~g")
    )
    ends = [{"value": shades.low}, {"value": shades.high}]
    return (
        alt.Chart(alt.Data(values=ends)).mark_point(size=0, opacity=0).encode(colours)
    )
