"""`jaxbench study`: the pages of the studies, from finished results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jaxbench.cli.display import console
from jaxbench.cli.tables import CsvFolder, show_page

if TYPE_CHECKING:
    from jaxbench.reports.page import Page

Folder = Annotated[Path, typer.Argument(help="Folder of results.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="FOLDER/study-NAME.html if not given."),
]
Figures = Annotated[
    Path | None, typer.Option(help="Also write every figure into this folder.")
]
Formats = Annotated[
    list[str] | None, typer.Option("--format", help="Of the figures: svg, png, pdf.")
]


def list_studies() -> None:
    """List the studies, what each asks and where it was published.

    Example: [bold]jaxbench study list[/]
    """
    from jaxbench.reports.studies import STUDIES

    table = Table("study", "question", "paper")
    for name, study in STUDIES.items():
        table.add_row(name, study.question, study.reference.removeprefix("https://"))
    console.print(table)


def study_coupling(
    folder: Folder,
    rule: Annotated[
        str, typer.Option(help="Which pairs failed: 'fitted' or 'eq1'.")
    ] = "fitted",
    weights: Annotated[
        bool,
        typer.Option(help="Measure the weights of the best trial of each pair."),
    ] = True,
    csv_folder: CsvFolder = None,
    output: Output = None,
    figures: Figures = None,
    formats: Formats = None,
) -> None:
    """Write the page of which optimizer fits which backbone.

    [bold]jaxbench coupling[/] prints its tables in the terminal.

    Example: [bold]jaxbench study coupling results/digits-grid[/]
    """
    options = {"rule": rule, "weights": weights}
    page = write_study("coupling", folder, options, output, figures, formats)
    show_page(page, csv_folder, shown=())


def write_study(
    kind: str,
    folder: Path,
    options: dict[str, Any],
    output: Path | None = None,
    figures: Path | None = None,
    formats: list[str] | None = None,
) -> "Page":
    """Builds a study's page from a results folder, writes it and says what it found.

    Args:
        kind: Name of the study.
        folder: Where the results are.
        options: Of the study.
        output: The file; FOLDER/study-KIND.html when None.
        figures: Where the figures go too, if anywhere.
        formats: Of the figures.

    Raises:
        UserError: If there is no such study or option, or the results lack what it
            needs.
    """
    from jaxbench.reports.studies import find_study
    from jaxbench.reports.writing import write_page
    from jaxbench.results import ResultStore

    study = find_study(kind, options)
    page = study.build(ResultStore(folder), options)
    path = write_page(
        page,
        output or folder / f"study-{kind}.html",
        figures_dir=figures,
        formats=tuple(formats or ("svg", "png")),
    )
    show_findings(page)
    console.print(f"Study: [bold]{path.resolve()}[/]")
    if figures:
        console.print(f"Figures: {figures}", markup=False)
    return page


def show_findings(page: "Page") -> None:
    """Prints what a study found, a line each."""
    for finding in page.findings:
        console.print(f"\n{finding.title}: {finding.value}", style="bold", markup=False)
        console.print(finding.text, markup=False)
