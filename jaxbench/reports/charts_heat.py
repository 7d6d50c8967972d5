"""A heat map as a table of coloured cells: read aloud, searched and sorted like one."""

import math
from typing import Any

from jaxbench.reports.cells import MISSING
from jaxbench.reports.charts_colours import Shades, shades_of, text_on
from jaxbench.reports.page import HeatMap, Number

_STEPS = 12


def shades_of_map(chart: HeatMap) -> Shades:
    """The colour scale of a heat map."""
    values = chart.limits or [value for row in chart.values for value in row]
    return shades_of(values, diverging=chart.diverging)


def cell_text(chart: HeatMap, value: Number | None) -> str:
    """A value of a heat map as shown; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if chart.percent:
        return f"{100 * value:.{max(0, chart.digits - 1)}f}"
    return f"{value:.{chart.digits}f}"


def heat_table(chart: HeatMap) -> dict[str, Any]:
    """What the template draws: rows of cells with their colours, and the scale.

    Colours are the same on light and dark pages: each text is chosen for its cell.
    """
    shades = shades_of_map(chart)
    rows = [
        (name, [_cell(chart, shades, value) for value in values])
        for name, values in zip(chart.rows, chart.values, strict=True)
    ]
    ends = dict.fromkeys((shades.low, (shades.low + shades.high) / 2, shades.high))
    return {
        "columns": chart.columns,
        "rows": rows,
        "title": chart.title,
        "unit": " (%)" if chart.percent else "",
        "scale": [shades.at(step / _STEPS) for step in range(_STEPS + 1)],
        "ends": [cell_text(chart, value) for value in ends],
    }


def _cell(chart: HeatMap, shades: Shades, value: Number | None) -> dict[str, Any]:
    text = cell_text(chart, value)
    if value is None or text == MISSING:
        return {"text": text, "value": "", "style": ""}
    background = shades.colour(value)
    style = f"background:{background};color:{text_on(background)}"
    return {"text": text, "value": f"{value:.9g}", "style": style}
