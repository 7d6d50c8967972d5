"""The page of the backbone-optimizer study: one grid a dataset."""

from collections.abc import Sequence
from typing import cast, get_args

from jaxbench.errors import UserError, unknown_name
from jaxbench.reports.coupling_findings import find_coupling
from jaxbench.reports.coupling_sections import coupling_sections
from jaxbench.reports.page import Page
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grid_costs import read_costs
from jaxbench.studies.grid_failures import Rule
from jaxbench.studies.grids import Sweep, load_sweeps


def build(store: ResultStore, *, rule: str = "fitted") -> Page:
    """What the trials of a folder say about optimizers and backbones.

    Args:
        store: Results of a sweep over optimizers.
        rule: "fitted" or "eq1": which pairs count as failed.

    Raises:
        UserError: If the rule is unknown, or no trial has finished.
    """
    if rule not in get_args(Rule):
        raise UserError(unknown_name("rule", rule, get_args(Rule)))
    chosen = cast(Rule, rule)
    results = load_results(store)
    studied = [(sweep, read_costs(store, sweep)) for sweep in load_sweeps(results)]
    if not studied:
        raise UserError(
            f"{str(store.path)!r} has no finished trials, so there is no optimizer to "
            "compare; train some with jaxbench run or jaxbench sweep"
        )
    return Page(
        name="coupling",
        title="Backbone-optimizer coupling",
        question="Which optimizer fits which backbone?",
        reference="https://arxiv.org/abs/2410.06373",
        facts=_facts([sweep for sweep, _ in studied]),
        findings=tuple(
            finding for sweep, _ in studied for finding in find_coupling(sweep, chosen)
        ),
        sections=tuple(coupling_sections(studied, chosen)),
        notes=(
            "The failure rule is fitted to the grey cells of the study's table 1: "
            'its Eq. (1) as printed marks 258 of 400 cells where 50 are grey; "eq1" '
            "chooses that one.",
            "Rank distances, the ranking's columns and the cost profiles are readings "
            "of ours where the study prints numbers without a formula: see "
            "docs/coupling.md.",
        ),
    )


def _facts(sweeps: Sequence[Sweep]) -> tuple[tuple[str, str], ...]:
    grids = [
        f"{len(s.table.optimizers)} optimizers on {len(s.table.backbones)} backbones, "
        f"{len(s.rows):,} trials on {s.dataset}"
        for s in sweeps
    ]
    return (("Grids", "; ".join(grids)), ("Scores", "; ".join(s.score for s in sweeps)))
