"""Binomial tails and bounds from their definitions, in fractions or float64."""

import math
from fractions import Fraction

import scipy.stats


def pmf(successes, trials, probability):
    """P(X = k) as a fraction, for a few hundred trials."""
    p = Fraction(float(probability))
    if not 0 <= successes <= trials:
        return Fraction(0)
    ways = math.comb(trials, successes)
    return ways * p**successes * (1 - p) ** (trials - successes)


def tails(successes, trials, probability):
    """P(X <= k) and P(X > k) as fractions."""
    terms = [pmf(j, trials, probability) for j in range(trials + 1)]
    cut = max(0, successes + 1)
    return sum(terms[:cut], Fraction(0)), sum(terms[cut:], Fraction(0))


def log(share):
    """The logarithm of a fraction that float64 may not hold."""
    if share == 0:
        return -math.inf
    return math.log(share.numerator) - math.log(share.denominator)


def upper_bound(errors, trials, delta):
    """Bisection in float64 on the exact sum of the tail."""
    if errors == trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if scipy.stats.binom.cdf(errors, trials, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def wilson(successes, trials, level):
    """The shares whose score test at 1 - level the data do not refuse; by bisection."""
    z = scipy.stats.norm.ppf((1 + level) / 2)
    share = successes / trials

    def refused(p):
        return abs(share - p) > z * math.sqrt(p * (1 - p) / trials)

    def edge(inside, outside):
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if refused(middle) else (middle, outside)
        return inside

    return edge(share, 0.0), edge(share, 1.0)
