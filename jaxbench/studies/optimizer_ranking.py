"""One order of optimizers out of performance, tuning, coupling and cost."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from jaxbench.errors import unknown_name
from jaxbench.studies.coupling_bias import Failures
from jaxbench.studies.robustness import RankDistances
from jaxbench.studies.score_table import ScoreTable

# Shares of the columns in the overall score: arXiv 2410.06373, table 4.
RANKING_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"performance": 0.4, "robustness": 0.2, "bocb": 0.2, "compute": 0.2}
)
# Backbones from which on each optimizer's worst one is left out of its performance: one
# of the study's 20 is 5 % of them, one of three would be a third.
TRIMMED_FROM = 10
# Sums of tenths are equal to this many digits or not at all.
_DIGITS = 9
_SHOWN = 3


class RankingColumns(NamedTuple):
    """What one optimizer is ranked by; lower is better throughout.

    Attributes:
        performance: Rank by accuracy, from 1.
        robustness: Rank by how far its best hyper-parameters move, from 1.
        bocb: 1 if it failed on a backbone, else 0.
        compute: Rank by cost, from 1.
    """

    performance: float
    robustness: float
    bocb: float
    compute: float


class RankedOptimizer(NamedTuple):
    """One place of the ranking.

    Attributes:
        optimizer: Name of the optimizer.
        score: Weighted sum of its columns; lower is better.
        place: From 1; equal scores share the smaller place.
    """

    optimizer: str
    score: float
    place: int


def rank_optimizers(
    columns: Mapping[str, RankingColumns],
    *,
    weights: Mapping[str, float] = RANKING_WEIGHTS,
) -> tuple[RankedOptimizer, ...]:
    """Orders optimizers by the weighted sum of their rank columns.

    score = 0.4 performance + 0.2 robustness + 0.2 bocb + 0.2 compute, as in table 4 of
    https://arxiv.org/abs/2410.06373. On the columns printed there it gives the printed
    order, except that it ties three pairs: Adan and AdamP, AdaBelief and AdaFactor,
    Adam and NAdam. No column, lower first, sets all three apart as printed.

    Args:
        columns: Optimizer to its columns.
        weights: Share of each column; every column needs one.

    Returns:
        Best first; among equals in the order of `columns`.

    Raises:
        ValueError: If optimizers are missing, a column is NaN or infinite, or the
            weights have other names than the columns, a negative value or the sum 0.
    """
    fields = RankingColumns._fields
    if set(weights) != set(fields):
        raise ValueError(
            f"weights are given for {', '.join(sorted(weights))}; the columns are "
            f"{', '.join(fields)}"
        )
    shares = np.array([weights[name] for name in fields], np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError(f"weights are {dict(weights)}; they are at least 0, one above")
    if not columns:
        raise ValueError("no optimizers; nothing can be ranked")
    values = np.array(list(columns.values()), np.float64)
    names = list(columns)
    if unknown := [n for n in names if not np.isfinite(columns[n]).all()]:
        raise ValueError(
            f"{', '.join(unknown)} cannot be ranked: a column is not a number"
        )
    scores = np.round(values @ shares, _DIGITS)
    places = 1 + (scores[None, :] < scores[:, None]).sum(axis=1)
    return tuple(
        RankedOptimizer(names[i], float(scores[i]), int(places[i]))
        for i in np.argsort(scores, kind="stable").tolist()
    )


def ranking_columns(
    table: ScoreTable,
    distances: RankDistances,
    failures: Failures,
    compute: Mapping[str, float],
) -> dict[str, RankingColumns]:
    """The rank columns of your own grid.

    The study does not say how its columns were made. Here performance ranks the mean
    score over backbones; of `TRIMMED_FROM` or more, each optimizer's worst one is left
    out, which gives 15 of the 20 printed ranks, none more than two places off. With
    fewer backbones none is left out: it would be a large share of the evidence, and
    the collapse that a reader is looking for. A diverged pair scores 0. Robustness
    ranks the mean distance. bocb is 1 with any failed pair: 19 of the 20 printed.
    Compute ranks the cost. Equal values share a rank and the next one follows without
    a gap. A column of many different ranks moves the score more than one of few: round
    `compute` to classes, as the study has six, where measured seconds differ by noise.

    Args:
        table: Scores of every pair.
        distances: From `rank_distances`.
        failures: From `failed_pairs`.
        compute: Optimizer to its cost in any unit, such as seconds a step.

    Returns:
        Optimizer to its columns, in the table's order.

    Raises:
        ValueError: If a pair is missing (means over other backbones do not compare),
            or an optimizer has no distance or no cost.
    """
    left_out = int(len(table.backbones) >= TRIMMED_FROM)
    means = np.sort(_filled(table), axis=1)[:, left_out:].mean(axis=1)
    summaries = distances.per_optimizer()
    coupled = {optimizer for optimizer, _ in failures.pairs()}
    for kind, known in (
        ("distance of optimizer", list(summaries)),
        ("failure marks of optimizer", list(failures.optimizers)),
        ("cost of optimizer", list(compute)),
    ):
        for name in table.optimizers:
            if name not in known:
                raise ValueError(unknown_name(kind, name, known))
    spread = np.array([summaries[name].mean for name in table.optimizers])
    cost = np.array([compute[name] for name in table.optimizers], np.float64)
    for what, array in (("distance", spread), ("cost", cost)):
        if not np.isfinite(array).all():
            gone = np.array(table.optimizers)[~np.isfinite(array)]
            raise ValueError(f"{', '.join(gone)} have no {what}")
    ranks = [
        _dense_ranks(array)
        for array in (-np.round(means, _DIGITS), np.round(spread, _DIGITS), cost)
    ]
    return {
        name: RankingColumns(
            ranks[0][i], ranks[1][i], float(name in coupled), ranks[2][i]
        )
        for i, name in enumerate(table.optimizers)
    }


def _filled(table: ScoreTable) -> np.ndarray:
    """The scores with 0 for diverged pairs; refuses missing ones."""
    values = np.array(table.values)
    for optimizer, backbone in table.diverged:
        cell = table.optimizers.index(optimizer), table.backbones.index(backbone)
        values[cell] = 0.0
    cells = np.argwhere(np.isnan(values))
    missing = [f"{table.optimizers[o]} on {table.backbones[b]}" for o, b in cells]
    if missing:
        raise ValueError(
            f"{len(missing)} pairs have no score: {', '.join(missing[:_SHOWN])}"
            f"{', ...' if len(missing) > _SHOWN else ''}; leave out their rows or "
            "columns with ScoreTable.select"
        )
    return values


def _dense_ranks(values: np.ndarray) -> list[float]:
    """Ranks from 1, the smallest first; equals share one, and no rank is skipped."""
    _, ranks = np.unique(values, return_inverse=True)
    return [float(rank) + 1.0 for rank in ranks]
