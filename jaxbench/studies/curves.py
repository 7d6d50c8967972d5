"""Curves of one model's confidence, from per-example columns."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Shaped

from jaxbench.metrics import reliability_bins, risk_coverage_curve

# Compiled once a length: the models of a page share the dataset.
_bins = jax.jit(reliability_bins)
_risk = jax.jit(risk_coverage_curve)


class ReliabilityCurve(NamedTuple):
    """The bins that hold an example.

    Attributes:
        confidence: Their mean confidence.
        accuracy: Their share of right answers.
        low: Lower end of its Wilson interval.
        high: Upper end.
    """

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]

    @property
    def line(self) -> tuple[list[float], list[float]]:
        """Confidence and accuracy, as a chart takes them."""
        return self.confidence.tolist(), self.accuracy.tolist()

    @property
    def band(self) -> tuple[list[float], list[float]]:
        """The ends of the intervals."""
        return self.low.tolist(), self.high.tolist()


def reliability_curve(
    confidence: Shaped[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> ReliabilityCurve:
    """Accuracy by confidence over 15 equal bins; see `metrics.reliability_bins`.

    Args:
        confidence: In [0, 1].
        correct: Whether each answer is right.
    """
    bins = jax.device_get(_bins(confidence, correct))
    known = bins.num_examples > 0
    parts = (bins.confidence, bins.accuracy, bins.low, bins.high)
    return ReliabilityCurve(*(np.asarray(p, np.float64)[known] for p in parts))


def risk_curve(
    confidence: Shaped[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Coverage and selective risk; see `metrics.risk_coverage_curve`.

    Args:
        confidence: Any score that is higher where the model is surer.
        correct: Whether each answer is right.
    """
    coverage, risk = jax.device_get(_risk(confidence, correct))
    return np.asarray(coverage, np.float64), np.asarray(risk, np.float64)
