"""Tables of reports in the terminal and as CSV files."""

import contextlib
import enum
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxbench.cli.display import console, reserve_stdout
from jaxbench.errors import UserError, counted

if TYPE_CHECKING:
    from jaxbench.reports.cells import Table
    from jaxbench.reports.page import Page


class TableFormat(enum.StrEnum):
    """How a table is printed."""

    TABLE = "table"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"
    JSON = "json"


def for_a_program(path: Path | None) -> Path | None:
    """Callback of an option whose value `-` prints a table: nothing else is printed."""
    reserve_stdout(str(path) == "-")
    return path


CsvFolder = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        callback=for_a_program,
        help="Also write every table into this folder, whole; shares and accuracies "
        "as fractions. - prints them instead, one after the other.",
    ),
]


def show_page(
    page: "Page",
    csv_folder: Path | None,
    *,
    shown: Collection[str] | None = None,
    details: Collection[str] = (),
    most_rows: int | None = None,
) -> None:
    """Prints a page's tables and notes, and writes the tables where that is asked.

    Args:
        page: The page of a study.
        csv_folder: Folder of a file a table; none are written when None.
        shown: Names of the sections to print; all when None.
        details: See `show_table`.
        most_rows: See `show_table`.

    Raises:
        UserError: If a file cannot be written.
    """
    named = [(s, s.table) for s in page.sections if s.table is not None]
    for section, table in named:
        if shown is None or section.name in shown:
            show_table(
                section.heading,
                section.caption,
                table,
                details=details,
                most_rows=most_rows,
            )
    for note in page.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    if csv_folder is not None:
        write_tables(csv_folder, ((section.name, table) for section, table in named))


def write_tables(folder: Path, tables: "Iterable[tuple[str, Table]]") -> None:
    """Writes tables as NAME.csv and reports where; `-` prints them.

    Raises:
        UserError: If a file cannot be written.
    """
    if str(folder) == "-":
        texts = [f"# {name}\n{table.to_csv()}" for name, table in tables]
        sys.stdout.write("\n".join(texts))
        return
    for name, table in tables:
        write_csv(folder / f"{name}.csv", table)
    console.print(f"Tables: {folder}", markup=False)


def show_table(
    heading: str,
    caption: str,
    table: "Table",
    *,
    details: Collection[str] = (),
    most_rows: int | None = None,
) -> None:
    """Prints a table under its heading, without what the terminal is too narrow for.

    Args:
        heading: Its title.
        caption: What it says.
        table: What to print; "None." stands for one without rows.
        details: Ends of headings of columns that go first where space is short, in
            this order; after them the last columns go.
        most_rows: Rows to print; all when None.
    """
    from jaxbench.reports.cells import Table

    console.print(f"\n{heading}", style="bold", markup=False, highlight=False)
    console.print(caption, style="dim", markup=False, highlight=False)
    if not table.rows:
        console.print("None.")
        return
    some = Table(table.columns, table.rows[:most_rows])
    shown = fitting(some.without_empty(), console.width, details)
    console.print(shown.to_rich())
    hidden = {
        "more row": len(table.rows) - len(shown.rows),
        "more column": len(table.columns) - len(shown.columns),
    }
    more = [counted(count, what) for what, count in hidden.items() if count]
    if more:
        text = f"{' and '.join(more)} in the files of --csv DIR"
        console.print(text, style="dim", markup=False, highlight=False)


def fitting(table: "Table", width: int, details: Collection[str] = ()) -> "Table":
    """The columns that fit in so many characters, the first two in any case."""
    texts = table.texts()

    def needed(column: int) -> int:
        cells = [len(row[column]) for row in texts]
        words = [len(word) for word in table.columns[column].heading.split()]
        return max([*cells, *words]) + 3

    kept = list(range(len(table.columns)))
    for detail in details:
        if sum(map(needed, kept)) > width:
            kept = [i for i in kept if not table.columns[i].heading.endswith(detail)]
    while len(kept) > 2 and sum(map(needed, kept)) > width:
        kept.pop()
    return table.only(kept)


def write_csv(path: Path, table: "Table") -> None:
    """Writes a table's values, fractions as fractions; prints them to `-`.

    A column with intervals is followed by their ends, NAME_low and NAME_high.

    Raises:
        UserError: If the file cannot be written.
    """
    if str(path) == "-":
        sys.stdout.write(table.to_csv())
        return
    with writing_csv(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_csv(), encoding="utf-8")


@contextlib.contextmanager
def writing_csv(path: Path) -> Iterator[None]:
    """Says which file cannot be written, and why.

    Raises:
        UserError: In place of any OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else error.strerror or error
        raise UserError(
            f"{str(path)!r} cannot be written: {reason}; choose another place"
        ) from error


def print_as(table: "Table", form: TableFormat) -> None:
    """Prints a table for a program: nothing else is on standard output."""
    texts = {
        TableFormat.CSV: table.to_csv,
        TableFormat.MARKDOWN: table.to_markdown,
        TableFormat.LATEX: table.to_latex,
        TableFormat.JSON: table.to_json,
    }
    sys.stdout.write(texts[form]())


def table_of_arrow(found) -> "Table":
    """An Arrow table as a table: names as they are, numbers in full."""
    from jaxbench.reports.cells import Column, Table, text_cell

    # By place: a query may give two columns one name.
    values = [column.to_pylist() for column in found.columns]
    columns = []
    for name, column in zip(found.column_names, values, strict=True):
        known = [value for value in column if value is not None]
        numeric = bool(known) and all(isinstance(v, int | float) for v in known)
        columns.append(Column(name, numeric, name=name))
    rows = zip(*values, strict=True)
    return Table(tuple(columns), tuple(tuple(map(text_cell, row)) for row in rows))
