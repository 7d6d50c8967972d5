"""`jaxbench study`: the pages of the studies, from finished results."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jaxbench.cli.display import console
from jaxbench.cli.options import grouped
from jaxbench.cli.tables import CsvFolder, show_page

if TYPE_CHECKING:
    from jaxbench.reports.page import Page

Folder = Annotated[Path, typer.Argument(help="Folder of results.")]


@dataclass(frozen=True)
class Files:
    """What a study writes."""

    csv_folder: CsvFolder = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page; FOLDER/study-NAME.html if not given."
        ),
    ] = None
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure into this folder.")
    ] = None
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Of the figures: svg, png, pdf; svg and png."),
    ] = None

    def write(self, page: "Page", path: Path) -> None:
        """Writes the page, and the figures where they are asked for."""
        from jaxbench.reports.writing import write_page

        written = write_page(
            page,
            path,
            figures_dir=self.figures,
            formats=tuple(self.formats or ("svg", "png")),
        )
        console.print(f"Study: [bold]{written.resolve()}[/]")
        if self.figures:
            console.print(f"Figures: {self.figures}", markup=False)


@dataclass(frozen=True)
class Resampling:
    """The bootstrap of a study."""

    num_resamples: Annotated[
        int, typer.Option(max=1_000_000, help="Bootstrap resamples.")
    ] = 1000
    seed: Annotated[int, typer.Option(max=2**32 - 1, help="Chooses the resamples.")] = 0


def list_studies() -> None:
    """List the studies, what each asks and where it was published.

    Example: [bold]jaxbench study list[/]
    """
    from jaxbench.reports.studies import STUDIES

    table = Table("study", "question", "paper")
    for name, study in STUDIES.items():
        table.add_row(name, study.question, study.reference.removeprefix("https://"))
    console.print(table)


@grouped
def study_coupling(
    *,
    folder: Folder,
    rule: Annotated[
        str, typer.Option(help="Which pairs failed: 'fitted' or 'eq1'.")
    ] = "fitted",
    weights: Annotated[
        bool,
        typer.Option(help="Measure the weights of the best trial of each pair."),
    ] = True,
    files: Files,
) -> None:
    """Write the page of which optimizer fits which backbone.

    [bold]jaxbench coupling[/] prints its tables in the terminal.

    Example: [bold]jaxbench study coupling results/digits-grid[/]
    """
    options = {"rule": rule, "weights": weights}
    page = write_study("coupling", folder, options, files)
    show_page(page, files.csv_folder, shown=())


def write_study(
    kind: str,
    folder: Path,
    options: dict[str, Any],
    files: Files = Files(),
) -> "Page":
    """Builds a study's page from a results folder, writes it and says what it found.

    Args:
        kind: Name of the study.
        folder: Where the results are.
        options: Of the study.
        files: Where it goes.

    Raises:
        UserError: If the study or an option is unknown, or the results lack what it
            needs.
    """
    from jaxbench.reports.studies import find_study
    from jaxbench.results import ResultStore

    study = find_study(kind, options)
    page = study.build(ResultStore(folder), options)
    show_findings(page)
    files.write(page, files.output or folder / f"study-{kind}.html")
    return page


def show_findings(page: "Page") -> None:
    """Prints what a study found, a line each."""
    for finding in page.findings:
        console.print(f"\n{finding.title}: {finding.value}", style="bold", markup=False)
        console.print(finding.text, markup=False)
