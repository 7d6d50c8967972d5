"""How numbers and names are shown. Fractions become percent here and nowhere before."""

import math
from dataclasses import dataclass
from typing import Any

import rich.box
import rich.table
import rich.text

from jaxbench.reports.metric_texts import metric_text
from jaxbench.studies.entries import Row, is_number

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A column's heading, whether it holds numbers, and its one-line explanation."""

    heading: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """What is shown, what the column is sorted by, and the ends of its interval."""

    text: str
    value: float | int | str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """The shown text of every cell."""
        return [[cell.text for cell in row] for row in self.rows]

    def to_rich(self, title: str | None = None) -> rich.table.Table:
        """The table for a terminal."""
        # Names come from users: Text, since a plain string is read as markup.
        table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(self.columns):
            justify = "right" if column.numeric else "left"
            # The first column is what a row is about: rather cut than folded.
            heading = rich.text.Text(column.heading)
            table.add_column(heading, justify=justify, no_wrap=number == 0)
        for row in self.texts():
            table.add_row(*(rich.text.Text(text) for text in row))
        return table


def metric_column(name: str) -> Column:
    """The column of a metric."""
    text = metric_text(name)
    unit = " %" if text.percent else ""
    arrow = f" {text.direction}" if text.direction else ""
    return Column(f"{text.heading}{unit}{arrow}", numeric=True, help=text.meaning)


def format_value(value: float | None, *, percent: bool = False, digits: int = 3) -> str:
    """A number as shown: 0.9312 is 93.1 in percent; a missing one is a dash."""
    if value is None:
        return MISSING
    if not is_number(value):
        return "NaN"
    return f"{100 * value:.1f}" if percent else f"{value:.{digits}f}"


def format_interval(
    value: float | None, low: float | None, high: float | None, *, percent: bool = False
) -> str:
    """`value [low, high]`, or the value alone where the interval is missing."""
    shown = format_value(value, percent=percent)
    if not (is_number(value) and is_number(low) and is_number(high)):
        return shown
    ends = (format_value(end, percent=percent) for end in (low, high))
    return f"{shown} [{', '.join(ends)}]"


def metric_cell(row: Row, name: str) -> Cell:
    """A metric of a row with its interval."""
    value = row.get(name)
    ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
    return interval_cell(value, *ends, percent=metric_text(name).percent)


def interval_cell(
    value: float | None, low: float | None, high: float | None, *, percent: bool = False
) -> Cell:
    """A number with its interval, whose ends a file has in columns of their own."""
    text = format_interval(value, low, high, percent=percent)
    if not is_number(value):
        return Cell(text)
    if not (is_number(low) and is_number(high)):
        return Cell(text, value)
    return Cell(text, value, low, high)


def text_cell(value: Any) -> Cell:
    """A setting or a name."""
    if value is None:
        return Cell(MISSING, None)
    if isinstance(value, float):
        return Cell(f"{value:g}", value)
    return Cell(str(value), value if isinstance(value, int) else str(value))


def percent_cell(value: float) -> Cell:
    """A fraction in percent; a dash where it is not finite."""
    return _finite_cell(value, format_value(value, percent=True))


def decimal_cell(value: float, digits: int) -> Cell:
    """A number to some decimals."""
    return _finite_cell(value, format_value(value, digits=digits))


def number_cell(value: float) -> Cell:
    """A setting, as short as it can be written."""
    return _finite_cell(value, f"{value:g}")


def significant_cell(value: float | None) -> Cell:
    """A positive number to three digits or to the whole number."""
    if value is None or not math.isfinite(value):
        return Cell(MISSING, None)
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return Cell(f"{value:,.{digits}f}", value)


def megabytes_cell(value: float | None) -> Cell:
    """Bytes in units of a million."""
    return significant_cell(None if value is None else value / 1e6)


def _finite_cell(value: float, text: str) -> Cell:
    return Cell(text, value) if math.isfinite(value) else Cell(MISSING, None)
