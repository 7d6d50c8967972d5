"""Slow, obvious float64 twins of every metric: loops, no tricks, no JAX."""

import math
from fractions import Fraction

import numpy as np


def softmax(logits):
    z = np.asarray(logits, np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def logsumexp(values):
    if len(values) == 0:
        return -math.inf
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def predictions(logits):
    return np.asarray(logits, np.float64).argmax(axis=1)


def correct(logits, labels):
    return predictions(logits) == np.asarray(labels)


def correct_top5(logits, labels):
    found = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        best_first = sorted(range(len(row)), key=lambda j: (-row[j], j))
        found.append(label in best_first[:5])
    return np.array(found)


def confidence(logits):
    return softmax(logits).max(axis=1)


def log_one_minus_confidence(logits):
    found = []
    for row in np.asarray(logits, np.float64):
        others = np.delete(row, row.argmax())
        found.append(logsumexp(list(others)) - logsumexp(list(row)))
    return np.array(found)


def nll(logits, labels):
    rows = np.asarray(logits, np.float64)
    return np.array(
        [logsumexp(list(r)) - r[y] for r, y in zip(rows, labels, strict=True)]
    )


def brier(logits, labels):
    p = softmax(logits)
    onehot = np.eye(p.shape[1])[np.asarray(labels)]
    return ((p - onehot) ** 2).sum(axis=1)


def entropy(logits):
    p = softmax(logits)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1)


def margin(logits):
    p = np.sort(softmax(logits), axis=1)
    return p[:, -1] - p[:, -2]


def energy(logits):
    return np.array([logsumexp(list(r)) for r in np.asarray(logits, np.float64)])


def ece(confidence, correct, num_bins=15):
    confidence = np.asarray(confidence, np.float64)
    total = 0.0
    for b in range(num_bins):
        inside = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
        if b == 0:
            inside |= confidence == 0
        if inside.any():
            gap = abs(confidence[inside].mean() - np.mean(correct[inside]))
            total += inside.sum() / len(confidence) * gap
    return total


def auroc(confidence, positive):
    won = pairs = 0.0
    for c in confidence[positive]:
        for w in confidence[~positive]:
            pairs += 1
            won += 1.0 if c > w else 0.5 if c == w else 0.0
    return won / pairs if pairs else math.nan


def aurc(confidence, correct):
    """The mean over the orders of each block, place by place."""
    risks, rows, wrong = [], 0, 0
    for level in sorted(set(confidence.tolist()), reverse=True):
        block = correct[confidence == level]
        errors = int((~block).sum())
        for i in range(1, len(block) + 1):
            risks.append((wrong + errors * i / len(block)) / (rows + i))
        rows, wrong = rows + len(block), wrong + errors
    return float(np.mean(risks))


def coverage_at_accuracy(confidence, correct, accuracy):
    required = Fraction(str(accuracy))
    best = 0
    for threshold in set(confidence.tolist()):
        answered = confidence >= threshold
        if Fraction(int(correct[answered].sum()), int(answered.sum())) >= required:
            best = max(best, int(answered.sum()))
    return best / len(confidence)


def galil_coverage(correct_by_confidence, accuracy):
    """The published procedure of arXiv 2302.11874, on rows sorted already."""
    count = len(correct_by_confidence)
    below = []
    right = 0
    for i, is_right in enumerate(correct_by_confidence):
        right += int(is_right)
        below.append(Fraction(right, i + 1) < Fraction(str(accuracy)))
    strict = below.index(True) if True in below else 0
    loose = 200 + (below[200:].index(True) if True in below[200:] else 0)
    return (loose if loose > 200 else strict) / (count + 1)


def fpr95(confidence, positive):
    best = math.inf
    for threshold in sorted(set(confidence.tolist()), reverse=True):
        kept = Fraction(int((confidence[positive] >= threshold).sum()))
        if kept / int(positive.sum()) >= Fraction(95, 100):
            best = float((confidence[~positive] >= threshold).mean())
            break
    return best


def mcnemar(correct_a, correct_b):
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    trials, fewer = only_a + only_b, min(only_a, only_b)
    tail = Fraction(sum(math.comb(trials, i) for i in range(fewer + 1)), 2**trials)
    return float(min(Fraction(1), 2 * tail))


def temperature(logits, labels, low=0.01, high=100.0):
    """Ternary search on the NLL, which is convex in 1 / T."""
    z = np.asarray(logits, np.float64)
    excess = z - z[np.arange(len(z)), labels][:, None]

    def loss(inverse):
        top = (excess * inverse).max(axis=1)
        rest = np.exp(excess * inverse - top[:, None]).sum(axis=1)
        return float(np.mean(top + np.log(rest)))

    a, b = 1 / high, 1 / low
    for _ in range(150):
        third = (b - a) / 3
        if loss(a + third) < loss(b - third):
            b -= third
        else:
            a += third
    return 2 / (a + b)


def by_order(function, *arguments):
    """A metric of order over (logits, labels): ranks by -log(1 - confidence)."""

    def over_logits(logits, labels):
        ranks = -log_one_minus_confidence(logits)
        return function(ranks, correct(logits, labels), *arguments)

    return over_logits


REFERENCES = {
    "accuracy": lambda z, y: correct(z, y).mean(),
    "top_5_accuracy": lambda z, y: correct_top5(z, y).mean(),
    "nll": lambda z, y: nll(z, y).mean(),
    "brier": lambda z, y: brier(z, y).mean(),
    "ece": lambda z, y: ece(confidence(z), correct(z, y)),
    "mean_confidence": lambda z, y: confidence(z).mean(),
    "auroc": by_order(auroc),
    "aurc": by_order(aurc),
    "coverage_at_95_accuracy": by_order(coverage_at_accuracy, 0.95),
    "coverage_at_99_accuracy": by_order(coverage_at_accuracy, 0.99),
}


def on_both(function, score):
    """An out-of-distribution metric over two sets of logits."""

    def over_logits(id_logits, ood_logits):
        values = np.concatenate([score(id_logits), score(ood_logits)])
        return function(values, np.arange(len(values)) < len(id_logits))

    return over_logits


_SCORES = {
    "max_softmax": lambda z: -log_one_minus_confidence(z),
    "max_logit": lambda z: np.asarray(z, np.float64).max(axis=1),
    "energy": energy,
}

OOD_REFERENCES = {
    f"ood_{name}_{score}": on_both(function, _SCORES[score])
    for name, function in {"auroc": auroc, "fpr95": fpr95}.items()
    for score in _SCORES
}
