"""Users' names beside the rows of a chart: wrapped, and cut in the middle."""

import textwrap
import zlib
from collections.abc import Sequence
from typing import Any

import altair as alt

from jaxbench.reports.charts.names import LETTER

LINE = 14  # pixels of a line of a label
_WIDTH, _MOST = 30, 4


def label_lines(text: str) -> list[str]:
    """The lines of a label; one of too many loses its middle.

    Names often differ at their ends alone, so a checksum stands in the middle's place.
    """
    room = (_WIDTH - 1) * _MOST
    if len(text) > room:
        cut = f"...{zlib.crc32(text.encode()):08x}..."
        text = text[: room // 2 - len(cut)] + cut + text[-room // 2 :]
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False) or [""]


def label_signals(names: Sequence[str]) -> dict[str, Any]:
    """The parameters of `label_axis`."""
    lines = [label_lines(name) for name in names]
    # Vega puts the first line of several at the tick, not their middle.
    moved = [-LINE / 2 * (len(line) - 1) for line in lines]
    return {"names": lines, "name_offsets": moved}


def label_room(names: Sequence[str]) -> int:
    """Pixels that the longest line needs beside a chart."""
    longest = max(
        (len(line) for name in names for line in label_lines(name)), default=0
    )
    return 18 + round(LETTER * 1.1 * longest)


def row_height(names: Sequence[str], least: int) -> int:
    """Pixels of a row: at least so many, and enough for its label."""
    most = max((len(label_lines(name)) for name in names), default=1)
    return max(least, LINE * most + 4)


def label_axis(**settings: Any) -> alt.Axis:
    """An axis of rows 0, 1, ..., which the parameter `names` names."""
    return alt.Axis(
        labelExpr="names[datum.value]",
        labelOffset=alt.ExprRef("name_offsets[datum.value] || 0"),
        labelLineHeight=LINE,
        labelOverlap=False,
        # Vega leaves out every other value where there are more.
        tickCount=alt.ExprRef("length(names)"),
        # The lines are short enough; Vega would cut them at 180 pixels.
        labelLimit=0,
        domain=False,
        **settings,
    )
