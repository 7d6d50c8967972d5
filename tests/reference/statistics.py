"""Slow, obvious float64 twins of the statistics over models: loops, no JAX."""

import itertools
import math
from fractions import Fraction

import numpy as np


def _rejected_by_holm(p, alpha):
    """The procedure itself: from the smallest p on, stop at the first that is large."""
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > alpha / (len(p) - step):
            break
        rejected.add(i)
    return rejected


def _rejected_by_bh(p, alpha):
    """The procedure itself: the last that is small, and all before it."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    last = 0
    for k, i in enumerate(order, start=1):
        if p[i] <= Fraction(k, len(p)) * alpha:
            last = k
    return set(order[:last])


def _adjusted(rejected, p):
    """The smallest level at which a test is rejected; no other levels can be it."""
    p = [Fraction(float(x)) for x in p]
    m = len(p)
    levels = {x * Fraction(m, j) for x in p for j in range(1, m + 1)}
    levels |= {x * j for x in p for j in range(1, m + 1)}
    smallest = {}
    for level in sorted(levels):
        for i in rejected(p, level):
            smallest.setdefault(i, min(level, Fraction(1)))
    return np.array([float(smallest[i]) for i in range(m)])


def holm(p):
    return _adjusted(_rejected_by_holm, p)


def benjamini_hochberg(p):
    return _adjusted(_rejected_by_bh, p)


def sign_flips(a, b):
    """The exact p-value, over all sign patterns, in rationals."""
    differences = [
        Fraction(float(x)) - Fraction(float(y)) for x, y in zip(a, b, strict=True)
    ]
    observed, hits, patterns = abs(sum(differences)), 0, 0
    for signs in itertools.product((-1, 1), repeat=len(differences)):
        flipped = sum(s * d for s, d in zip(signs, differences, strict=True))
        hits += abs(flipped) >= observed
        patterns += 1
    return hits / patterns


def mid_ranks(values):
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        ranks.append(below + (equal + 1) / 2)
    return np.array(ranks)


def spearman(x, y):
    u, v = (mid_ranks(values) for values in (x, y))
    u, v = u - u.mean(), v - v.mean()
    size = math.sqrt((u @ u) * (v @ v))
    return float(u @ v) / size if size else math.nan


def kendall(x, y):
    alike = untied_x = untied_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        dx = int(x[i] > x[j]) - int(x[i] < x[j])
        dy = int(y[i] > y[j]) - int(y[i] < y[j])
        alike += dx * dy
        untied_x += dx != 0
        untied_y += dy != 0
    size = math.sqrt(untied_x * untied_y)
    return alike / size if size else math.nan


CORRELATIONS = {"spearman": spearman, "kendall": kendall}


def bootstrap_correlation(correlation, x, y, weights, level):
    """Percentiles over the literally resampled rows."""
    values = []
    for row in weights:
        drawn = np.repeat(np.arange(len(x)), row)
        values.append(correlation(x[drawn], y[drawn]))
    tail = (1 - level) / 2
    return tuple(np.nanquantile(values, [tail, 1 - tail]))


def fisher_correlation(kind, r, n, quantile):
    spread = (1 + r**2 / 2) / (n - 3) if kind == "spearman" else 0.437 / (n - 4)
    width = quantile * math.sqrt(spread)
    return math.tanh(math.atanh(r) - width), math.tanh(math.atanh(r) + width)


def places(values, higher_is_better):
    """Place 1 is the best; equals share the mean of the places that they take up."""
    gains = [v if higher_is_better else -v for v in values]
    best_first = sorted(gains, reverse=True)
    found = []
    for gain in gains:
        taken = [place for place, v in enumerate(best_first, start=1) if v == gain]
        found.append(sum(taken) / len(taken))
    return found


def rank_stability(resampled, estimate, higher_is_better, level):
    """Fields of `RankStability`, resample by resample and pair by pair."""
    kept = [row for row in resampled if not np.isnan(row).any()]
    m = len(estimate)
    rank = places(estimate, higher_is_better)
    every = [places(row, higher_is_better) for row in kept]
    win, top = np.zeros((m, m)), np.zeros(m)
    for row, order in zip(kept, every, strict=True):
        leaders = [i for i in range(m) if order[i] == min(order)]
        for i in leaders:
            top[i] += 1 / len(leaders) / len(kept)
        for i, j in itertools.product(range(m), repeat=2):
            gain = row[i] - row[j] if higher_is_better else row[j] - row[i]
            win[i, j] += (1.0 if gain > 0 else 0.5 if gain == 0 else 0.0) / len(kept)
    keep = [np.mean([order[i] == rank[i] for order in every]) for i in range(m)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(every), [tail, 1 - tail], axis=0)
    return {
        "rank": np.array(rank),
        "keep_place": np.array(keep),
        "low": low,
        "high": high,
        "win": win,
        "top": top,
    }


def resampled_means(values, weights):
    """Means over the literally resampled images: [resamples, models]."""
    values = np.asarray(values, np.float64)
    drawn = [np.repeat(np.arange(values.shape[1]), row) for row in weights]
    return np.array([values[:, rows].mean(axis=1) for rows in drawn])
