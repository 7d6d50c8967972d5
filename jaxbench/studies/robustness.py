"""How far the best hyper-parameters move from one backbone to the next."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxbench.studies.tuning import TunedTable

# Values that agree to so many digits are one setting: 0.1 and float32(0.1).
_DIGITS = 6


class DistanceSummary(NamedTuple):
    """Rank distances of one backbone or one optimizer.

    Attributes:
        mean: NaN if no distance is known.
        median: Likewise.
        max: Likewise.
        num: Pairs with a distance.
    """

    mean: float
    median: float
    max: float
    num: int


@dataclass(frozen=True, eq=False)
class RankDistances:
    """Distance of every pair's best setting from its optimizer's usual one.

    Attributes:
        optimizers: Names of the rows.
        backbones: Names of the columns.
        distances: Whole numbers from 0; NaN where a pair was not tuned or the
            optimizer was tuned on one backbone alone.
    """

    optimizers: tuple[str, ...]
    backbones: tuple[str, ...]
    distances: Float[np.ndarray, "optimizers backbones"]

    def per_backbone(self) -> dict[str, DistanceSummary]:
        """Backbone to its distances over the optimizers: large is hard to tune."""
        columns = zip(self.backbones, self.distances.T, strict=True)
        return {name: _summary(values) for name, values in columns}

    def per_optimizer(self) -> dict[str, DistanceSummary]:
        """Optimizer to its distances over the backbones: large needs a new search."""
        rows = zip(self.optimizers, self.distances, strict=True)
        return {name: _summary(values) for name, values in rows}


def rank_distances(tuned: TunedTable) -> RankDistances:
    """Distance of the best (learning rate, weight decay) from the usual pair, in ranks.

    For one optimizer, the distinct best learning rates over all backbones are ranked
    0, 1, ..., likewise the weight decays; the mode is the rank that most backbones
    have, the smaller among equals. Backbone b is at distance

        |rank(lr_b) - rank(lr_mode)| + |rank(wd_b) - rank(wd_mode)|.

    The study speaks of a Manhattan distance between one-hot codes, which could be 0, 2
    or 4 only, and shows whole numbers from 0 to 6; this reading is ours, of figures 4
    and 5 of https://arxiv.org/abs/2410.06373, and comes near them.

    Args:
        tuned: Best values; two that agree to six digits are one.

    Returns:
        The distances. Ranks are of the values that occur: a finer grid or more
        backbones mean more ranks, so compare optimizers over one set of both.

    Raises:
        ValueError: If no optimizer was tuned on two backbones.
    """
    distances = np.full(tuned.learning_rate.shape, np.nan)
    for row in range(len(tuned.optimizers)):
        known = ~np.isnan(tuned.learning_rate[row])
        if known.sum() < 2:
            continue
        parts = [
            _distance_from_mode(values[row, known])
            for values in (tuned.learning_rate, tuned.weight_decay)
        ]
        distances[row, known] = sum(parts)
    if np.isnan(distances).all():
        raise ValueError(
            "no optimizer was tuned on two backbones; the distance from the usual "
            "setting needs at least two"
        )
    return RankDistances(tuned.optimizers, tuned.backbones, distances)


def _distance_from_mode(values: np.ndarray) -> np.ndarray:
    rounded = [float(f"{value:.{_DIGITS - 1}e}") for value in values]
    _, ranks, counts = np.unique(rounded, return_inverse=True, return_counts=True)
    # argmax takes the first, which is the smallest rank.
    return np.abs(ranks - np.argmax(counts)).astype(np.float64)


def _summary(values: np.ndarray) -> DistanceSummary:
    known = values[~np.isnan(values)]
    if not len(known):
        nan = float("nan")
        return DistanceSummary(nan, nan, nan, 0)
    return DistanceSummary(
        mean=float(known.mean()),
        median=float(np.median(known)),
        max=float(known.max()),
        num=len(known),
    )
