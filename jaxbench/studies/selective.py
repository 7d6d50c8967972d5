"""Which models know when they are wrong? Numbers over the models of a zoo.

The questions are those of Galil, Dabbah and El-Yaniv (2023), "What can we learn from
the selective prediction and uncertainty estimation performance of 523 ImageNet
classifiers?", https://arxiv.org/abs/2302.11874. Everything here takes numbers that are
in rows already; `selective_images` goes back to the images.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Key

from jaxbench.metrics import correlation_interval, spearman, wilson_interval
from jaxbench.studies.models import Model
from jaxbench.studies.resampling import Resampling

# The group that holds every model.
ALL = "all"
# A correlation of fewer models says nothing: that of three is 1 or -1 a third of
# the time.
MIN_MODELS = 4
# Lengths are rounded up to multiples of this, or each would be compiled anew.
_STEP = 64

# What is compared with accuracy, and what with AUROC.
_WITH_ACCURACY = (
    *("auroc", "ece", "aurc", "nll", "coverage_at_99_accuracy"),
    *("auroc_ts", "ece_ts", "aurc_ts", "coverage_at_99_accuracy_ts"),
)
_PAIRS = (
    *(("accuracy", name) for name in _WITH_ACCURACY),
    *(("auroc", "ece"), ("auroc_ts", "ece_ts"), ("auroc", "aurc")),
)

# A row of results: metrics among other things.
Values = Mapping[str, Any]


class Correlation(NamedTuple):
    """Spearman's correlation of two metrics over models.

    Attributes:
        x: Metric.
        y: The other.
        group: Which models; `ALL`, a family or a regime.
        num_models: How many have both.
        value: In [-1, 1]; NaN where one metric is the same for all.
        low: Lower end of its interval, over models.
        high: Upper end.
    """

    x: str
    y: str
    group: str
    num_models: int
    value: float
    low: float
    high: float


class Change(NamedTuple):
    """How a number changes from one state of a thing to another, over many things.

    Attributes:
        num_pairs: Pairs in which both numbers are known.
        median: Median of after less before.
        low: Lower end of its interval.
        high: Upper end.
        num_better: Pairs that got better.
        num_worse: Pairs that got worse; the others stayed equal.
        share_low: Lower end of the interval of num_better / (num_better + num_worse).
        share_high: Upper end.
        p_value: Of the exact two-sided sign test.
    """

    num_pairs: int
    median: float
    low: float
    high: float
    num_better: int
    num_worse: int
    share_low: float
    share_high: float
    p_value: float


def rank_correlations(
    models: Sequence[Model], resampling: Resampling
) -> list[tuple[str, Correlation]]:
    """Do metrics rank models alike: over all models, and within families and regimes?

    Returns:
        "", "family" or "regime", the kind of the group, with each correlation of
        `metric_correlations`.
    """
    values = {model.label: model.clean for model in models}
    found = []
    for kind in ("family", "regime"):
        rows = metric_correlations(
            values,
            _PAIRS,
            {model.label: getattr(model, kind) for model in models},
            key=resampling.key(),
            num_resamples=resampling.num_resamples,
        )
        found += [
            ("" if row.group == ALL else kind, row)
            for row in rows
            # All models are a group of both.
            if not (row.group == ALL and kind == "regime")
        ]
    return found


def metric_correlations(
    models: Mapping[str, Values],
    pairs: Iterable[tuple[str, str]],
    groups: Mapping[str, str] | None = None,
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[Correlation, ...]:
    """Do two metrics rank models alike? Over all models, and within groups of them.

    A correlation over all models may be near zero and strong within each family, of
    either sign: arXiv 2302.11874 reports so of AUROC and ECE.

    Args:
        models: Model to its metrics. A metric that is missing or NaN leaves the model
            out of its pairs.
        pairs: Metrics to compare.
        groups: Model to group, such as its family. Groups of fewer than `MIN_MODELS`
            are left out.
        key: Chooses the resamples of the bootstrap over models.
        num_resamples: Resamples behind an interval; 0 leaves intervals NaN.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        For each pair `ALL`, then the groups in alphabetical order; nothing where
        fewer than `MIN_MODELS` models have both. Models are taken for independent:
        those of one family are not, so intervals are rather too narrow.
    """
    members: dict[str, list[str]] = {ALL: list(models)}
    for name in models:
        if groups and name in groups:
            members.setdefault(groups[name], []).append(name)
    order = [ALL, *sorted(members.keys() - {ALL})]
    found = []
    for x, y in pairs:
        for group in order:
            values = [
                (models[name][x], models[name][y])
                for name in members[group]
                if _is_number(models[name].get(x)) and _is_number(models[name].get(y))
            ]
            if len(values) >= MIN_MODELS:
                estimate = _correlation(values, key, num_resamples, level)
                found.append(Correlation(x, y, group, len(values), *estimate))
    return tuple(found)


def median_change(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    *,
    higher_is_better: bool,
    level: float = 0.95,
) -> Change:
    """Whether a number gets better from before to after, without assuming a shape.

    Temperature scaling of many models, or models with and without a teacher. The
    interval of the median is the one that inverts the sign test: its ends are order
    statistics of the differences, and it covers with at least `level` (Conover 1999,
    Practical Nonparametric Statistics, section 3.2). The share of pairs that get
    better has a Wilson interval; pairs that stay equal take no part in it.

    Args:
        before: One number a pair; a pair with a NaN is left out.
        after: Likewise.
        higher_is_better: Which direction is better.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        NaN where no pair is known; the interval is (-inf, inf) where there are too
        few pairs for the level (fewer than 6 at 95 %).

    Raises:
        ValueError: If the two differ in length.
    """
    if len(before) != len(after):
        raise ValueError(f"before has {len(before)} values and after {len(after)}")
    differences = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    differences = np.sort(differences[np.isfinite(differences)])
    if not len(differences):
        nan = math.nan
        return Change(0, nan, nan, nan, 0, 0, nan, nan, nan)
    signed = differences if higher_is_better else -differences
    better, worse = int((signed > 0).sum()), int((signed < 0).sum())
    low, high = _median_interval(differences, level)
    share = (math.nan, math.nan)
    if better + worse:
        ends = wilson_interval(better, better + worse, level=level)
        share = float(ends[0]), float(ends[1])
    return Change(
        len(differences),
        float(np.median(differences)),
        low,
        high,
        better,
        worse,
        *share,
        sign_test(better, worse),
    )


def sign_test(better: int, worse: int) -> float:
    """The exact two-sided p-value of so many better and worse; 1 where there is none.

    2 P(X <= min(better, worse)) for X ~ binomial(better + worse, 1/2), at most 1.
    """
    trials = better + worse
    tail = sum(math.comb(trials, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**trials)


def group_medians(
    models: Mapping[str, Values],
    groups: Mapping[str, str],
    metrics: Sequence[str],
) -> dict[str, tuple[int, dict[str, float]]]:
    """The median of each metric over the models of each group.

    Args:
        models: Model to its metrics.
        groups: Model to group; a model without one is left out.
        metrics: Which.

    Returns:
        Group to its number of models and its medians; NaN for a metric that none of
        them has. The largest groups first.
    """
    members: dict[str, list[Values]] = {}
    for name, values in models.items():
        if name in groups:
            members.setdefault(groups[name], []).append(values)
    found = {}
    for group in sorted(members, key=lambda name: (-len(members[name]), name)):
        medians = {}
        for metric in metrics:
            known = [v[metric] for v in members[group] if _is_number(v.get(metric))]
            medians[metric] = float(np.median(known)) if known else math.nan
        found[group] = (len(members[group]), medians)
    return found


def regime_changes(
    models: Mapping[str, Values],
    architectures: Mapping[str, str],
    regimes: Mapping[str, str],
    metrics: Mapping[str, bool],
    *,
    base: str = "plain",
    level: float = 0.95,
) -> dict[str, dict[str, Change]]:
    """What each regime changes, architecture by architecture.

    Architectures that were trained in a regime and in the base regime too are pairs;
    several models of one architecture and regime count as their median. Regimes that
    favour large architectures are thus not taken for better ones.

    Args:
        models: Model to its metrics.
        architectures: Model to architecture.
        regimes: Model to regime.
        metrics: Which, and whether a higher value is better.
        base: The regime that the others are compared with.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Regime to metric to change; only regimes that share an architecture with the
        base, in alphabetical order.
    """
    members: dict[str, dict[str, list[Values]]] = {}
    for name, values in models.items():
        by_regime = members.setdefault(architectures[name], {})
        by_regime.setdefault(regimes[name], []).append(values)

    def median(values: Sequence[Values], metric: str) -> float:
        known = [v[metric] for v in values if _is_number(v.get(metric))]
        return float(np.median(known)) if known else math.nan

    found = {}
    for regime in sorted(set(regimes.values()) - {base}):
        shared = [m for m in members.values() if base in m and regime in m]
        if shared:
            found[regime] = {
                metric: median_change(
                    [median(m[base], metric) for m in shared],
                    [median(m[regime], metric) for m in shared],
                    higher_is_better=higher,
                    level=level,
                )
                for metric, higher in metrics.items()
            }
    return found


def _correlation(
    values: Sequence[tuple[float, float]], key, num_resamples: int, level: float
) -> tuple[float, float, float]:
    rows = len(values)
    length = -(-rows // _STEP) * _STEP
    columns = np.zeros((2, length), np.float32)
    columns[:, :rows] = np.asarray(values, np.float32).T
    mask = np.arange(length) < rows
    x, y = columns
    value = float(spearman(x, y, mask=mask))
    if not num_resamples:
        return value, math.nan, math.nan
    low, high = correlation_interval(
        x, y, key=key, num_resamples=num_resamples, level=level, mask=mask
    )
    return value, float(low), float(high)


def _median_interval(ordered: np.ndarray, level: float) -> tuple[float, float]:
    """The k-th smallest and largest, k the largest with P(X < k) <= (1 - level) / 2."""
    trials, tail, k = len(ordered), 0.0, 0
    while k < trials / 2:
        tail += math.comb(trials, k) / 2**trials
        if tail > (1 - level) / 2:
            break
        k += 1
    if k == 0:
        return -math.inf, math.inf
    return float(ordered[k - 1]), float(ordered[trials - k])


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
