"""What a reader hears or sees of one mark of a chart, by pointer or by keys."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from jaxbench.reports.cells import MISSING
from jaxbench.reports.charts.frame import Opening
from jaxbench.reports.look import Look
from jaxbench.reports.page import Interval, Number


class Reading(NamedTuple):
    """One mark, or the marks of one distribution.

    Attributes:
        names: By any of which it is isolated.
        title: Whose it is.
        rows: Heading to text.
    """

    names: tuple[str, ...]
    title: str
    rows: tuple[tuple[str, str], ...]


def reading_params() -> list[alt.Parameter]:
    """The parameters of a chart whose marks have readings, besides an axis of rows.

    `hot` is the reading under the pointer or the keys, `bright` those isolated.
    """
    starts: dict[str, Any] = {"x_domain": [0, 1], "x_title": "", "x_percent": False}
    starts |= {"names": [], "name_offsets": [], "hot": -1, "bright": []}
    return [alt.param(name, value=value) for name, value in starts.items()]


def is_bright(faint: float = 0.15) -> Any:
    """Opacity of marks by their reading `t`: pale outside `bright`, if any is in it."""
    return alt.condition(
        "!length(bright) || indexof(bright, datum.t) >= 0",
        alt.value(1),
        alt.value(faint),
    )


def readings_data(
    openings: Mapping[str, Opening],
    readings: Sequence[Reading],
    groups: Sequence[str],
    look: Look,
) -> dict[str, Any]:
    """What the page's script needs of a chart whose marks have readings.

    Args:
        openings: Title of a panel to its rows.
        readings: By the number `t` of the rows, in the order of the arrow keys.
        groups: For the legend.
        look: Of the page.
    """
    return {
        "panels": [
            {
                "title": title,
                "rows": opening.rows,
                "signals": opening.signals,
                "height": opening.height,
                "left": opening.left,
            }
            for title, opening in openings.items()
        ],
        "readings": readings,
        "groups": groups,
        "slots": [look.group_slot(name) for name in groups],
        "message": next((o.message for o in openings.values()), "Nothing to show."),
    }


def number_text(value: Number | None, *, percent: bool) -> str:
    """A number with four digits, or a fraction in percent; a dash where it is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f}%" if percent else f"{value:.4g}"


def interval_text(interval: Interval | None, *, percent: bool) -> str:
    """A value with its interval, if it has one."""
    if interval is None:
        return MISSING
    value, low, high = (number_text(v, percent=percent) for v in interval)
    return value if MISSING in (low, high) else f"{value} [{low}, {high}]"
