"""What the trials of a grid cost: time to a target, speed, memory."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies import (
    BestPair,
    RankedOptimizer,
    RankingColumns,
    rank_optimizers,
    ranking_columns,
    time_to_target,
)
from jaxbench.studies.entries import Row, is_number
from jaxbench.studies.grid_failures import Rule, marked_failures
from jaxbench.studies.grids import Sweep

# Share of a backbone's best validation accuracy that is to be reached.
TARGET_SHARE = 0.95
# Classes of cost: smaller differences in speed are noise of a shared machine.
COST_CLASS = 0.25


@dataclass(frozen=True, eq=False)
class Costs:
    """Times to a target.

    Attributes:
        optimizers: Names of the rows.
        backbones: Names of the columns.
        targets: Validation accuracy that counts as reached, by backbone; NaN without.
        seconds: Mean over seeds of the best grid point; infinite if a seed does not
            get there, NaN if its curves have no times.
    """

    optimizers: tuple[str, ...]
    backbones: tuple[str, ...]
    targets: Float[np.ndarray, " backbones"]
    seconds: Float[np.ndarray, "optimizers backbones"]

    def value(self, optimizer: str, backbone: str) -> float:
        """Seconds of one pair."""
        row = self.optimizers.index(optimizer)
        return float(self.seconds[row, self.backbones.index(backbone)])

    def workloads(self, sweep: Sweep) -> tuple[tuple[str, ...], np.ndarray]:
        """The optimizers trained on every backbone, and their times.

        Without any, or where a time is not known, there are none.
        """
        kept = [self.optimizers.index(name) for name in sweep.complete]
        times = self.seconds[kept]
        if not times.size or not (times > 0).all():
            return (), np.empty((0, len(self.backbones)))
        return sweep.complete, times


def read_costs(store: ResultStore, sweep: Sweep) -> Costs:
    """Times to `TARGET_SHARE` of the best validation accuracy of each backbone."""
    table = sweep.table
    targets = np.full(len(table.backbones), np.nan)
    for column, backbone in enumerate(table.backbones):
        values = [p.val_accuracy for p in sweep.pairs if p.backbone == backbone]
        known = [value for value in values if is_number(value)]
        if known:
            targets[column] = TARGET_SHARE * max(known)
    seconds = np.full(table.values.shape, np.nan)
    for (optimizer, backbone), pair in sweep.best.items():
        row = table.optimizers.index(optimizer)
        column = table.backbones.index(backbone)
        seconds[row, column] = _pair_seconds(store, sweep, pair, targets[column])
    return Costs(table.optimizers, table.backbones, targets, seconds)


def relative_costs(sweep: Sweep) -> dict[str, float]:
    """Seconds a step over those of the fastest optimizer, by optimizer.

    The geometric mean over the backbones of one optimizer's seconds a step over the
    fastest one's on the same backbone, rounded to multiples of `COST_CLASS`; NaN where
    a rate is missing.
    """
    names, backbones = sweep.complete, sweep.table.backbones
    steps = np.array([[_step_seconds(sweep, o, b) for b in backbones] for o in names])
    if not steps.size:
        return {}
    # Not `nanmin`, which warns of a backbone without any time.
    ratios = steps / np.fmin.reduce(steps, axis=0, keepdims=True)
    means = np.exp(np.log(ratios).mean(axis=1))
    classes = np.round(means / COST_CLASS) * COST_CLASS
    return dict(zip(names, classes.tolist(), strict=True))


def ranking(
    sweep: Sweep, rule: Rule = "fitted"
) -> tuple[tuple[RankedOptimizer, ...], dict[str, RankingColumns]] | None:
    """The optimizers in order, with the columns that the order is made of.

    Optimizers that lack a backbone are left out. None where fewer than two are left,
    there is one backbone, or a distance or a speed is missing.
    """
    failures, distances = marked_failures(sweep, rule), sweep.distances
    costs = relative_costs(sweep)
    names = sweep.complete
    if failures is None or distances is None or len(names) < 2:
        return None
    summaries = distances.per_optimizer()
    known = [np.isfinite([summaries[n].mean, costs[n]]).all() for n in names]
    names = tuple(name for name, fits in zip(names, known, strict=True) if fits)
    if len(names) < 2 or len(sweep.table.backbones) < 2:
        return None
    table = sweep.table.select(optimizers=names)
    columns = ranking_columns(table, distances, failures, costs)
    return rank_optimizers(columns), columns


def timing(sweep: Sweep, pair: BestPair, name: str) -> float | None:
    """A number of a pair's population; None where it is not known."""
    row = _any_row(sweep, pair)
    value = row.get(name)
    return value if is_number(value) else None


def _any_row(sweep: Sweep, pair: BestPair) -> Row:
    # Trials of a pair are trained together and share their timing; the best point's
    # where they were not.
    return (sweep.chosen(pair) or sweep.groups[pair.optimizer, pair.backbone])[0]


def _step_seconds(sweep: Sweep, optimizer: str, backbone: str) -> float:
    rate = timing(sweep, sweep.best[optimizer, backbone], "steps_per_second")
    return 1.0 / rate if rate else float("nan")


def _pair_seconds(
    store: ResultStore, sweep: Sweep, pair: BestPair, target: float
) -> float:
    chosen = sweep.chosen(pair)
    if not chosen or np.isnan(target):
        return float("inf") if pair.diverged else float("nan")
    times = []
    for row in chosen:
        try:
            curves = store.curves(row["run_id"])
        except UserError:
            return float("nan")  # a damaged part: named among the problems
        if not {"seconds", "val_accuracy"} <= set(curves):
            return float("nan")
        # A member that was stopped has no times any more.
        measured = np.isfinite(curves["seconds"])
        if not measured.any():
            return float("nan")
        seconds, accuracy = (curves[n][measured] for n in ("seconds", "val_accuracy"))
        times.append(float(time_to_target(seconds, accuracy, target)))
    return float(np.mean(times))
