"""The command about selective prediction: study selective."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxbench.cli.options import grouped
from jaxbench.cli.study import Files, Folder, Resampling, write_study
from jaxbench.cli.tables import show_page

# Tables of the terminal; the page and the files have all.
_SHOWN = ("models", "scaling", "twins", "students")
# Columns that a narrow terminal does without.
_DETAILS = ("Family", "Cov@95 %", "Images")


@grouped
def selective(
    *,
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
        typer.Option(help="Unknown classes of a level; as many as known classes."),
    ] = None,
    levels: Annotated[int, typer.Option(max=10_000, help="Levels of severity.")] = 11,
    resampling: Resampling,
    files: Files,
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
        **vars(resampling),
    }
    page = write_study("selective", folder, options, files)
    show_page(page, files.csv_folder, shown=_SHOWN, details=_DETAILS)
