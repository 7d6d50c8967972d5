"""The command about sweeps of optimizers and backbones: coupling."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxbench.cli.display import console
from jaxbench.cli.tables import CsvFolder, show_table, write_tables
from jaxbench.errors import UserError

if TYPE_CHECKING:
    from jaxbench.reports.page import Section
    from jaxbench.results import ResultStore
    from jaxbench.studies.grids import Sweep

# Columns that a narrow terminal does without; files have them.
DETAILS = (
    *("Seeds", "Grid points", "Usable", "Images/s", "Compile s", "Train s"),
    *("State MB", "Trimmed mean %", "Trimmed std", "Trimmed range"),
    *("Val. accuracy %", "Target %", "Relative cost"),
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
    csv_folder: CsvFolder = None,
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
    from jaxbench.reports.coupling_sections import grid_sections
    from jaxbench.results import ResultStore
    from jaxbench.studies.entries import load_results
    from jaxbench.studies.grid_costs import read_costs
    from jaxbench.studies.grids import load_sweeps

    store = ResultStore(folder)
    sweeps = load_sweeps(load_results(store))
    if not sweeps:
        raise UserError(
            f"{str(folder)!r} has no finished trials, so no optimizers to compare; "
            "train some with jaxbench run or jaxbench sweep"
        )
    tables = []
    for number, sweep in enumerate(sweeps):
        sections = grid_sections(sweep, read_costs(store, sweep), rule.value)
        if weights:
            sections += _weights(store, sweep)
        console.print(f"\nTrained on {sweep.dataset}", style="bold", markup=False)
        for section in sections:
            _show(section)
        # The largest dataset's tables have the plain names.
        suffix = "-" + re.sub(r"\W+", "-", sweep.dataset) if number else ""
        tables += [(f"{s.name}{suffix}", s.table) for s in sections if s.table]
    if csv_folder is not None:
        write_tables(csv_folder, tables)


def _show(section: "Section") -> None:
    # A row a layer is for a file.
    if section.table is not None and section.name != "layers":
        show_table(section.heading, section.caption, section.table, details=DETAILS)


def _weights(store: "ResultStore", sweep: "Sweep") -> list["Section"]:
    """Statistics of the weights of every pair that has some."""
    from jaxbench.reports.coupling_weights import weight_sections
    from jaxbench.studies.grid_weights import measure_grid_weights

    with console.status("measuring weights"):
        found = measure_grid_weights(store, sweep)
    sections = weight_sections(sweep, found)
    if not found.layers:
        raise UserError(f"--weights: {sections[0].caption}")
    return sections
