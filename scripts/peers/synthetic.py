"""The sets of examples that jaxbench and its peers are compared on.

NumPy only, from fixed seeds. Confidences and logits are float32, so that every library
gets the same numbers whatever it computes in.

    python scripts/peers/synthetic.py        # lists the sets
"""

import argparse
from typing import NamedTuple

import numpy as np

ROWS, CLASSES, BINS = 512, 10, 15


class Classified(NamedTuple):
    """Rows of a classifier's output."""

    logits: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is the label."""
        return self.predictions == self.labels


class Ranked(NamedTuple):
    """Rows of confidence and correctness, for the metrics that need no logits."""

    confidence: np.ndarray
    correct: np.ndarray


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    power = np.exp(shifted)
    return power / power.sum(axis=1, keepdims=True)


def classified_sets() -> dict[str, Classified]:
    """Sets with logits: random, tied, on bin edges, overconfident, all right."""
    rng = np.random.default_rng(2302)

    def labelled(logits, accuracy, confidence=None):
        logits = logits.astype(np.float32)
        predictions = logits.argmax(axis=1).astype(np.int32)
        if confidence is None:
            confidence = softmax(logits).max(axis=1)
        # The more confident are right more often.
        chance = accuracy + confidence - confidence.mean()
        right = rng.random(ROWS) < chance
        others = (predictions + rng.integers(1, CLASSES, ROWS)) % CLASSES
        labels = np.where(right, predictions, others).astype(np.int32)
        return Classified(logits, labels, predictions, confidence.astype(np.float32))

    def normal(scale):
        return rng.normal(size=(ROWS, CLASSES)) * scale

    random = normal(2.0)
    rounded = normal(1.5).round()
    two_decimals = softmax(rounded).max(axis=1).round(2).clip(0.2)
    edges = np.resize(on_bin_edges(lowest=3), ROWS)
    return {
        "random": labelled(random, 0.7),
        "tied": labelled(rounded, 0.5, two_decimals),
        "edges": labelled(normal(2.0), 0.6, edges),
        "overconfident": labelled(normal(rng.uniform(20, 60, (ROWS, 1))), 0.8),
        "all_right": labelled(normal(2.0), 2.0),
    }


def on_bin_edges(lowest: int) -> np.ndarray:
    """Edges of 15 equal bins in float32, and the two floats beside each, in [0, 1]."""
    edges = (np.arange(lowest, BINS + 1) / BINS).astype(np.float32)
    near = [np.nextafter(edges, np.float32(side)) for side in (-1, 2)]
    return np.clip(np.concatenate([edges, *near]), 0, 1).astype(np.float32)


def ranked_sets() -> dict[str, Ranked]:
    """Sets for the published code of arXiv 2302.11874, which fails below 201 rows."""
    rng = np.random.default_rng(11874)

    def falling(correct):
        # Distinct in float32, and in no order.
        correct = np.asarray(correct, bool)
        confidence = np.linspace(0.999, 0.05, len(correct)).astype(np.float32)
        order = rng.permutation(len(correct))
        return Ranked(confidence[order], correct[order])

    def calibrated(rows, decimals=None):
        confidence = (0.1 + 0.9 * rng.beta(5, 2, rows)).astype(np.float32)
        correct = rng.random(rows) < confidence
        if decimals is not None:
            confidence = confidence.round(decimals)
        return Ranked(confidence, correct)

    on_edges = np.tile(on_bin_edges(lowest=0), 8)
    right, wrong = [True], [False]
    return {
        "random_300": calibrated(300),
        "random_512": calibrated(512),
        "random_2630": calibrated(2630),
        "tied_600": calibrated(600, decimals=2),
        "edges_384": Ranked(on_edges, rng.random(len(on_edges)) < on_edges),
        "perfect_400": falling(right * 400),
        "all_wrong_300": falling(wrong * 300),
        "early_error_500": falling(wrong * 3 + right * 497),
        # Below 0.95 from the 201st and from the 202nd place: the 200 that are ignored.
        "first_counted_401": falling(wrong + right * 190 + wrong * 10 + right * 200),
        "second_counted_402": falling(wrong + right * 191 + wrong * 10 + right * 200),
        "late_error_2330": falling(right * 300 + wrong * 30 + right * 2000),
        "long_tail_2630": falling(
            right * 300 + wrong * 30 + right * 2000 + wrong * 300
        ),
    }


def main() -> None:
    """Lists the sets."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, rows in (classified_sets() | ranked_sets()).items():
        distinct = len(np.unique(rows.confidence))
        print(
            f"{name:18}{len(rows.correct):6} rows, {distinct:4} distinct confidences, "
            f"mean {rows.confidence.mean():.3f}, accuracy {rows.correct.mean():.3f}"
        )


if __name__ == "__main__":
    main()
