"""The command about knowing when one is wrong: study selective."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jaxbench.cli.display import console
from jaxbench.cli.study import Figures, Folder, Formats, Output, write_study
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.cells import Table

_WIDE = 160
# Tables of the terminal; the page and the files have all.
_SHOWN = ("models", "scaling", "twins", "students")
# Columns that a terminal does without.
_DETAILS = ("Family", "Cov@95", "Images")


def selective(
    folder: Folder,
    reference: Annotated[
        str | None,
        typer.Option(help="Clean dataset; the one most models were evaluated on."),
    ] = None,
    regimes: Annotated[
        Path | None,
        typer.Option(help="CSV file, columns model and regime, of your own models."),
    ] = None,
    rank_by: Annotated[str, typer.Option(help="Metric of the ranking.")] = "auroc",
    shown: Annotated[
        list[str] | None,
        typer.Option(
            "--show", help="Model whose curves are shown; repeat it, * works."
        ),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(help="Foreign classes of a level; as many as known classes."),
    ] = None,
    levels: Annotated[int, typer.Option(help="Levels of severity.")] = 11,
    num_resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Chooses the resamples.")] = 0,
    csv_folder: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Also write every table into this folder; shares and accuracies "
            "as fractions.",
        ),
    ] = None,
    output: Output = None,
    figures: Figures = None,
    formats: Formats = None,
) -> None:
    """Show which models know when they are wrong, and what made them so.

    The questions are those of arXiv 2302.11874: selective prediction and calibration
    before and after temperature scaling, by training regime and family.

    Example: [bold]jaxbench study selective results/selective-digits --csv tables[/]
    """
    options: dict[str, Any] = {
        "reference": reference,
        "regimes": regimes,
        "rank_by": rank_by,
        "shown": tuple(shown or ()),
        "severity_group_size": group_size,
        "severity_levels": levels,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    page = write_study("selective", folder, options, output, figures, formats)
    # A file or a pipe has no width that a table must fit in.
    wide = Console(width=max(console.width, _WIDE))
    screen = console if console.is_terminal else wide
    for section in page.sections:
        if section.table is None:
            continue
        if section.name in _SHOWN:
            console.print(f"\n{section.heading}", style="bold", markup=False)
            console.print(section.caption, style="dim", markup=False, highlight=False)
            screen.print(_short(section.table).to_rich())
        if csv_folder is not None:
            _write(csv_folder / f"{section.name}.csv", section.table)
    for note in page.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    if csv_folder is not None:
        console.print(f"Tables: {csv_folder}", markup=False)


def _short(table: "Table") -> "Table":
    """The table without its details."""
    from jaxbench.reports.cells import Table

    kept = [
        number
        for number, column in enumerate(table.columns)
        if not column.heading.startswith(_DETAILS)
    ]
    columns = tuple(table.columns[number] for number in kept)
    rows = tuple(tuple(row[number] for number in kept) for row in table.rows)
    return Table(columns, rows)


def _write(path: Path, table: "Table") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_heading(column.heading) for column in table.columns)
            for row in table.rows:
                writer.writerow(
                    "" if cell.value is None else cell.value for cell in row
                )
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; choose "
            "another folder"
        ) from error


def _heading(text: str) -> str:
    """A heading as a column name: `ECE (T*) %` is ece_ts."""
    text = text.replace("(T*)", "ts").replace("T*", "temperature").replace("Δ", "delta")
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
