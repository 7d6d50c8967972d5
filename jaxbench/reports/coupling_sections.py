"""The sections of a grid of optimizers and backbones: its charts, then its tables."""

from collections.abc import Sequence
from dataclasses import replace

from jaxbench.reports.cells import Table
from jaxbench.reports.coupling_charts import grid_charts
from jaxbench.reports.coupling_published import (
    published_spread_table,
    published_table,
)
from jaxbench.reports.coupling_tables import (
    cost_table,
    failed_table,
    pair_table,
    profile_table,
    ranking_table,
    robustness_table,
    spread_table,
)
from jaxbench.reports.page import Section
from jaxbench.studies import TRIMMED_FROM
from jaxbench.studies.grid_costs import COST_CLASS, TARGET_SHARE, Costs, ranking
from jaxbench.studies.grid_failures import Rule, not_judged, rule_text
from jaxbench.studies.grids import Sweep

# A longer table is shown only when the reader opens it.
MAX_OPEN_ROWS = 40


def coupling_sections(
    studied: Sequence[tuple[Sweep, Costs]], rule: Rule = "fitted"
) -> list[Section]:
    """The sections of all grids, under names of their own: charts first, then tables.

    Args:
        studied: Grids and what their trials cost.
        rule: Which pairs count as failed.
    """
    found = []
    for number, (sweep, costs) in enumerate(studied):
        # The first grid's files have the plain names.
        end = f"_{number + 1}" if number else ""
        where = f" ({sweep.dataset})" if len(studied) > 1 else ""
        for section in grid_sections(sweep, costs, rule):
            charts = [replace(c, name=c.name + end) for c in section.charts]
            found.append(
                replace(
                    section,
                    name=section.name + end,
                    heading=section.heading + where,
                    charts=tuple(charts),
                )
            )
    return sorted(found, key=lambda section: not section.charts)


def grid_sections(sweep: Sweep, costs: Costs, rule: Rule = "fitted") -> list[Section]:
    """One grid: its charts, and every table that has rows; the failures even without.

    Args:
        sweep: The grid.
        costs: What its trials cost.
        rule: Which pairs count as failed.
    """
    charts = Section(
        "grid",
        "Optimizers and backbones",
        f"Trained on {sweep.dataset}: scores, spread over the settings, distances of "
        "the best settings and cost profiles.",
        charts=grid_charts(sweep, costs, rule),
    )
    return [*([charts] if charts.charts else []), *_tables(sweep, costs, rule)]


def table_section(name: str, heading: str, caption: str, table: Table) -> Section:
    """A table with its explanation; a long one is folded."""
    folded = len(table.rows) > MAX_OPEN_ROWS
    return Section(name, heading, caption, table, folded=folded)


def _tables(sweep: Sweep, costs: Costs, rule: Rule) -> list[Section]:
    found = [
        table_section(
            "failures",
            "Failed pairs",
            _failure_text(sweep, rule),
            failed_table(sweep, rule),
        ),
        table_section(
            "spread",
            "Spread over the optimizers",
            f"{sweep.score} of each backbone under all optimizers. A wide spread is a "
            "backbone whose optimizer matters. Trimmed, as the study prints it: "
            "without the worst score and the best tenth, rounded down.",
            spread_table(sweep, rule),
        ),
        *_published(sweep),
        table_section(
            "ranking",
            "Ranking of the optimizers",
            _ranking_text(sweep, rule),
            ranking_table(sweep, rule),
        ),
        table_section(
            "robustness",
            "Robustness of the hyper-parameters",
            "Rank distance of the best learning rate and weight decay from the "
            "optimizer's most frequent ones over the backbones; 0 is the same. "
            "Distances depend on the set of backbones and on the grid.",
            robustness_table(sweep),
        ),
        table_section(
            "pairs",
            "Best setting of every pair",
            "The grid point with the best mean validation accuracy over its seeds. "
            f"Score: {_lower(sweep.score)}, mean over seeds. At edge: the best rate is "
            "the smallest or largest tried, so a better one may lie outside.",
            pair_table(sweep, rule),
        ),
        table_section(
            "cost",
            "Cost of every pair",
            f"Target: {TARGET_SHARE:.0%} of the best validation accuracy of the "
            "backbone. Seconds to it are the best grid point's share of its "
            "population's training time, mean over seeds, at the first validation that "
            "shows it, without compilation and validation. Steps, images and memory "
            "are those of its whole population.",
            cost_table(sweep, costs),
        ),
        table_section(
            "profiles",
            "Score of the performance profiles",
            "Area under the share of backbones on which an optimizer needs at most "
            "tau times the seconds of the fastest one, tau from 1 to 4.",
            profile_table(sweep, costs),
        ),
    ]
    return [s for s in found if (s.table and s.table.rows) or s.name == "failures"]


def _published(sweep: Sweep) -> tuple[Section, Section]:
    name = {"cifar100": "CIFAR-100", "imagenet1k": "ImageNet-1K"}
    dataset = name.get(sweep.published or "", "")
    return (
        table_section(
            "published",
            f"Beside the published accuracies on {dataset}",
            f"Own: {_lower(sweep.score)}. Published: arXiv 2410.06373, the mean of "
            "three trials under the study's recipes. Other epochs, augmentations or "
            "image sizes make up part of a difference.",
            published_table(sweep),
        ),
        table_section(
            "published_spread",
            f"Spread beside the published one on {dataset}",
            "Of the optimizers that both have: without the worst score and the best "
            "tenth, rounded down, as the study prints them.",
            published_spread_table(sweep),
        ),
    )


def _failure_text(sweep: Sweep, rule: Rule) -> str:
    words = rule_text(sweep, rule)
    text = f"Rule {rule}: a score {words}. A diverged pair has failed too."
    if open_questions := not_judged(sweep):
        text += f" Of the other pairs, {open_questions}."
    return text


def _ranking_text(sweep: Sweep, rule: Rule) -> str:
    many = len(sweep.table.backbones) >= TRIMMED_FROM
    kept = f"the backbones{' without the worst of each optimizer' if many else ''}"
    text = (
        "Score: 0.4 performance + 0.2 robustness + 0.2 coupling + 0.2 compute, as in "
        f"the study; lower is better. Performance ranks the mean score over {kept}. "
        "Compute ranks seconds a step over those of the fastest optimizer, the "
        f"geometric mean over backbones in classes of {COST_CLASS:g}."
    )
    found = ranking(sweep, rule)
    ranked = {row.optimizer for row in found[0]} if found else set()
    left_out = [n for n in sweep.table.optimizers if n not in ranked]
    if left_out:
        titles = ", ".join(map(sweep.title, left_out))
        text += f" Not ranked, for want of a backbone, a setting or a speed: {titles}."
    return text


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
