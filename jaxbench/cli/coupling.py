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
    from jaxbench.studies.grids import Sweep

# Principal components whose share of the variance is told.
_TOP_K = 8
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
            f"{str(folder)!r} has no finished trials, so there is no optimizer to "
            "compare; train some with jaxbench run or jaxbench sweep"
        )
    tables = []
    for number, sweep in enumerate(sweeps):
        sections = grid_sections(sweep, read_costs(store, sweep), rule.value)
        if weights:
            sections += _weights(folder, sweep)
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


def _weights(folder: Path, sweep: "Sweep") -> list["Section"]:
    """Statistics of the weights of every pair that has some."""
    from jaxbench.reports.coupling_sections import weight_sections
    from jaxbench.studies import weight_statistics
    from jaxbench.sweeps.weights import read_weights, weights_path

    measured, missing = {}, 0
    with console.status("measuring weights"):
        for pair in sweep.pairs:
            chosen = sweep.chosen(pair)
            if not chosen:
                continue
            trial_id, digest = chosen[0]["run_id"], chosen[0].get("weights_digest")
            if not weights_path(folder, trial_id).is_file():
                missing += 1
                continue
            try:
                variables = read_weights(folder, trial_id, digest)
                found = weight_statistics(variables, top_k=_TOP_K)
            except ValueError as error:
                raise UserError(f"the weights cannot be measured: {error}") from error
            measured[pair.optimizer, pair.backbone] = found
    if not measured:
        raise UserError(
            f"--weights: {str(folder / 'weights')!r} has no weights of the best "
            "trials; train them anew with the same command"
        )
    return weight_sections(sweep, measured, top_k=_TOP_K, num_missing=missing)
