"""The command about rankings on variants of a dataset: study lottery."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxbench.cli.display import console
from jaxbench.cli.options import grouped
from jaxbench.cli.study import Files, Resampling
from jaxbench.cli.tables import show_page, write_tables
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.page import Page
    from jaxbench.studies.variant_table import VariantTable

_MOST_ROWS = 20
# Ends of headings that a narrow terminal does without, in this order; files have them.
_DETAILS = (" place", "Exact power %", "Smallest visible", "P, BH", " drop")


@dataclass(frozen=True)
class TableFiles:
    """Published tables of results, and how they are read."""

    table: Annotated[
        list[Path] | None,
        typer.Option(help="A CSV file of accuracies on one dataset; repeat it."),
    ] = None
    images: Annotated[
        list[str] | None,
        typer.Option(help="NAME=N: a table's dataset has N images; repeat it."),
    ] = None
    model_column: Annotated[
        str | None, typer.Option(help="Column of a table that names the models.")
    ] = None
    score_column: Annotated[
        str, typer.Option(help="Column of a table with the accuracies.")
    ] = "top1"
    percent: Annotated[
        bool | None,
        typer.Option(
            "--percent/--fraction",
            help="What the accuracies of a table are. Percent for top1.",
        ),
    ] = None

    def read(self, reference: str | None) -> "VariantTable":
        """Reads the tables.

        Raises:
            UserError: If a file or an option is not as it should be.
        """
        from jaxbench.studies.lottery_files import read_result_tables

        return read_result_tables(
            self.table or [],
            images=_numbers(self.images or []),
            reference=reference,
            model_column=self.model_column,
            score_column=self.score_column,
            percent=self.percent,
        )

    def check(self, folder: Path | None, own: str | None) -> None:
        """Refuses both sources, none, and options of the other one.

        Raises:
            UserError: If there is such a mistake.
        """
        if (folder is None) == (not self.table):
            raise UserError(
                "give either a folder of results or --table FILE (once a dataset)"
            )
        if folder is None and own is not None:
            raise UserError(
                "--own needs a folder of results: tables do not say which images a "
                "model is right on"
            )
        given = {
            "--images": self.images,
            "--model-column": self.model_column,
            "--score-column": None if self.score_column == "top1" else True,
            "--percent/--fraction": self.percent,
        }
        names = [name for name, value in given.items() if value not in (None, [])]
        if names and folder is not None:
            raise UserError(f"{', '.join(names)}: only for --table, not for a folder")


@grouped
def lottery(
    *,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of results; or give --table.")
    ] = None,
    tables: TableFiles,
    reference: Annotated[
        str | None, typer.Option(help="Dataset that the ranking is made on.")
    ] = None,
    own: Annotated[
        str | None,
        typer.Option(help="Dataset of the folder that stands for your own images."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Level of the tests.")] = 0.05,
    power: Annotated[
        float, typer.Option(help="Power that numbers of images aim at.")
    ] = 0.8,
    resampling: Resampling,
    files: Files,
) -> None:
    """Show which leads of a ranking are chance, and which carry over to variants.

    After arXiv 2501.15431; of the evaluations in a folder, or of published tables, of
    which a page is written if --output names it.

    Example: [bold]jaxbench study lottery --table results-imagenet.csv --table
    results-imagenet-r.csv[/]
    """
    from jaxbench.reports.studies.lottery import lottery_page, lottery_sections
    from jaxbench.studies.lottery_analysis import analyse

    tables.check(folder, own)
    output = files.output or (folder and folder / "study-lottery.html")
    if files.figures is not None and output is None:
        raise UserError("--figures are those of the page; give --output FILE.html too")
    read = _folder(folder, reference) if folder else tables.read(reference)
    options = {"own": own, "alpha": alpha, "power": power, **vars(resampling)}
    with console.status("resampling"):
        found = analyse(read, **options)
    page = lottery_page(found)
    _show(page)
    if files.csv_folder is not None:
        # Of the page's tables, those of pairs are cut short.
        whole = lottery_sections(found, most=None)
        named = ((s.name, s.table) for s in whole if s.table is not None)
        write_tables(files.csv_folder, named)
    if output is not None:
        options |= {"reference": reference} if folder else {}
        files.write(_with_origin(page, folder, tables.table or [], options), output)


def _folder(folder: Path, reference: str | None) -> "VariantTable":
    from jaxbench.results import ResultStore
    from jaxbench.studies.variant_table import table_of_store

    return table_of_store(ResultStore(folder), reference)


def _with_origin(
    page: "Page", folder: Path | None, tables: list[Path], options: dict[str, Any]
) -> "Page":
    """The page, with the command and the runs that it is made of."""
    from jaxbench.reports.provenance import changed_options, with_origin
    from jaxbench.reports.studies.lottery import build
    from jaxbench.results import ResultStore

    words = ["study", "lottery", *([str(folder)] if folder else [])]
    words += [word for path in tables for word in ("--table", str(path))]
    rows = ResultStore(folder).summary().to_pylist() if folder else []
    return with_origin(page, rows, words, changed_options(build, options))


def _numbers(pairs: list[str]) -> dict[str, int]:
    found, wrong = {}, []
    for pair in pairs:
        name, _, count = pair.rpartition("=")
        if not name or not count.replace("_", "").isdigit() or int(count) < 1:
            wrong.append(repr(pair))
        else:
            found[name] = int(count)
    if wrong:
        raise UserError(
            f"--images {', '.join(wrong)}: wanted NAME=N with a whole number N of 1 or "
            "more, such as imagenet-v2/top-images=10000"
        )
    return found


def _show(page: "Page") -> None:
    console.print(f"\n{page.title}", style="bold", markup=False)
    for finding in page.findings:
        console.print(
            f"  {finding.title}: {finding.value}",
            style="bold",
            markup=False,
            highlight=False,
        )
        console.print(f"    {finding.text}", markup=False, highlight=False)
    show_page(page, None, details=_DETAILS, most_rows=_MOST_ROWS)
