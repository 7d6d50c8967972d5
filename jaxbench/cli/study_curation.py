"""The command about curated contrastive training: study curation."""

from typing import Annotated

import typer

from jaxbench.cli.options import grouped
from jaxbench.cli.study import Files, Folder, write_study
from jaxbench.cli.tables import show_page


@grouped
def curation(
    *,
    folder: Folder,
    level: Annotated[
        float, typer.Option(help="Coverage of the intervals over seeds.")
    ] = 0.95,
    files: Files,
) -> None:
    """Show what leaving out bad batches does to contrastive training, and its cost.

    The method is that of arXiv 2403.19579, on the contrastive runs in the folder;
    curated and plain runs are compared seed by seed.

    Example: [bold]jaxbench study curation results/studies/curation-digits[/]
    """
    page = write_study("curation", folder, {"level": level}, files)
    show_page(page, files.csv_folder)
