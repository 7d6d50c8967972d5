"""Tables of a grid of optimizers and backbones: for the terminal, CSV and the page."""

from collections.abc import Sequence

import numpy as np

from jaxbench.reports.cells import (
    Cell,
    Column,
    Table,
    decimal_cell,
    megabytes_cell,
    number_cell,
    percent_cell,
    significant_cell,
    text_cell,
)
from jaxbench.studies import (
    Spread,
    cost_profiles,
    plain_statistics,
    trimmed_statistics,
)
from jaxbench.studies.grid_costs import Costs, ranking, relative_costs, timing
from jaxbench.studies.grid_failures import Rule, marked_failures, too_few
from jaxbench.studies.grids import Sweep

PAIR = (Column("Optimizer"), Column("Backbone"))
# In place of a mark, where a backbone has too few scores for the failure rule.
NOT_JUDGED = "not judged"


def pair_table(sweep: Sweep, rule: Rule = "fitted") -> Table:
    """The best grid point of every pair."""
    failures = marked_failures(sweep, rule)
    failed = set(failures.pairs()) if failures else set()
    columns = (
        *PAIR,
        Column("Learning rate", True),
        Column("Weight decay", True),
        Column("At edge", help="the best learning rate is the smallest or largest"),
        Column("Seeds", True),
        Column("Grid points", True),
        Column("Usable", True, "grid points of which no seed diverged or crashed"),
        Column("Val. accuracy %", True),
        Column("Score %", True, sweep.score),
        Column("Failed", help="by the failure rule; every diverged pair failed"),
    )
    rows = []
    few = too_few(sweep.table)
    for optimizer, backbone in sweep.ordered:
        pair = sweep.best[optimizer, backbone]
        word = NOT_JUDGED if backbone in few else ""
        if (optimizer, backbone) in failed:
            word = "diverged" if pair.diverged else "failed"
        rows.append(
            (
                *pair_cells(sweep, optimizer, backbone),
                number_cell(pair.learning_rate),
                number_cell(pair.weight_decay),
                text_cell("yes" if pair.at_edge else ""),
                text_cell(pair.num_seeds),
                text_cell(pair.num_points),
                text_cell(pair.num_usable),
                percent_cell(pair.val_accuracy),
                percent_cell(pair.score),
                text_cell(word),
            )
        )
    return Table(columns, tuple(rows))


def failed_table(sweep: Sweep, rule: Rule = "fitted") -> Table:
    """The failed pairs, with the threshold that they are below."""
    failures = marked_failures(sweep, rule)
    columns = (
        *PAIR,
        Column("Score %", True, sweep.score),
        Column("Threshold %", True, "a lower score has failed"),
        Column("Median %", True, "of the backbone's scores over the optimizers"),
        Column("Reason"),
    )
    rows = []
    for optimizer, backbone in failures.pairs() if failures else ():
        place = sweep.table.backbones.index(backbone)
        scores = sweep.table.values[:, place]
        known = scores[~np.isnan(scores)]
        lost = (optimizer, backbone) in sweep.table.diverged
        values = (
            sweep.table.value(optimizer, backbone),
            float(failures.thresholds[place]) if failures else np.nan,
            float(np.median(known)) if known.size else np.nan,
        )
        reason = "every grid point diverged" if lost else f"{rule} rule"
        cells = (*map(percent_cell, values), text_cell(reason))
        rows.append((*pair_cells(sweep, optimizer, backbone), *cells))
    return Table(columns, tuple(rows))


def spread_table(sweep: Sweep, rule: Rule = "fitted") -> Table:
    """How the scores of each backbone spread over the optimizers."""
    columns = (
        Column("Backbone"),
        Column("Optimizers", True, "with a score"),
        Column("Mean %", True),
        Column("Std", True, "population standard deviation, in points"),
        Column("Range", True, "largest less smallest score, in points"),
        Column("Trimmed mean %", True, "without the worst and the tenth that is best"),
        Column("Trimmed std", True, "of the same scores, in points"),
        Column("Trimmed range", True, "without the worst, in points"),
        Column("Failures", True),
        Column("Failed", help="optimizers that failed on this backbone"),
    )
    failures = marked_failures(sweep, rule)
    if failures is None or np.isnan(sweep.table.values).all():
        return Table(columns, ())
    plain, trimmed = plain_statistics(sweep.table), trimmed_statistics(sweep.table)
    few = too_few(sweep.table)
    rows = []
    for backbone in sweep.table.backbones:
        lost = [sweep.title(o) for o, b in failures.pairs() if b == backbone]
        count = NOT_JUDGED if backbone in few and not lost else len(lost)
        rows.append(
            (
                text_cell(backbone),
                text_cell(plain[backbone].num),
                *spread_cells(plain[backbone]),
                *spread_cells(trimmed[backbone]),
                text_cell(count),
                text_cell(", ".join(lost)),
            )
        )
    return Table(columns, tuple(rows))


