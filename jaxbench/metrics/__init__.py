"""Metrics of image classifiers in JAX: jit, vmap, shard; jax and numpy, nothing else.

    scores = score_examples(logits, labels)          # [n, k] -> columns of length n
    summarize(scores)                                # {"accuracy": ..., "aurc": ...}
    bootstrap_intervals(scores, key=jax.random.key(0))

Definitions and edge cases: docs/metrics.md.
"""

from jaxbench.metrics.accuracy import accuracy
from jaxbench.metrics.calibration import (
    ReliabilityBins,
    expected_calibration_error,
    mean_confidence,
    reliability_bins,
)
from jaxbench.metrics.catalog import (
    METRICS,
    OOD_METRICS,
    Metric,
    OodMetric,
    summarize,
    summarize_ood,
)
from jaxbench.metrics.intervals import (
    PairedDifference,
    bootstrap_intervals,
    bootstrap_ood_intervals,
    mcnemar,
    paired_bootstrap,
)
from jaxbench.metrics.proper_scores import brier_score, negative_log_likelihood
from jaxbench.metrics.ranking import area_under_roc, fpr_at_tpr
from jaxbench.metrics.scores import ExampleScores, score_examples
from jaxbench.metrics.selective import (
    RiskCoverageCurve,
    area_under_risk_coverage,
    coverage_at_accuracy,
    risk_coverage_curve,
)
from jaxbench.metrics.streaming import ClassificationState
from jaxbench.metrics.temperature import fit_temperature

__all__ = [
    "METRICS",
    "OOD_METRICS",
    "ClassificationState",
    "ExampleScores",
    "Metric",
    "OodMetric",
    "PairedDifference",
    "ReliabilityBins",
    "RiskCoverageCurve",
    "accuracy",
    "area_under_risk_coverage",
    "area_under_roc",
    "bootstrap_intervals",
    "bootstrap_ood_intervals",
    "brier_score",
    "coverage_at_accuracy",
    "expected_calibration_error",
    "fit_temperature",
    "fpr_at_tpr",
    "mcnemar",
    "mean_confidence",
    "negative_log_likelihood",
    "paired_bootstrap",
    "reliability_bins",
    "risk_coverage_curve",
    "score_examples",
    "summarize",
    "summarize_ood",
]
