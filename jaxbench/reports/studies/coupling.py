"""The page of the backbone-optimizer study: one grid a dataset."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from jaxbench.errors import UserError, unknown_name
from jaxbench.reports.coupling_findings import find_coupling
from jaxbench.reports.coupling_sections import coupling_sections
from jaxbench.reports.coupling_weights import weight_sections
from jaxbench.reports.page import Page, Section
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grid_costs import read_costs
from jaxbench.studies.grid_failures import Rule
from jaxbench.studies.grid_weights import measure_grid_weights
from jaxbench.studies.grids import Sweep, load_sweeps

# Rows of a table by layer that a page has room for.
_MOST_LAYERS = 2000


def build(store: ResultStore, *, rule: str = "fitted", weights: bool = True) -> Page:
    """What the trials of a folder say about optimizers and backbones.

    Args:
        store: Results of a sweep over optimizers.
        rule: "fitted" or "eq1": which pairs count as failed.
        weights: Whether the weights of the best trial of each pair are measured layer
            by layer, where they are stored.

    Raises:
        UserError: If an option does not fit, or no trial has finished.
    """
    check(rule=rule, weights=weights)
    chosen = cast(Rule, rule)
    results = load_results(store)
    studied = [(sweep, read_costs(store, sweep)) for sweep in load_sweeps(results)]
    if not studied:
        raise UserError(
            f"{str(store.path)!r} has no finished trials, so it has no optimizers to "
            "compare; train some with jaxbench run or jaxbench sweep"
        )
    sweeps = [sweep for sweep, _ in studied]
    measured, notes = _weights(store, sweeps) if weights else ([], [])
    return Page(
        name="coupling",
        title="Backbone-optimizer coupling",
        question="Which optimizer fits which backbone?",
        reference="https://arxiv.org/abs/2410.06373",
        facts=_facts(sweeps),
        findings=tuple(
            finding for sweep, _ in studied for finding in find_coupling(sweep, chosen)
        ),
        # Pictures before tables, of every grid.
        sections=tuple(
            sorted(
                (*coupling_sections(studied, chosen), *measured),
                key=lambda section: not section.charts,
            )
        ),
        notes=(
            "The failure rule is fitted to the grey cells of the study's table 1: "
            'its Eq. (1) as printed marks 258 of 400 cells where 50 are grey; "eq1" '
            "chooses that one.",
            "Rank distances, the ranking's columns and the cost profiles are readings "
            "of ours where the study prints numbers without a formula: see "
            "docs/coupling.md.",
            *notes,
        ),
    )


def check(*, rule: Any = "fitted", weights: Any = True) -> None:
    """Checks the options of `build`, which may come from a file, types included.

    Raises:
        UserError: Naming all that do not fit.
    """
    problems = []
    if rule not in get_args(Rule):
        problems.append(unknown_name("rule", str(rule), get_args(Rule)))
    if not isinstance(weights, bool):
        problems.append(f"weights is {weights!r}, wanted true or false")
    if problems:
        raise UserError("; ".join(problems))


def _facts(sweeps: Sequence[Sweep]) -> tuple[tuple[str, str], ...]:
    grids = [
        f"{len(s.table.optimizers)} optimizers on {len(s.table.backbones)} backbones, "
        f"{len(s.rows):,} trials on {s.dataset}"
        for s in sweeps
    ]
    return (("Grids", "; ".join(grids)), ("Scores", "; ".join(s.score for s in sweeps)))


def _weights(
    store: ResultStore, sweeps: Sequence[Sweep]
) -> tuple[list[Section], list[str]]:
    """The sections on weights, and a note a grid that has none."""
    found, notes = [], []
    for number, sweep in enumerate(sweeps):
        end = f"_{number + 1}" if number else ""
        where = f" ({sweep.dataset})" if len(sweeps) > 1 else ""
        for section in weight_sections(sweep, measure_grid_weights(store, sweep), end):
            heading = f"{section.heading}{where}"
            if section.table is None:
                notes.append(section.caption)
            elif len(section.table.rows) > _MOST_LAYERS:
                notes.append(
                    f"{heading}: {len(section.table.rows):,} rows, which jaxbench "
                    "coupling FOLDER --weights --csv DIR writes."
                )
            else:
                found.append(replace(section, heading=heading))
    return found, notes
