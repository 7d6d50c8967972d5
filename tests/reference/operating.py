"""Guaranteed thresholds and conformal sets, in float64 and by the definitions."""

import math
from fractions import Fraction

import numpy as np
import scipy.stats


def guaranteed_threshold(confidence, correct, accuracy, delta):
    """(threshold, coverage, risk, bound), or None: bisection over blocks."""
    confidence = np.asarray(confidence, np.float64)
    total = len(confidence)
    tests = math.ceil(math.log2(total + 1))
    fallen = np.sort(confidence)[::-1]
    best, low, high = None, 0, total + 1
    for _ in range(tests):
        if high - low <= 1:
            break
        threshold = fallen[(low + high) // 2 - 1]
        answered = confidence >= threshold
        rows, errors = int(answered.sum()), int((~correct[answered]).sum())
        bound = 1.0
        if errors < rows:
            bound = scipy.stats.beta.isf(delta / tests, errors + 1, rows - errors)
        if bound <= 1 - accuracy:
            low, best = rows, (threshold, rows / total, errors / rows, bound)
        else:
            high = int((confidence > threshold).sum()) + 1
    return best


def conformal_rank(total, alpha):
    return math.ceil((total + 1) * (1 - Fraction(str(alpha))))


def conformal_threshold(nll, alpha):
    position = conformal_rank(len(nll), alpha)
    return sorted(nll)[position - 1] if position <= len(nll) else math.inf


def conformal_top_k(label_rank, alpha):
    """The smallest k that holds enough labels; None if none does."""
    needed = conformal_rank(len(label_rank), alpha)
    for k in range(1, max(label_rank) + 2):
        if sum(0 <= rank < k for rank in label_rank) >= needed:
            return k
    return None


def prediction_sets(logits, threshold, class_mask=None, temperature=1.0):
    z = np.asarray(logits, np.float64) / temperature
    allowed = np.ones(z.shape[1], bool) if class_mask is None else class_mask
    sets = np.zeros(z.shape, bool)
    for row, inside in zip(z, sets, strict=True):
        top = row[allowed].max()
        normaliser = top + math.log(np.exp(row[allowed] - top).sum())
        inside[allowed] = normaliser - row[allowed] <= threshold
    return sets
