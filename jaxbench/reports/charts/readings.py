"""What a reader hears or sees of one mark of a chart, by pointer or by keys."""

import math
from typing import Any, NamedTuple

import altair as alt

from jaxbench.reports.cells import MISSING
from jaxbench.reports.page import Interval


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


def is_bright(faint: float = 0.15) -> Any:
    """Opacity of marks by their reading `t`: pale outside `bright`, if any is in it."""
    return alt.condition(
        "!length(bright) || indexof(bright, datum.t) >= 0",
        alt.value(1),
        alt.value(faint),
    )


def number_text(value: float | None, *, percent: bool) -> str:
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