def robustness_table(sweep: Sweep) -> Table:
    """Rank distances of the best settings, by backbone and by optimizer."""
    columns = (
        Column("Of"),
        Column("Name"),
        Column("Mean distance", True),
        Column("Median", True),
        Column("Largest", True),
        Column("Pairs", True),
    )
    distances = sweep.distances
    if distances is None:
        return Table(columns, ())
    groups = (
        ("optimizer", distances.per_optimizer()),
        ("backbone", distances.per_backbone()),
    )
    rows = []
    for kind, summaries in groups:
        names = [n for n in _members(sweep, kind) if summaries[n].num]
        for name in sorted(names, key=lambda name: summaries[name].mean):
            found = summaries[name]
            title = sweep.title(name) if kind == "optimizer" else name
            numbers = (decimal_cell(v, 2) for v in (found.mean, found.median))
            counts = map(text_cell, (int(found.max), found.num))
            rows.append((text_cell(kind), text_cell(title), *numbers, *counts))
    return Table(columns, tuple(rows))


def ranking_table(sweep: Sweep, rule: Rule = "fitted") -> Table:
    """The optimizers in order, with the columns that the order is made of."""
    columns = (
        Column("Optimizer"),
        Column("Place", True),
        Column("Ranking score", True, "weighted sum of the columns, lower is better"),
        Column("Performance", True, "rank by accuracy"),
        Column("Robustness", True, "rank by rank distance"),
        Column("Coupling", True, "1 if it failed on a backbone"),
        Column("Failed on", help="backbones, by the failure rule"),
        Column("Compute", True, "rank by cost"),
        Column("Relative cost", True, "seconds a step over the fastest optimizer's"),
    )
    found = ranking(sweep, rule)
    if found is None:
        return Table(columns, ())
    ranked, parts = found
    costs, failures = relative_costs(sweep), marked_failures(sweep, rule)
    pairs = failures.pairs() if failures else ()
    few = too_few(sweep.table)
    judged = NOT_JUDGED if len(few) == len(sweep.table.backbones) else ""
    rows = []
    for row in ranked:
        performance, robustness, coupling, compute = map(int, parts[row.optimizer])
        lost = [backbone for name, backbone in pairs if name == row.optimizer]
        rows.append(
            (
                text_cell(sweep.title(row.optimizer)),
                text_cell(row.place),
                decimal_cell(row.score, 1),
                *map(text_cell, (performance, robustness, coupling)),
                text_cell(", ".join(lost) or judged),
                text_cell(compute),
                decimal_cell(costs[row.optimizer], 2),
            )
        )
    return Table(columns, tuple(rows))


def cost_table(sweep: Sweep, costs: Costs) -> Table:
    """What every pair costs."""
    columns = (
        *PAIR,
        Column("Target %", True, "validation accuracy to be reached"),
        Column("Seconds to target", True, "training alone; - is not reached"),
        Column("Steps/s", True),
        Column("Images/s", True),
        Column("Compile s", True, "of its programs, whoever asked for them first"),
        Column("Train s", True, "of all trials of its population"),
        Column("Peak memory MB", True, "of its largest program, by the compiler"),
        Column("State MB", True, "the optimizer's state of one trial"),
    )
    rows = []
    for optimizer, backbone in sweep.ordered:
        pair = sweep.best[optimizer, backbone]
        seconds = costs.value(optimizer, backbone)
        speed = ("steps_per_second", "images_per_second")
        work = ("program_seconds", "train_seconds")
        memory = ("peak_memory_bytes", "optimizer_bytes")
        target = costs.targets[costs.backbones.index(backbone)]
        rows.append(
            (
                *pair_cells(sweep, optimizer, backbone),
                percent_cell(float(target)),
                significant_cell(seconds),
                *(significant_cell(timing(sweep, pair, name)) for name in speed),
                *(significant_cell(timing(sweep, pair, name)) for name in work),
                *(megabytes_cell(timing(sweep, pair, name)) for name in memory),
            )
        )
    return Table(columns, tuple(rows))


def profile_table(sweep: Sweep, costs: Costs) -> Table:
    """The score of each optimizer's performance profile."""
    columns = (
        Column("Optimizer"),
        Column("Profile score", True, "1 is the fastest on every backbone"),
        Column("Targets reached", True, "backbones"),
        Column("Fastest on", True, "backbones"),
    )
    names, times = costs.workloads(sweep)
    profiles = cost_profiles(names, times) if names else ()
    rows = (
        (
            text_cell(sweep.title(row.optimizer)),
            decimal_cell(row.score, 3),
            text_cell(row.num_reached),
            text_cell(row.num_fastest),
        )
        for row in profiles
    )
    return Table(columns, tuple(rows))


def _members(sweep: Sweep, kind: str) -> Sequence[str]:
    return sweep.table.optimizers if kind == "optimizer" else sweep.table.backbones


def pair_cells(sweep: Sweep, optimizer: str, backbone: str) -> tuple[Cell, Cell]:
    """An optimizer and a backbone as they are called."""
    return text_cell(sweep.title(optimizer)), text_cell(backbone)


def spread_cells(spread: Spread) -> tuple[Cell, Cell, Cell]:
    """Mean, standard deviation and range."""
    return (
        percent_cell(spread.mean),
        percent_cell(spread.std),
        percent_cell(spread.range),
    )
