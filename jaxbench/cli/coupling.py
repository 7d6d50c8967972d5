"""The command about sweeps of optimizers and backbones: coupling."""

import csv
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from jaxbench.cli.display import console
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.cells import Table
    from jaxbench.reports.coupling import Sweep
    from jaxbench.reports.coupling_sections import Section

# Principal components whose share of the variance is told.
_TOP_K = 8
_WIDE = 160
# Columns that a narrow terminal does without; files have them.
_DETAILS = frozenset(
    {
        *("Seeds", "Grid points", "Usable", "Images/s", "Compile s", "Train s"),
        *("State MB", "Trimmed mean %", "Trimmed std", "Trimmed range"),
        *("Val. accuracy %", "Target %", "Relative cost"),
    }
)


class FailureRule(StrEnum):
    """Which of the two rules marks a pair as failed."""

    FITTED = "fitted"
    EQ1 = "eq1"


def coupling(
    folder: Annotated[Path, typer.Argument(help="Folder of results.")],
    rule: Annotated[
        FailureRule,
        typer.Option(
            help="Which pairs failed: the fitted rule, or Eq. (1) as printed."
        ),
    ] = FailureRule.FITTED,
    csv_folder: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Also write every table into this folder; shares and accuracies "
            "as fractions.",
        ),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights", help="Also measure the weights of the best trial of each pair."
        ),
    ] = False,
) -> None:
    """Show which optimizer fits which backbone: failures, spread, robustness, cost.

    The measures are those of arXiv 2410.06373, of the trials in the folder, dataset by
    dataset. A trial takes part if it has a learning rate, a weight decay and a seed.

    Example: [bold]jaxbench coupling results/digits-grid --csv tables[/]
    """
    from jaxbench.reports.coupling import load_sweeps
    from jaxbench.reports.coupling_costs import read_costs
    from jaxbench.reports.coupling_sections import coupling_sections
    from jaxbench.reports.entries import load_results
    from jaxbench.results import ResultStore

    store = ResultStore(folder)
    sweeps = load_sweeps(load_results(store))
    if not sweeps:
        raise UserError(
            f"{str(folder)!r} has no finished trials, so there is no optimizer to "
            "compare; train some with jaxbench run or jaxbench sweep"
        )
    for number, sweep in enumerate(sweeps):
        sections = coupling_sections(sweep, read_costs(store, sweep), rule.value)
        if weights:
            sections += _weights(folder, sweep)
        console.print(f"\nTrained on {sweep.dataset}", style="bold", markup=False)
        for section in sections:
            _show(section)
        if csv_folder is not None:
            # The largest dataset's tables have the plain names.
            suffix = "-" + re.sub(r"\W+", "-", sweep.dataset) if number else ""
            for section in sections:
                _write(csv_folder / f"{section.name}{suffix}.csv", section.table)
    if csv_folder is not None:
        console.print(f"Tables: {csv_folder}", markup=False)


def _show(section: "Section") -> None:
    # A row a layer is for a file.
    if section.name == "layers":
        return
    console.print(f"\n{section.heading}", style="bold", markup=False, highlight=False)
    console.print(section.caption, style="dim", markup=False, highlight=False)
    if section.table.rows:
        # A file or a pipe has no width that a table must fit in.
        wide = Console(width=max(console.width, _WIDE))
        shown = wide if not console.is_terminal else console
        shown.print(_fitting(section.table, shown.width).to_rich())
    else:
        console.print("None.")


def _fitting(table: "Table", width: int) -> "Table":
    """The table without its details, where it is wider than the terminal."""
    from jaxbench.reports.cells import Table

    texts = [[column.heading for column in table.columns], *table.texts()]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    if sum(widths) + 3 * len(widths) <= width:
        return table
    kept = [i for i, c in enumerate(table.columns) if c.heading not in _DETAILS]
    columns = tuple(table.columns[i] for i in kept)
    return Table(columns, tuple(tuple(row[i] for i in kept) for row in table.rows))


def _weights(folder: Path, sweep: "Sweep") -> list["Section"]:
    """Statistics of the weights of every pair that has some."""
    from jaxbench.reports.coupling_sections import weight_sections
    from jaxbench.studies import weight_statistics
    from model_zoo import load_variables

    measured, missing = {}, 0
    with console.status("measuring weights"):
        for pair in sweep.pairs:
            chosen = sweep.chosen(pair)
            if not chosen:
                continue
            path = folder / "weights" / f"{chosen[0]['run_id']}.safetensors"
            if not path.is_file():
                missing += 1
                continue
            try:
                found = weight_statistics(load_variables(path), top_k=_TOP_K)
            except ValueError as error:
                raise UserError(f"the weights cannot be measured: {error}") from error
            measured[pair.optimizer, pair.backbone] = found
    if not measured:
        raise UserError(
            f"--weights: {str(folder / 'weights')!r} has no weights of the best "
            "trials; train them anew with the same command"
        )
    return weight_sections(sweep, measured, top_k=_TOP_K, num_missing=missing)


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
    """A heading as a column name: `Trimmed mean %` is trimmed_mean."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
