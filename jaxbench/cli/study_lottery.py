"""The command about rankings on variants of a dataset: study lottery."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxbench.cli.display import console
from jaxbench.cli.study import Figures, Formats
from jaxbench.cli.tables import CsvFolder, show_page, write_tables
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.page import Page
    from jaxbench.studies.variant_table import VariantTable

_MOST_ROWS = 20
# Ends of headings that a narrow terminal does without, in this order; files have them.
_DETAILS = (" place", "Exact power %", "Smallest visible", "P, BH", " drop")


def lottery(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of results; or give --table.")
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            "--table", help="A CSV file of accuracies on one dataset; repeat it."
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="NAME=N: a table's dataset has N images; repeat it."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Dataset that the ranking is made on.")
    ] = None,
    model_column: Annotated[
        str | None, typer.Option(help="Column of a table that names the models.")
    ] = None,
    score_column: Annotated[
        str, typer.Option(help="Column of a table with the accuracies.")
    ] = "top1",
    percent: Annotated[
        bool | None,
        typer.Option(
            "--percent/--fraction",
            help="What the accuracies of a table are. Percent for top1.",
        ),
    ] = None,
    own: Annotated[
        str | None,
        typer.Option(help="Dataset of the folder that stands for your own images."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Level of the tests.")] = 0.05,
    power: Annotated[
        float, typer.Option(help="Power that numbers of images aim at.")
    ] = 0.8,
    num_resamples: Annotated[
        int, typer.Option(max=1_000_000, help="Bootstrap resamples.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option(max=2**32 - 1, help="Chooses the resamples.")
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page: FOLDER/study-lottery.html if not given; none of tables.",
        ),
    ] = None,
    figures: Figures = None,
    formats: Formats = None,
    csv_folder: CsvFolder = None,
) -> None:
    """Show which leads of a ranking are chance, and which carry over to variants.

    After arXiv 2501.15431; of the evaluations in a folder, or of published tables.

    Example: [bold]jaxbench study lottery --table results-imagenet.csv --table
    results-imagenet-r.csv[/]
    """
    from jaxbench.reports.studies.lottery import (
        build,
        lottery_page,
        lottery_sections,
    )
    from jaxbench.studies.lottery_analysis import analyse

    _check_source(folder, table, images, model_column, score_column, percent, own)
    if figures is not None and folder is None and output is None:
        raise UserError("--figures are those of the page; give --output FILE.html too")
    if folder is not None:
        output = output or folder / "study-lottery.html"
        read = _folder(folder, reference)
    else:
        read = _tables(
            table or [], images, reference, model_column, score_column, percent
        )
    options = {
        "own": own,
        "alpha": alpha,
        "power": power,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    with console.status("resampling"):
        found = analyse(read, **options)
    page = lottery_page(found)
    _show(page)
    if csv_folder is not None:
        # Of the page's tables, those of pairs are cut short.
        whole = lottery_sections(found, most=None)
        write_tables(
            csv_folder, ((s.name, s.table) for s in whole if s.table is not None)
        )
    if output is not None:
        from jaxbench.reports.provenance import changed_options, with_origin
        from jaxbench.reports.writing import write_page
        from jaxbench.results import ResultStore

        words = ["study", "lottery", *([str(folder)] if folder else [])]
        words += [word for path in table or [] for word in ("--table", str(path))]
        options |= {"reference": reference} if folder else {}
        rows = ResultStore(folder).summary().to_pylist() if folder else []
        path = write_page(
            with_origin(page, rows, words, changed_options(build, options)),
            output,
            figures_dir=figures,
            formats=tuple(formats or ("svg", "png")),
        )
        console.print(f"Study: [bold]{path.resolve()}[/]")
        if figures:
            console.print(f"Figures: {figures}", markup=False)


def _folder(folder: Path, reference: str | None) -> "VariantTable":
    from jaxbench.results import ResultStore
    from jaxbench.studies.variant_table import table_of_store

    return table_of_store(ResultStore(folder), reference)


def _tables(
    paths: list[Path],
    images: list[str] | None,
    reference: str | None,
    model_column: str | None,
    score_column: str,
    percent: bool | None,
) -> "VariantTable":
    from jaxbench.studies.lottery_files import read_result_tables

    return read_result_tables(
        paths,
        images=_numbers(images or []),
        reference=reference,
        model_column=model_column,
        score_column=score_column,
        percent=percent,
    )


def _check_source(
    folder: Path | None,
    table: list[Path] | None,
    images: list[str] | None,
    model_column: str | None,
    score_column: str,
    percent: bool | None,
    own: str | None,
) -> None:
    """Refuses both sources, none, and options of the other one.

    Raises:
        UserError: If there is such a mistake.
    """
    if (folder is None) == (not table):
        raise UserError(
            "give either a folder of results or --table FILE (once for each dataset)"
        )
    if folder is None:
        if own is not None:
            raise UserError(
                "--own needs a folder of results: tables do not tell which images a "
                "model is right on"
            )
        return
    given = {
        "--images": images,
        "--model-column": model_column,
        "--score-column": None if score_column == "top1" else score_column,
        "--percent/--fraction": percent,
    }
    if names := [name for name, value in given.items() if value not in (None, [])]:
        raise UserError(f"{', '.join(names)}: only for --table, not for a folder")


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
