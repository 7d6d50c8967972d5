"""Slow, obvious float64 twins of every metric: loops, no tricks, no JAX."""

import math
from fractions import Fraction

import numpy as np

from tests.reference import calibration, selective


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


def label_rank(logits, labels):
    found = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        best_first = sorted(range(len(row)), key=lambda j: (-row[j], j))
        found.append(best_first.index(label))
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


def auroc(confidence, positive):
    won = pairs = 0.0
    for c in confidence[positive]:
        for w in confidence[~positive]:
            pairs += 1
            won += 1.0 if c > w else 0.5 if c == w else 0.0
    return won / pairs if pairs else math.nan


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


def by_bins(function):
    """A function of the table of equal-width bins."""
    return lambda z, y: function(calibration.bin_table(confidence(z), correct(z, y)))


def by_equal_mass(function):
    """A function of the table of equal-mass bins."""

    def over_logits(z, y):
        ranks = -log_one_minus_confidence(z)
        return function(
            calibration.equal_mass_table(ranks, confidence(z), correct(z, y))
        )

    return over_logits


def balanced_accuracy(z, y):
    right = correct(z, y)
    return np.mean([right[y == label].mean() for label in set(np.asarray(y).tolist())])


REFERENCES = {
    "accuracy": lambda z, y: correct(z, y).mean(),
    "top_5_accuracy": lambda z, y: (label_rank(z, y) < 5).mean(),
    "balanced_accuracy": balanced_accuracy,
    "nll": lambda z, y: nll(z, y).mean(),
    "brier": lambda z, y: brier(z, y).mean(),
    "mean_confidence": lambda z, y: confidence(z).mean(),
    "overconfidence": lambda z, y: confidence(z).mean() - correct(z, y).mean(),
    "ece": by_bins(calibration.ece_of),
    "mce": by_bins(calibration.mce_of),
    "ece_equal_mass": by_equal_mass(calibration.ece_of),
    "mce_equal_mass": by_equal_mass(calibration.mce_of),
    "ece_debiased": by_bins(calibration.debiased_ece_of),
    "rms_calibration_error": by_bins(calibration.rms_of),
    "ks_calibration_error": lambda z, y: calibration.ks(
        -log_one_minus_confidence(z), confidence(z), correct(z, y)
    ),
    "smooth_ece": lambda z, y: calibration.smooth_ece(confidence(z), correct(z, y)),
    "brier_reliability": by_bins(lambda table: calibration.brier_parts(table)[0]),
    "brier_resolution": by_bins(lambda table: calibration.brier_parts(table)[1]),
    "brier_uncertainty": by_bins(lambda table: calibration.brier_parts(table)[2]),
    "auroc": by_order(auroc),
    "aurc": by_order(selective.aurc),
    "excess_aurc": by_order(selective.excess_aurc),
    "augrc": by_order(selective.augrc),
    "excess_augrc": by_order(selective.excess_augrc),
    "coverage_at_95_accuracy": by_order(coverage_at_accuracy, 0.95),
    "coverage_at_99_accuracy": by_order(coverage_at_accuracy, 0.99),
    "risk_at_80_coverage": by_order(selective.risk_at_coverage, 0.8),
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

_MEASURES = {
    "auroc": auroc,
    "aupr_in": selective.average_precision,
    "aupr_out": lambda c, positive: selective.average_precision(-c, ~positive),
    "fpr95": fpr95,
}

OOD_REFERENCES = {
    f"ood_{name}_{score}": on_both(function, _SCORES[score])
    for name, function in _MEASURES.items()
    for score in _SCORES
}
