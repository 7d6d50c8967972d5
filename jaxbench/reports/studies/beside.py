"""Own numbers beside published ones, as a section that every study may have."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxbench.reports.cells import (
    Cell,
    Column,
    Table,
    format_value,
    interval_cell,
    text_cell,
)
from jaxbench.reports.page import Interval, Section
from jaxbench.studies.entries import is_number


class Beside(NamedTuple):
    """One own number and the published one.

    Attributes:
        model: Label of the model here.
        published_as: What the publication calls it.
        measure: What was measured, and where.
        own: A finite number with its interval, if it has one.
        published: The published number.
        percent: Whether both are fractions, shown in percent.
    """

    model: str
    published_as: str
    measure: str
    own: Interval
    published: float
    percent: bool = True


def beside_section(rows: Sequence[Beside], source: str) -> Section:
    """A row a number: own, published, and own less published.

    Args:
        rows: The numbers, one or more.
        source: Where the published ones are from, and in what they differ from what
            was measured here; sentences.
    """
    columns = (
        Column("Model"),
        Column("Published as"),
        Column("Measure"),
        Column("Own", numeric=True, help="percent, but for error ratios"),
        Column("Published", numeric=True),
        Column("Difference", numeric=True, help="own less published, in points"),
    )
    cells = (
        (
            text_cell(row.model),
            text_cell(row.published_as),
            text_cell(row.measure),
            interval_cell(*row.own, percent=row.percent),
            Cell(format_value(row.published, percent=row.percent), row.published),
            _difference(row),
        )
        for row in rows
    )
    return Section(
        "published",
        "Beside the published numbers",
        f"{source} Differences have the interval of the own number, where it has one: "
        "the published one is taken as it is.",
        Table(columns, tuple(cells)),
    )


def _difference(row: Beside) -> Cell:
    # No interval has one end.
    known = [end - row.published for end in row.own if is_number(end)]
    scale, digits = (100.0, 1) if row.percent else (1.0, 2)
    first, *ends = [f"{scale * value:+.{digits}f}" for value in known]
    return Cell(f"{first} [{', '.join(ends)}]" if ends else first, *known)
