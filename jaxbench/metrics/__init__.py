"""Metrics of image classifiers in JAX: jit, vmap, shard; jax and numpy, nothing else.

    scores = score_examples(logits, labels)          # [n, k] -> columns of length n
    summarize(scores, ["accuracy", "ece"])           # {"accuracy": ..., "ece": ...}
    ece(scores.confidence, scores.correct)           # one metric, on plain columns
    bootstrap_intervals(scores, key=jax.random.key(0))

Definitions and edge cases: docs/metrics.md.
"""

from jaxbench.metrics.accuracy import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    per_class_accuracy,
    top_k_accuracy,
)
from jaxbench.metrics.binomial import (
    clopper_pearson_upper,
    wilson_interval,
)
from jaxbench.metrics.calibration import (
    debiased_calibration_error,
    expected_calibration_error,
    kolmogorov_smirnov_calibration_error,
    maximum_calibration_error,
    mean_confidence,
    root_mean_square_calibration_error,
    signed_calibration_gap,
    smooth_calibration_error,
)
from jaxbench.metrics.catalog import (
    ARRAY_METRICS,
    CONFIDENCES,
    METRICS,
    OOD_METRICS,
    SCORE_METRICS,
    ArrayMetric,
    Metric,
    OodMetric,
    ScoreMetric,
)
from jaxbench.metrics.classwise import classwise_calibration_error
from jaxbench.metrics.conformal import (
    ConformalSummary,
    conformal_summary,
    conformal_threshold,
    conformal_top_k,
    prediction_sets,
    top_k_coverage,
)
from jaxbench.metrics.correlation import (
    correlation_interval,
    kendall,
    spearman,
)
from jaxbench.metrics.frechet import (
    FeatureMoments,
    frechet_distance,
    frechet_distance_of_moments,
)
from jaxbench.metrics.grouping import group_logits
from jaxbench.metrics.intervals import bootstrap_intervals, bootstrap_ood_intervals
from jaxbench.metrics.multiplicity import (
    benjamini_hochberg,
    holm,
)
from jaxbench.metrics.ood import (
    SeverityGroups,
    class_severity,
    severity_auroc,
    severity_groups,
)
from jaxbench.metrics.operating import (
    GuaranteedThreshold,
    guaranteed_threshold,
)
from jaxbench.metrics.own import register_metric
from jaxbench.metrics.padding import pad_examples
from jaxbench.metrics.paired import PairedDifference, mcnemar, paired_bootstrap
from jaxbench.metrics.permutation import (
    PermutationTest,
    paired_permutation,
)
from jaxbench.metrics.proper_scores import (
    BrierDecomposition,
    brier_decomposition,
    brier_score,
    negative_log_likelihood,
)
from jaxbench.metrics.ranking import area_under_roc, average_precision, fpr_at_tpr
from jaxbench.metrics.reliability import ReliabilityBins, reliability_bins
from jaxbench.metrics.scaling import (
    BiasCorrectedTemperature,
    VectorScaling,
    fit_bias_corrected_temperature,
    fit_vector_scaling,
)
from jaxbench.metrics.scores import ExampleScores, score_examples
from jaxbench.metrics.selective import (
    RiskCoverageCurve,
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    coverage_at_accuracy,
    excess_area_under_generalized_risk_coverage,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    risk_coverage_curve,
)
from jaxbench.metrics.short_names import (
    augrc,
    aurc,
    auroc,
    brier,
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    classwise_ece,
    coverage_at_95_accuracy,
    coverage_at_99_accuracy,
    ece,
    ece_debiased,
    ece_equal_mass,
    excess_augrc,
    excess_aurc,
    ks_calibration_error,
    mce,
    mce_equal_mass,
    nll,
    ood_aupr_in_energy,
    ood_aupr_in_max_logit,
    ood_aupr_in_max_softmax,
    ood_aupr_out_energy,
    ood_aupr_out_max_logit,
    ood_aupr_out_max_softmax,
    ood_auroc_energy,
    ood_auroc_max_logit,
    ood_auroc_max_softmax,
    ood_fpr95_energy,
    ood_fpr95_max_logit,
    ood_fpr95_max_softmax,
    overconfidence,
    risk_at_80_coverage,
    rms_calibration_error,
    smooth_ece,
    top_5_accuracy,
)
from jaxbench.metrics.stability import (
    RankStability,
    rank_stability,
    rank_stability_of_resamples,
)
from jaxbench.metrics.streaming import ClassificationState
from jaxbench.metrics.summary import summarize, summarize_ood
from jaxbench.metrics.temperature import fit_temperature

