"""Backbone-optimizer coupling: which pairs fail, how far scores spread.

The measures of arXiv 2410.06373, which released no analysis code. Where the printed
definition and the printed table part, both are here under names of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxbench.errors import unknown_name
from jaxbench.studies.score_table import Pair, ScoreTable

# Lambda of Eq. (1) by dataset, as fractions.
EQ1_MARGINS: Mapping[str, float] = MappingProxyType(
    {"cifar100": 0.03, "coco": 0.03, "imagenet1k": 0.01}
)
_FITTED_MARGIN = 0.02
_FITTED_SHARE = 0.75
# Percentages divided by 100 carry rounding of 1e-17; two scores this close are equal.
_DIGITS = 9


@dataclass(frozen=True, eq=False)
class Failures:
    """Which pairs of a table have failed, and by which rule.

    Attributes:
        optimizers: Names of the rows.
        backbones: Names of the columns.
        rule: "fitted" or "eq1".
        margin: The rule's lambda, a fraction.
        thresholds: Score below which a pair fails, by backbone; NaN without scores.
        failed: Whether a pair failed. A diverged pair did, a missing one did not.
    """

    optimizers: tuple[str, ...]
    backbones: tuple[str, ...]
    rule: str
    margin: float
    thresholds: Float[np.ndarray, " backbones"]
    failed: Bool[np.ndarray, "optimizers backbones"]

    def pairs(self) -> tuple[Pair, ...]:
        """The failed pairs (optimizer, backbone), row by row."""
        cells = np.argwhere(self.failed)
        return tuple((self.optimizers[o], self.backbones[b]) for o, b in cells)


def failed_pairs(
    table: ScoreTable,
    *,
    rule: Literal["fitted", "eq1"] = "fitted",
    margin: float | None = None,
) -> Failures:
    """Pairs of optimizer and backbone whose score has collapsed.

    With R the scores of one backbone under all optimizers, r one of them, Q25 and Q75
    the quartiles of R (linear between order statistics) and IQR = Q75 - Q25, the pair
    fails if

        fitted:  r < median(R) - max(0.75 IQR, margin)
        eq1:     r < max(R) - min(IQR, margin)

    "eq1" is Eq. (1) of https://arxiv.org/abs/2410.06373 as printed. On the study's own
    CIFAR-100 table it marks 258 of 400 pairs, all 50 that are printed in grey and 208
    that are not. "fitted" is ours, chosen to agree with the grey marks: 48 of the 50
    and no other.

    Args:
        table: Missing pairs take no part in the quantiles.
        rule: Which of the two.
        margin: Lambda, a fraction. By default 0.02 for "fitted" and 0.03 for "eq1";
            `EQ1_MARGINS` has the study's by dataset.

    Returns:
        The marks, with the rule, margin and thresholds that made them. A score equal
        to the threshold, to 1e-9, has not failed. A backbone with one score has no
        failure but those that diverged.

    Raises:
        ValueError: If the rule is unknown, the margin is negative or not finite, or
            the table has neither a score nor a diverged pair.
    """
    if rule not in _RULES:
        raise ValueError(unknown_name("rule", rule, _RULES))
    threshold, default = _RULES[rule]
    chosen = default if margin is None else margin
    if not (0 <= chosen < float("inf")):
        raise ValueError(f"margin is {margin}; it is a fraction of at least 0")
    _check_says_something(table)
    thresholds = np.array(
        [threshold(scores, chosen) for scores in _columns(table)], np.float64
    )
    # NaN is below nothing: missing pairs stay unmarked.
    below = np.round(table.values - thresholds[None, :], _DIGITS) < 0
    for optimizer, backbone in table.diverged:
        cell = table.optimizers.index(optimizer), table.backbones.index(backbone)
        below[cell] = True
    return Failures(table.optimizers, table.backbones, rule, chosen, thresholds, below)


class Spread(NamedTuple):
    """How one backbone's scores spread over the optimizers.

    Attributes:
        mean: In [0, 1]; NaN if no value is left.
        std: Population standard deviation; NaN if fewer than two are left.
        range: Largest less smallest; NaN if fewer than two are left.
        num: Values in mean and std.
    """

    mean: float
    std: float
    range: float
    num: int


def trimmed_statistics(table: ScoreTable) -> dict[str, Spread]:
    """Mean, standard deviation and range by backbone, as the study prints them.

    Of n scores in ascending order, mean and population standard deviation are of those
    without the worst and without the n // 10 best; the range drops the worst alone.
    For the study's 20 optimizers this is [1:18] and [1:], which gives 19 of the 20
    printed means, 18 of the standard deviations and 18 of the ranges (ConvNeXt-T is
    printed over all 20). The study says only that the worst result was removed;
    https://arxiv.org/abs/2410.06373, table 1. The step to other n is ours.

    Args:
        table: Missing and diverged pairs take no part; the worst is dropped from what
            is left.

    Returns:
        Backbone to its statistics, in the table's order.

    Raises:
        ValueError: If the table has no score.
    """
    _check_has_scores(table)
    return _spreads(table, lambda n: (1, n - n // 10))


def plain_statistics(table: ScoreTable) -> dict[str, Spread]:
    """Mean, population standard deviation and range by backbone, over all scores.

    Args:
        table: Missing and diverged pairs take no part.

    Returns:
        Backbone to its statistics, in the table's order.

    Raises:
        ValueError: If the table has no score.
    """
    _check_has_scores(table)
    return _spreads(table, lambda n: (0, n))


def _spreads(
    table: ScoreTable, kept: Callable[[int], tuple[int, int]]
) -> dict[str, Spread]:
    spreads = {}
    for backbone, scores in zip(table.backbones, _columns(table), strict=True):
        ordered = np.sort(scores)
        low, high = kept(len(ordered))
        middle, without_worst = ordered[low:high], ordered[low:]
        spreads[backbone] = Spread(
            mean=float(middle.mean()) if len(middle) else float("nan"),
            std=float(middle.std()) if len(middle) > 1 else float("nan"),
            range=float(np.ptp(without_worst))
            if len(without_worst) > 1
            else float("nan"),
            num=len(middle),
        )
    return spreads


def _fitted(scores: np.ndarray, margin: float) -> float:
    if not len(scores):
        return float("nan")
    low, median, high = np.percentile(scores, [25, 50, 75])
    return median - max(_FITTED_SHARE * (high - low), margin)


def _eq1(scores: np.ndarray, margin: float) -> float:
    if not len(scores):
        return float("nan")
    low, high = np.percentile(scores, [25, 75])
    return scores.max() - min(high - low, margin)


_RULES = {
    "fitted": (_fitted, _FITTED_MARGIN),
    "eq1": (_eq1, EQ1_MARGINS["cifar100"]),
}


def _columns(table: ScoreTable) -> list[np.ndarray]:
    """The scores of each backbone, without the missing ones."""
    return [column[~np.isnan(column)] for column in table.values.T]


def _check_says_something(table: ScoreTable) -> None:
    if not table.diverged:
        _check_has_scores(table)


def _check_has_scores(table: ScoreTable) -> None:
    if np.isnan(table.values).all():
        raise ValueError(
            f"none of the {table.values.size} pairs has a score; nothing can be said"
        )
