"""The numbers of arXiv 2302.11874's published code, quirks included.

For comparison with tables made by that code. It works on the host in float64, as the
code does, and gives the same bits wherever confidences are distinct:

- Rows are sorted once by falling confidence, and equal confidences keep their order
  (the code's own sort leaves it open). AUROC and AURC then follow the order within
  ties, where the metrics of this package do not: shuffling the rows moves them.
- AUROC counts pairs of a right and a wrong row, a tied pair as its order falls.
- AURC is the mean over places, summed one after the other.
- ECE compares float32 confidences with float32 bin edges, and drops a confidence of
  exactly 0. The means of its bins are float64 here, where the code leaves them to
  float32 sums whose order depends on the processor: they agree to 1e-6.
- Coverage at accuracy is the first place past the 200th at which the accuracy falls
  below the requirement (an earlier one only if there is none), over N + 1. A perfect
  model never falls below, and gets 0. The code fails for N <= 200.
"""

import itertools

import numpy as np

from jaxbench.metrics.checks import is_known
from jaxbench.metrics.types import AnyArray, Column, Flags

# The code ignores violations among this many most confident examples.
GRACE = 200


def auroc(confidence: Column, correct: Flags, mask: Flags | None) -> float:
    """AUROC of the published code; NaN if all are right or all are wrong."""
    right = _by_falling_confidence(confidence, correct, mask)[1]
    wrong_before = np.cumsum(~right)
    wrong = int(wrong_before[-1])
    # A pair is counted from both of its rows; the factor of two cancels.
    inverted = int(wrong_before[right].sum())
    pairs = wrong * int(right.sum())
    return (pairs - inverted) / pairs if pairs else float("nan")


def aurc(confidence: Column, correct: Flags, mask: Flags | None) -> float:
    """AURC of the published code."""
    right = _by_falling_confidence(confidence, correct, mask)[1]
    wrong = np.cumsum(~right)
    # cumsum adds in turn, as their loop does; sum would pair the terms up.
    risks = np.cumsum(wrong / np.arange(1, len(right) + 1))
    return float(risks[-1] / len(right))


def calibration_errors(
    confidence: Column, correct: Flags, mask: Flags | None, num_bins: int
) -> tuple[float, float]:
    """ECE and MCE of the published code."""
    values, right = _by_falling_confidence(confidence, correct, mask)
    edges = _edges(num_bins)
    total, largest = 0.0, -1.0
    for low, high in itertools.pairwise(edges):
        inside = (values > low) & (values <= high)
        if inside.any():
            gap = abs(values[inside].mean(dtype=np.float64) - right[inside].mean())
            total, largest = total + gap * inside.sum(), max(largest, gap)
    return float(total / len(values)), float(largest)


def coverage_at_accuracy(
    confidence: Column, correct: Flags, mask: Flags | None, accuracy: float
) -> float:
    """Coverage at a required accuracy of the published code.

    Raises:
        ValueError: If 200 examples or fewer count.
    """
    right = _by_falling_confidence(confidence, correct, mask)[1]
    if len(right) <= GRACE:
        raise ValueError(
            f"correct has {len(right)} rows that count; the published coverage at "
            f"accuracy (compat='galil') needs more than {GRACE}"
        )
    place = np.arange(1, len(right) + 1, dtype=np.float32)
    below = np.cumsum(right, dtype=np.float32) / place < np.float32(accuracy)
    # argmax of all-false is 0, in their code as here.
    first = int(np.argmax(below[GRACE:])) + GRACE
    if first == GRACE:
        first = int(np.argmax(below))
    return first / (len(right) + 1)


def _by_falling_confidence(
    confidence: AnyArray, correct: AnyArray, mask: AnyArray | None
) -> tuple[np.ndarray, np.ndarray]:
    if not is_known(confidence, correct, mask):
        raise ValueError(
            "compat='galil' computes on the host and was called under jit; call it on "
            "the columns that the jitted function returned"
        )
    values, right = np.asarray(confidence, np.float32), np.asarray(correct)
    if mask is not None:
        values, right = values[np.asarray(mask)], right[np.asarray(mask)]
    order = np.argsort(-values, kind="stable")
    return values[order], right[order]


def _edges(num_bins: int) -> np.ndarray:
    """float32 bin edges, counted from the nearer end, with one rounding each."""
    step = np.float64(np.float32(1) / np.float32(num_bins))
    place = np.arange(num_bins + 1, dtype=np.float64)
    nearer_zero = place < (num_bins + 1) // 2
    edges = np.where(nearer_zero, step * place, 1 - step * place[::-1])
    return edges.astype(np.float32)
