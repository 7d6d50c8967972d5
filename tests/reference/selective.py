"""Slow, obvious float64 twins of the metrics of order."""

import math

import numpy as np


def expected_wrong(confidence, correct):
    """Errors among the i most confident, i = 1..N, in the mean over orders of ties."""
    found, rows, wrong = [], 0, 0
    for level in sorted(set(np.asarray(confidence).tolist()), reverse=True):
        block = correct[confidence == level]
        errors = int((~block).sum())
        found += [wrong + errors * i / len(block) for i in range(1, len(block) + 1)]
        rows, wrong = rows + len(block), wrong + errors
    return np.array(found)


def aurc(confidence, correct):
    wrong = expected_wrong(confidence, correct)
    return float(np.mean(wrong / np.arange(1, len(wrong) + 1)))


def excess_aurc(confidence, correct):
    oracle = np.asarray(correct, np.float64)
    return aurc(confidence, correct) - aurc(oracle, correct)


def augrc(confidence, correct):
    """Trapezoids under (coverage, errors / N), from the origin."""
    wrong = np.concatenate([[0.0], expected_wrong(confidence, correct)])
    count = len(wrong) - 1
    return float(sum((wrong[i] + wrong[i + 1]) / 2 for i in range(count)) / count**2)


def excess_augrc(confidence, correct):
    oracle = np.asarray(correct, np.float64)
    return augrc(confidence, correct) - augrc(oracle, correct)


def risk_at_coverage(confidence, correct, coverage):
    wrong = expected_wrong(confidence, correct)
    place = math.ceil(round(coverage * len(wrong), 9))
    return float(wrong[place - 1] / place)


def trapezoid_aurc(confidence, correct):
    """Under (i / N, risk), from 1 / N to 1, over 1 - 1 / N."""
    wrong = expected_wrong(confidence, correct)
    risk = wrong / np.arange(1, len(wrong) + 1)
    area = sum((risk[i] + risk[i + 1]) / 2 for i in range(len(risk) - 1)) / len(risk)
    return float(area / (1 - 1 / len(risk))) if len(risk) > 1 else math.nan


def average_precision(confidence, positive):
    area, found = 0.0, 0
    for threshold in sorted(set(np.asarray(confidence).tolist()), reverse=True):
        taken = confidence >= threshold
        right = int(positive[taken].sum())
        area += (right - found) / positive.sum() * right / taken.sum()
        found = right
    return float(area)


def galil_auroc(correct):
    """Pairs of a right and a wrong row, of rows sorted already."""
    same = different = 0
    for i, first in enumerate(correct):
        for second in correct[i + 1 :]:
            same += int(first and not second)
            different += int(second and not first)
    return same / (same + different) if same + different else math.nan


def galil_aurc(correct):
    total, wrong = 0.0, 0
    for i, right in enumerate(correct):
        wrong += 1 - int(right)
        total += wrong / (i + 1)
    return total / len(correct)
