"""Bootstrap intervals from their formulas, in float64."""

import numpy as np
import scipy.stats


def acceleration(left, sizes):
    """Skewness of the influences; `left` holds a jackknife for each sample.

    Rows are left out one at a time, or in groups of `sizes` rows.
    """
    cubes = squares = 0.0
    for values, size in zip(left, sizes, strict=True):
        total = size.sum()
        influence = (total - size) * values
        influence = (influence.mean() - influence) / total
        cubes += (influence**3).sum()
        squares += (influence**2).sum()
    return cubes / (6 * squares**1.5)


def bca(values, estimate, left, sizes, level):
    """Efron and Tibshirani (1993), equations 14.9 to 14.15."""
    below = (values < estimate).mean() + (values == estimate).mean() / 2
    bias, speed = scipy.stats.norm.ppf(below), acceleration(left, sizes)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + scipy.stats.norm.ppf(tail)
        share = scipy.stats.norm.cdf(bias + shifted / (1 - speed * shifted))
        ends.append(np.quantile(values, share))
    return ends
