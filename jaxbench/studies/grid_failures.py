"""Which pairs of a grid failed, where the rule cannot judge, and the largest gaps."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from jaxbench.studies import Failures, ScoreTable, failed_pairs
from jaxbench.studies.grids import Sweep

Rule = Literal["fitted", "eq1"]
# With fewer scores of a backbone its quartiles say nothing about a collapse.
MIN_OPTIMIZERS = 4
FITTED_RULE = (
    "below the median of its backbone's scores by more than three quarters of their "
    "interquartile range, and by more than 2 points"
)


def marked_failures(sweep: Sweep, rule: Rule = "fitted") -> Failures | None:
    """The failures of a grid; None where no pair has an outcome.

    On a backbone with fewer than `MIN_OPTIMIZERS` scores only diverged pairs count.
    """
    table = sweep.table
    if not table.diverged and np.isnan(table.values).all():
        return None
    margin = sweep.margin if rule == "eq1" else None
    found = failed_pairs(table, rule=rule, margin=margin)
    few = np.array([name in too_few(table) for name in table.backbones])
    diverged = np.array(
        [[(o, b) in table.diverged for b in table.backbones] for o in table.optimizers]
    )
    return replace(
        found,
        thresholds=np.where(few, np.nan, found.thresholds),
        failed=np.where(few[None, :], diverged, found.failed),
    )


def too_few(table: ScoreTable) -> tuple[str, ...]:
    """Backbones with too few scores for the failure rule."""
    counts = (~np.isnan(table.values)).sum(axis=0)
    return tuple(
        name
        for name, count in zip(table.backbones, counts, strict=True)
        if count < MIN_OPTIMIZERS
    )


class Gap(NamedTuple):
    """How far a score is behind the best of its backbone; a fraction."""

    size: float
    optimizer: str
    backbone: str


def largest_gap(
    table: ScoreTable, optimizers: Collection[str] | None = None
) -> Gap | None:
    """The score furthest behind the best of its backbone; None without two scores.

    Args:
        table: The scores. Diverged pairs have none.
        optimizers: Whose gaps; everybody's if None.
    """
    best = np.fmax.reduce(table.values, axis=0, keepdims=True)
    several = (~np.isnan(table.values)).sum(axis=0) > 1
    gaps = np.where(several, best - table.values, np.nan)
    if optimizers is not None:
        gaps[[name not in optimizers for name in table.optimizers]] = np.nan
    if np.isnan(gaps).all():
        return None
    row, column = np.unravel_index(np.nanargmax(gaps), gaps.shape)
    return Gap(float(gaps[row, column]), table.optimizers[row], table.backbones[column])


def gap_words(sweep: Sweep, backbones: Sequence[str] | None = None) -> str:
    """The largest gap, such as "largest gap 19.4 points, SGD-M on vit_micro"."""
    gap = largest_gap(sweep.table.select(backbones=backbones))
    if gap is None:
        return "no backbone has two scores to compare"
    where = f"{sweep.title(gap.optimizer)} on {gap.backbone}"
    return f"largest gap {100 * gap.size:.1f} points, {where}"


def not_judged(sweep: Sweep) -> str:
    """Why the failure rule says nothing about some backbones; empty if it judges all.

    Their largest gap is in it: without the rule a reader has only that.
    """
    few = too_few(sweep.table)
    if not few:
        return ""
    everywhere = len(few) == len(sweep.table.backbones)
    where = "" if everywhere else f" on {', '.join(few)}"
    short = len(sweep.table.optimizers) < MIN_OPTIMIZERS
    reason = f"fewer than {MIN_OPTIMIZERS} optimizers{'' if short else ' with a score'}"
    return f"not judged{where}: {reason}; {gap_words(sweep, few)}"


def rule_text(sweep: Sweep, rule: Rule) -> str:
    """The failure rule as text that follows "a score"."""
    if rule == "fitted":
        return FITTED_RULE
    return (
        "below the best of its backbone by more than their interquartile range or by "
        f"more than {100 * sweep.margin:g} points, whichever is less: Eq. (1) of arXiv "
        "2410.06373 as printed, which marks many"
    )