__all__ = [
    "ARRAY_METRICS",
    "CONFIDENCES",
    "METRICS",
    "OOD_METRICS",
    "SCORE_METRICS",
    "ArrayMetric",
    "BiasCorrectedTemperature",
    "BrierDecomposition",
    "ClassificationState",
    "ConformalSummary",
    "ExampleScores",
    "FeatureMoments",
    "GuaranteedThreshold",
    "Metric",
    "OodMetric",
    "PairedDifference",
    "PermutationTest",
    "RankStability",
    "ReliabilityBins",
    "RiskCoverageCurve",
    "ScoreMetric",
    "SeverityGroups",
    "VectorScaling",
    "accuracy",
    "area_under_generalized_risk_coverage",
    "area_under_risk_coverage",
    "area_under_roc",
    "augrc",
    "aurc",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "benjamini_hochberg",
    "bootstrap_intervals",
    "bootstrap_ood_intervals",
    "brier",
    "brier_decomposition",
    "brier_reliability",
    "brier_resolution",
    "brier_score",
    "brier_uncertainty",
    "class_severity",
    "classwise_calibration_error",
    "classwise_ece",
    "clopper_pearson_upper",
    "conformal_summary",
    "conformal_threshold",
    "conformal_top_k",
    "confusion_matrix",
    "correlation_interval",
    "coverage_at_95_accuracy",
    "coverage_at_99_accuracy",
    "coverage_at_accuracy",
    "debiased_calibration_error",
    "ece",
    "ece_debiased",
    "ece_equal_mass",
    "excess_area_under_generalized_risk_coverage",
    "excess_area_under_risk_coverage",
    "excess_augrc",
    "excess_aurc",
    "expected_calibration_error",
    "fit_bias_corrected_temperature",
    "fit_temperature",
    "fit_vector_scaling",
    "fpr_at_tpr",
    "frechet_distance",
    "frechet_distance_of_moments",
    "group_logits",
    "guaranteed_threshold",
    "holm",
    "kendall",
    "kolmogorov_smirnov_calibration_error",
    "ks_calibration_error",
    "maximum_calibration_error",
    "mce",
    "mce_equal_mass",
    "mcnemar",
    "mean_confidence",
    "negative_log_likelihood",
    "nll",
    "ood_aupr_in_energy",
    "ood_aupr_in_max_logit",
    "ood_aupr_in_max_softmax",
    "ood_aupr_out_energy",
    "ood_aupr_out_max_logit",
    "ood_aupr_out_max_softmax",
    "ood_auroc_energy",
    "ood_auroc_max_logit",
    "ood_auroc_max_softmax",
    "ood_fpr95_energy",
    "ood_fpr95_max_logit",
    "ood_fpr95_max_softmax",
    "overconfidence",
    "pad_examples",
    "paired_bootstrap",
    "paired_permutation",
    "per_class_accuracy",
    "prediction_sets",
    "rank_stability",
    "rank_stability_of_resamples",
    "register_metric",
    "reliability_bins",
    "risk_at_80_coverage",
    "risk_at_coverage",
    "risk_coverage_curve",
    "rms_calibration_error",
    "root_mean_square_calibration_error",
    "score_examples",
    "severity_auroc",
    "severity_groups",
    "signed_calibration_gap",
    "smooth_calibration_error",
    "smooth_ece",
    "spearman",
    "summarize",
    "summarize_ood",
    "top_5_accuracy",
    "top_k_accuracy",
    "top_k_coverage",
    "wilson_interval",
]
