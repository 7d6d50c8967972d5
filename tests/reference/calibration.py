"""Slow, obvious float64 twins of the calibration errors."""

import itertools
import math

import numpy as np


def equal_width_bins(confidence, num_bins=15):
    """Indices of each bin's rows; 0.0 in the first."""
    confidence = np.asarray(confidence, np.float64)
    # A float32 confidence on an edge equals the float32 edge.
    edges = (np.arange(num_bins + 1) / num_bins).astype(np.float32)
    bins = []
    for b in range(num_bins):
        inside = (confidence > edges[b]) & (confidence <= edges[b + 1])
        if b == 0:
            inside |= confidence == 0
        bins.append(np.flatnonzero(inside))
    return bins


def bin_table(confidence, correct, num_bins=15):
    """(count, accuracy, mean confidence) of every bin that holds an example."""
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    return [
        (len(rows), correct[rows].mean(), confidence[rows].mean())
        for rows in equal_width_bins(confidence, num_bins)
        if len(rows)
    ]


def equal_mass_table(rank, confidence, correct, num_bins=15):
    """The same for bins of equal mass, tied rows spread evenly over their places."""
    order = np.argsort(-np.asarray(rank, np.float64), kind="stable")
    ranks = np.asarray(rank)[order]
    values = np.asarray(confidence, np.float64)[order]
    right = np.asarray(correct, np.float64)[order]
    for level in set(ranks.tolist()):
        block = ranks == level
        values[block], right[block] = values[block].mean(), right[block].mean()
    edges = [b * len(ranks) // num_bins for b in range(num_bins + 1)]
    return [
        (high - low, right[low:high].mean(), values[low:high].mean())
        for low, high in itertools.pairwise(edges)
        if high > low
    ]


def ece_of(table):
    total = sum(count for count, _, _ in table)
    return sum(count / total * abs(acc - conf) for count, acc, conf in table)


def mce_of(table):
    return max(abs(acc - conf) for _, acc, conf in table)


def rms_of(table):
    total = sum(count for count, _, _ in table)
    return math.sqrt(sum(n / total * (acc - conf) ** 2 for n, acc, conf in table))


def debiased_rms_of(table):
    total = sum(count for count, _, _ in table)
    squared = 0.0
    for count, acc, conf in table:
        noise = acc * (1 - acc) / (count - 1) if count > 1 else 0.0
        squared += count / total * ((acc - conf) ** 2 - noise)
    return math.sqrt(max(squared, 0.0))


def debiased_ece_of(table):
    """2 |gap| - E|N(gap, sigma)|, the expectation by quadrature."""
    total = sum(count for count, _, _ in table)
    steps = np.linspace(-12, 12, 20_001)
    density = np.exp(-(steps**2) / 2)
    density /= density.sum()
    result = 0.0
    for count, acc, conf in table:
        sigma = math.sqrt(acc * (1 - acc) / count)
        expected = float((np.abs(conf - acc + sigma * steps) * density).sum())
        result += count / total * (2 * abs(acc - conf) - expected)
    return result


def ks(rank, confidence, correct):
    """Partial sums by rising confidence, at the ends of tied blocks."""
    rank = np.asarray(rank, np.float64)
    gap = np.asarray(confidence, np.float64) - np.asarray(correct, np.float64)
    sums = [gap[rank <= level].sum() for level in set(rank.tolist())]
    return max(abs(s) for s in sums) / len(gap)


def smooth_ece_at(confidence, correct, bandwidth, points=2000):
    """The integral of |smoothed residual|, images of the kernel summed one by one."""
    confidence = np.asarray(confidence, np.float64)
    gap = confidence - np.asarray(correct, np.float64)
    t = (np.arange(points) + 0.5) / points
    smoothed = np.zeros(points)
    reach = max(1, math.ceil(5 * bandwidth / 2))
    for value, residual in zip(confidence, gap, strict=True):
        kernel = np.zeros(points)
        for fold in range(-reach, reach + 1):
            for image in (value + 2 * fold, -value + 2 * fold):
                kernel += np.exp(-((t - image) ** 2) / (2 * bandwidth**2))
        smoothed += residual * kernel / (bandwidth * math.sqrt(2 * math.pi))
    return float(np.abs(smoothed).mean() / len(gap))


def smooth_ece(confidence, correct):
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if smooth_ece_at(confidence, correct, middle, points=1000) > middle:
            low = middle
        else:
            high = middle
    return smooth_ece_at(confidence, correct, (low + high) / 2)


def brier_parts(table):
    """Murphy's reliability, resolution and uncertainty."""
    total = sum(count for count, _, _ in table)
    base = sum(count * acc for count, acc, _ in table) / total
    reliability = sum(n * (conf - acc) ** 2 for n, acc, conf in table) / total
    resolution = sum(n * (acc - base) ** 2 for n, acc, _ in table) / total
    return reliability, resolution, base * (1 - base)


def classwise_ece(probabilities, labels, num_bins=15):
    p = np.asarray(probabilities, np.float64)
    errors = []
    for k in range(p.shape[1]):
        is_class = np.asarray(labels) == k
        errors.append(ece_of(bin_table(p[:, k], is_class, num_bins)))
    return float(np.mean(errors))
