"""The best learning rate and weight decay of every optimizer on every backbone."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxbench.studies.score_table import Pair, ScoreTable, check_grid

Row = Mapping[str, Any]
_NEEDED = ("model", "optimizer", "learning_rate", "weight_decay", "seed")
_SHOWN = 3


class BestPair(NamedTuple):
    """What tuning found for one optimizer on one backbone.

    Attributes:
        optimizer: Name of the optimizer.
        backbone: Name of the backbone.
        learning_rate: The chosen one; NaN if no grid point is usable.
        weight_decay: Likewise.
        val_accuracy: Mean over seeds of the chosen point, in [0, 1]; NaN without one.
        score: Mean over seeds of what the point is reported by; `val_accuracy` where
            no other scores were given.
        num_seeds: Seeds of the chosen point.
        num_points: Grid points tried.
        num_usable: Those whose every seed has a validation accuracy.
        at_edge: Whether the learning rate is the smallest or largest of several tried:
            the best may lie outside.
        diverged: Whether no point is usable and a loss stopped being finite.
    """

    optimizer: str
    backbone: str
    learning_rate: float
    weight_decay: float
    val_accuracy: float
    score: float
    num_seeds: int
    num_points: int
    num_usable: int
    at_edge: bool
    diverged: bool


@dataclass(frozen=True, eq=False)
class TunedTable:
    """Best hyper-parameters of optimizers on backbones.

    Attributes:
        optimizers: Names of the rows.
        backbones: Names of the columns.
        learning_rate: NaN where a pair was not tuned.
        weight_decay: Likewise, in each optimizer's own convention.

    Raises:
        ValueError: If rows or columns are missing, a name occurs twice, a shape does
            not fit, a value is negative or infinite, or only one of the two is NaN.
    """

    optimizers: tuple[str, ...]
    backbones: tuple[str, ...]
    learning_rate: Float[np.ndarray, "optimizers backbones"]
    weight_decay: Float[np.ndarray, "optimizers backbones"]

    def __post_init__(self):
        names = ("learning_rate", "weight_decay")
        arrays = {name: getattr(self, name) for name in names}
        check_grid(self.optimizers, self.backbones, arrays)
        for name, given in arrays.items():
            values = np.array(given, np.float64)
            if (values < 0).any() or np.isinf(values).any():
                raise ValueError(f"TunedTable: {name} is negative or infinite")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if (np.isnan(self.learning_rate) != np.isnan(self.weight_decay)).any():
            raise ValueError(
                "TunedTable: a pair has a learning rate or a weight decay alone; give "
                "both, or NaN for both"
            )


def best_pairs(
    trials: Iterable[Row], *, scores: Mapping[str, float] | None = None
) -> tuple[BestPair, ...]:
    """Chooses learning rate and weight decay of every pair by validation accuracy.

    A grid point is one learning rate with one weight decay; its value is the mean
    `val_accuracy` over its seeds. A point counts only if every seed of it has a finite
    loss and a validation accuracy: the mean of those that survived would favour
    settings that sometimes diverge. Points with a trial that was stopped early count
    only where every point has one. The largest mean wins; among equals the smaller
    learning rate, then the smaller weight decay.

    Args:
        trials: Rows with model, optimizer, learning_rate, weight_decay, seed,
            val_accuracy (a fraction; None or NaN where missing) and, where known,
            diverged_step (None if the loss stayed finite), stopped_step (None if it
            ran to its end) and run_id. Other keys are
            ignored, so rows of `ResultStore.summary` fit; give those of one recipe
            and dataset.
        scores: Test accuracy of a trial by its run_id, to report the chosen point by.
            It has no say in the choice. None reports the validation accuracy.

    Returns:
        One row a pair, in the order in which pairs first occur.

    Raises:
        ValueError: If `trials` is empty, a row lacks a value, an accuracy is outside
            [0, 1], two rows share pair, grid point and seed, or a chosen trial is not
            in `scores`.
    """
    pairs: dict[Pair, list[Row]] = defaultdict(list)
    for row in trials:
        if absent := [name for name in _NEEDED if row.get(name) is None]:
            raise ValueError(f"a trial has no {', '.join(absent)}: {dict(row)}")
        pairs[row["optimizer"], row["model"]].append(row)
    if not pairs:
        raise ValueError("no trials; nothing can be chosen")
    return tuple(_best(pair, rows, scores) for pair, rows in pairs.items())


def score_table(pairs: Sequence[BestPair]) -> ScoreTable:
    """The scores of tuned pairs as a grid.

    Args:
        pairs: From `best_pairs`.

    Returns:
        Optimizers and backbones in the order in which they first occur.

    Raises:
        ValueError: If `pairs` is empty, or one occurs twice.
    """
    optimizers, backbones, grids = _grids(pairs, ("score",))
    gone = frozenset((p.optimizer, p.backbone) for p in pairs if p.diverged)
    return ScoreTable(optimizers, backbones, grids[0], gone)


def tuned_table(pairs: Sequence[BestPair]) -> TunedTable:
    """The chosen hyper-parameters of tuned pairs as a grid.

    Args:
        pairs: From `best_pairs`.

    Returns:
        Optimizers and backbones in the order in which they first occur.

    Raises:
        ValueError: If `pairs` is empty, or one occurs twice.
    """
    optimizers, backbones, grids = _grids(pairs, ("learning_rate", "weight_decay"))
    return TunedTable(optimizers, backbones, grids[0], grids[1])


def _best(
    pair: Pair, rows: Sequence[Row], scores: Mapping[str, float] | None
) -> BestPair:
    points: dict[tuple[float, float], list[Row]] = defaultdict(list)
    for row in rows:
        points[float(row["learning_rate"]), float(row["weight_decay"])].append(row)
    for (rate, decay), members in points.items():
        seeds = [row["seed"] for row in members]
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"{pair[0]} on {pair[1]} has several trials of learning rate {rate}, "
                f"weight decay {decay} and one seed; give the rows of one recipe and "
                "dataset"
            )
    usable = {p: m for p, m in points.items() if all(map(_is_usable, m))}
    counts = (len(points), len(usable))
    if not usable:
        gone = any(_has_diverged(row) for row in rows)
        nan = math.nan
        return BestPair(*pair, nan, nan, nan, nan, 0, *counts, False, gone)
    ended = {p: m for p, m in usable.items() if not any(map(_was_stopped, m))}
    means = {
        point: _mean([row["val_accuracy"] for row in members])
        for point, members in (ended or usable).items()
    }
    chosen = min(means, key=lambda point: (-means[point], *point))
    members = usable[chosen]
    score = means[chosen] if scores is None else _reported(pair, members, scores)
    rates = sorted({rate for rate, _ in points})
    return BestPair(
        *pair,
        *chosen,
        val_accuracy=means[chosen],
        score=score,
        num_seeds=len(members),
        num_points=len(points),
        num_usable=len(usable),
        at_edge=len(rates) > 1 and chosen[0] in (rates[0], rates[-1]),
        diverged=False,
    )


def _is_usable(row: Row) -> bool:
    accuracy = row.get("val_accuracy")
    if row.get("diverged_step") is not None or accuracy is None:
        return False
    if math.isnan(accuracy):
        return False
    if not 0 <= accuracy <= 1:
        raise ValueError(
            f"val_accuracy {accuracy} of {row['optimizer']} on {row['model']} is "
            "outside [0, 1]; give fractions, not percent"
        )
    return True


def _was_stopped(row: Row) -> bool:
    return row.get("stopped_step") is not None


def _has_diverged(row: Row) -> bool:
    """Whether a trial ran and came to nothing: no accuracy at all is a crash."""
    accuracy = row.get("val_accuracy")
    has_nan = accuracy is not None and math.isnan(accuracy)
    return row.get("diverged_step") is not None or has_nan


def _reported(pair: Pair, members: Sequence[Row], scores: Mapping[str, float]) -> float:
    ids = [row.get("run_id") for row in members]
    if absent := [run_id for run_id in ids if run_id not in scores]:
        raise ValueError(
            f"{len(absent)} chosen trials of {pair[0]} on {pair[1]} have no score: "
            f"{', '.join(map(str, absent[:_SHOWN]))}; evaluate them"
        )
    return _mean([scores[str(run_id)] for run_id in ids])


def _mean(values: Sequence[float]) -> float:
    # fsum: the order of the rows must not decide between equals.
    return math.fsum(values) / len(values)


def _grids(
    pairs: Sequence[BestPair], fields: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], list[np.ndarray]]:
    optimizers = tuple(dict.fromkeys(pair.optimizer for pair in pairs))
    backbones = tuple(dict.fromkeys(pair.backbone for pair in pairs))
    if len({(p.optimizer, p.backbone) for p in pairs}) < len(pairs):
        raise ValueError("a pair of optimizer and backbone occurs more than once")
    grids = [np.full((len(optimizers), len(backbones)), np.nan) for _ in fields]
    for pair in pairs:
        cell = optimizers.index(pair.optimizer), backbones.index(pair.backbone)
        for name, grid in zip(fields, grids, strict=True):
            grid[cell] = getattr(pair, name)
    return optimizers, backbones, grids
