"""The command about curated contrastive training: study curation."""

from pathlib import Path
from typing import Annotated

import typer

from jaxbench.cli.display import console
from jaxbench.cli.study import Figures, Folder, Formats, Output, write_study
from jaxbench.cli.tables import show_table, write_csv


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
    for section in page.sections:
        if section.table is None:
            continue
        show_table(section.heading, section.caption, section.table)
        if csv_folder is not None:
            write_csv(csv_folder / f"{section.name}.csv", section.table)
    if csv_folder is not None:
        console.print(f"Tables: {csv_folder}", markup=False)
