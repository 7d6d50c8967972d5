"""The command about curated contrastive training: study curation."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from jaxbench.cli.display import console
from jaxbench.cli.study import Figures, Folder, Formats, Output, write_study
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.cells import Table

_WIDE = 160


def curation(
    folder: Folder,
    level: Annotated[
        float, typer.Option(help="Coverage of the intervals over seeds.")
    ] = 0.95,
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
    """Show what leaving out bad batches does to contrastive training, and its cost.

    The method is that of arXiv 2403.19579, on the contrastive runs in the folder;
    curated and plain runs are compared seed by seed.

    Example: [bold]jaxbench study curation results/studies/curation-digits[/]
    """
    page = write_study("curation", folder, {"level": level}, output, figures, formats)
    # A file or a pipe has no width that a table must fit in.
    wide = Console(width=max(console.width, _WIDE))
    shown = console if console.is_terminal else wide
    for section in page.sections:
        if section.table is None:
            continue
        console.print(f"\n{section.heading}", style="bold", markup=False)
        console.print(section.caption, style="dim", markup=False, highlight=False)
        shown.print(section.table.to_rich())
        if csv_folder is not None:
            _write(csv_folder / f"{section.name}.csv", section.table)
    if csv_folder is not None:
        console.print(f"Tables: {csv_folder}", markup=False)


def _write(path: Path, table: "Table") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                re.sub(r"[^a-z0-9]+", "_", column.heading.lower()).strip("_")
                for column in table.columns
            )
            for row in table.rows:
                writer.writerow(
                    "" if cell.value is None else cell.value for cell in row
                )
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; choose "
            "another folder"
        ) from error
