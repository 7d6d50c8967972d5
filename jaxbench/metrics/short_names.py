"""The names of the metrics table as functions: `ece` is `expected_calibration_error`.

A name that is a function with a setting, such as `coverage_at_95_accuracy`, takes the
other arguments of that function.
"""

from jaxbench.metrics.accuracy import top_k_accuracy
from jaxbench.metrics.binning import NUM_BINS
from jaxbench.metrics.calibration import (
    debiased_calibration_error,
    expected_calibration_error,
    kolmogorov_smirnov_calibration_error,
    maximum_calibration_error,
    root_mean_square_calibration_error,
    signed_calibration_gap,
    smooth_calibration_error,
)
from jaxbench.metrics.catalog import OOD_METRICS
from jaxbench.metrics.checks import takes_scores
from jaxbench.metrics.classwise import classwise_calibration_error
from jaxbench.metrics.proper_scores import (
    brier_decomposition,
    brier_score,
    negative_log_likelihood,
)
from jaxbench.metrics.ranking import area_under_roc
from jaxbench.metrics.selective import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    coverage_at_accuracy,
    excess_area_under_generalized_risk_coverage,
    excess_area_under_risk_coverage,
    risk_at_coverage,
)
from jaxbench.metrics.types import Column, Flags, Labels, Scalar

nll = negative_log_likelihood
brier = brier_score
overconfidence = signed_calibration_gap
ece = expected_calibration_error
mce = maximum_calibration_error
ece_debiased = debiased_calibration_error
rms_calibration_error = root_mean_square_calibration_error
ks_calibration_error = kolmogorov_smirnov_calibration_error
smooth_ece = smooth_calibration_error
classwise_ece = classwise_calibration_error
auroc = area_under_roc
aurc = area_under_risk_coverage
excess_aurc = excess_area_under_risk_coverage
augrc = area_under_generalized_risk_coverage
excess_augrc = excess_area_under_generalized_risk_coverage
# Of the scores of in- and of out-of-distribution images.
ood_auroc_max_softmax = OOD_METRICS["ood_auroc_max_softmax"].function
ood_auroc_max_logit = OOD_METRICS["ood_auroc_max_logit"].function
ood_auroc_energy = OOD_METRICS["ood_auroc_energy"].function
ood_aupr_in_max_softmax = OOD_METRICS["ood_aupr_in_max_softmax"].function
ood_aupr_in_max_logit = OOD_METRICS["ood_aupr_in_max_logit"].function
ood_aupr_in_energy = OOD_METRICS["ood_aupr_in_energy"].function
ood_aupr_out_max_softmax = OOD_METRICS["ood_aupr_out_max_softmax"].function
ood_aupr_out_max_logit = OOD_METRICS["ood_aupr_out_max_logit"].function
ood_aupr_out_energy = OOD_METRICS["ood_aupr_out_energy"].function
ood_fpr95_max_softmax = OOD_METRICS["ood_fpr95_max_softmax"].function
ood_fpr95_max_logit = OOD_METRICS["ood_fpr95_max_logit"].function
ood_fpr95_energy = OOD_METRICS["ood_fpr95_energy"].function


@takes_scores
def top_5_accuracy(label_rank: Labels, *, mask: Flags | None = None) -> Scalar:
    """`top_k_accuracy` with k = 5."""
    return top_k_accuracy(label_rank, k=5, mask=mask)


def ece_equal_mass(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar | float:
    """`expected_calibration_error` over bins of equally many examples."""
    return expected_calibration_error(
        confidence, correct, num_bins=num_bins, binning="equal_mass", mask=mask
    )


def mce_equal_mass(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar | float:
    """`maximum_calibration_error` over bins of equally many examples."""
    return maximum_calibration_error(
        confidence, correct, num_bins=num_bins, binning="equal_mass", mask=mask
    )


def brier_reliability(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar:
    """`brier_decomposition(...).reliability`."""
    return brier_decomposition(
        confidence, correct, num_bins=num_bins, mask=mask
    ).reliability


def brier_resolution(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar:
    """`brier_decomposition(...).resolution`."""
    return brier_decomposition(
        confidence, correct, num_bins=num_bins, mask=mask
    ).resolution


def brier_uncertainty(
    confidence: Column,
    correct: Flags,
    *,
    num_bins: int = NUM_BINS,
    mask: Flags | None = None,
) -> Scalar:
    """`brier_decomposition(...).uncertainty`, which no choice of bins changes."""
    return brier_decomposition(
        confidence, correct, num_bins=num_bins, mask=mask
    ).uncertainty


def coverage_at_95_accuracy(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar | float:
    """`coverage_at_accuracy` with accuracy=0.95."""
    return coverage_at_accuracy(confidence, correct, accuracy=0.95, mask=mask)


def coverage_at_99_accuracy(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar | float:
    """`coverage_at_accuracy` with accuracy=0.99."""
    return coverage_at_accuracy(confidence, correct, accuracy=0.99, mask=mask)


def risk_at_80_coverage(
    confidence: Column, correct: Flags, *, mask: Flags | None = None
) -> Scalar:
    """`risk_at_coverage` with coverage=0.8."""
    return risk_at_coverage(confidence, correct, coverage=0.8, mask=mask)
