"""Mistakes found in other libraries' source, each as a test that ours does not make it.

Those that are about use rather than numbers stand in tests/metrics/test_options.py:
options ignored, arguments swapped, rows under a stale header.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench import metrics as m

ROWS, BINS = 24, 15


def columns(confidence, correct):
    return np.asarray(confidence, np.float32), np.asarray(correct, bool)


@pytest.fixture(scope="module")
def drawn():
    """Distinct confidences, right about as often as they say."""
    rng = np.random.default_rng(7)
    confidence = rng.permutation(np.linspace(0.03, 0.97, ROWS))
    return columns(confidence, rng.random(ROWS) < confidence)


@pytest.fixture(scope="module")
def tied():
    """Four confidences, six rows each, right and wrong in every block."""
    correct = np.tile([True, True, False, True, False, False], 4)
    correct[6:8] = False
    return columns(np.repeat([0.9, 0.7, 0.5, 0.3], 6), correct)


# --- Bins


def binned_errors(confidence, correct):
    """Every calibration error that has bins, the stream's and the parts of Brier's."""
    found = {
        "ece": m.expected_calibration_error(confidence, correct),
        "mce": m.maximum_calibration_error(confidence, correct),
        "rms": m.root_mean_square_calibration_error(confidence, correct),
        "brier": jnp.sqrt(m.brier_decomposition(confidence, correct).reliability),
    }
    return {name: float(value) for name, value in found.items()}


def test_torchmetrics_confidence_one_in_a_bin_of_its_own():
    """Torchmetrics keeps 1.0 apart, and gaps of opposite sign no longer cancel."""
    confidence, correct = columns([1.0, 0.95] * 12, [False, True] * 12)
    # One bin: mean confidence 0.975, accuracy 0.5.
    expected = dict.fromkeys(("ece", "mce", "rms", "brier"), 0.475)
    assert binned_errors(confidence, correct) == pytest.approx(expected, abs=1e-6)
    counts = m.reliability_bins(confidence, correct).num_examples
    assert counts.shape == (BINS,)
    assert int(counts[-1]) == ROWS


def test_torchmetrics_confidence_one_of_a_class():
    """The same for a class's own probability: the two rows of class 0 share a bin."""
    probabilities = np.asarray([[1.0, 0.0], [0.95, 0.05]], np.float32)
    error = m.classwise_calibration_error(
        probabilities, np.asarray([1, 0]), inputs="probabilities"
    )
    # Class 0: |1 - 0 + 0.95 - 1| / 2; class 1 mirrors it.
    assert float(error) == pytest.approx(0.475, abs=1e-6)


def test_torchmetrics_confidence_zero_is_in_the_first_bin():
    confidence, correct = columns([0.0, 0.05] * 12, [True, False] * 12)
    expected = dict.fromkeys(("ece", "mce", "rms", "brier"), 0.475)
    assert binned_errors(confidence, correct) == pytest.approx(expected, abs=1e-6)


def test_torchmetrics_confidence_on_an_edge_is_in_the_bin_below():
    edges = (np.arange(1, BINS + 1) / BINS).astype(np.float32)
    confidence, correct = columns(np.resize(edges, ROWS), [True] * ROWS)
    counts = m.reliability_bins(confidence, correct).num_examples
    np.testing.assert_array_equal(counts, np.bincount(np.arange(ROWS) % BINS))


@pytest.mark.parametrize("place", range(BINS))
def test_pytorch_ood_no_bin_is_skipped(place):
    """pytorch-ood loops over range(len(bins) - 1) and never sees the last bin."""
    confidence, correct = columns([(place + 0.5) / BINS] * ROWS, [False] * ROWS)
    gap = (place + 0.5) / BINS
    expected = dict.fromkeys(("ece", "mce", "rms", "brier"), gap)
    assert binned_errors(confidence, correct) == pytest.approx(expected, abs=1e-6)


def test_fortuna_the_maximum_is_not_weighed_by_count():
    """Fortuna's MCE is max(count x gap): a full bin hides the worst one."""
    confidence, correct = columns([0.9] * (ROWS - 1) + [0.1], [True] * ROWS)
    worst = m.maximum_calibration_error(confidence, correct)
    assert float(worst) == pytest.approx(0.9, abs=1e-6)


def test_fortuna_the_first_bin_does_not_depend_on_the_number_of_rows(drawn):
    confidence, correct = drawn
    once = binned_errors(confidence, correct)
    twice = binned_errors(np.tile(confidence, 2), np.tile(correct, 2))
    assert twice == pytest.approx(once, abs=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        m.maximum_calibration_error,
        m.expected_calibration_error,
        partial(m.expected_calibration_error, binning="equal_mass"),
    ],
)
def test_fortuna_and_hallmark_it_can_be_jitted(error, drawn):
    assert float(jax.jit(error)(*drawn)) == pytest.approx(float(error(*drawn)))


def test_probly_bins_of_equal_mass_hold_every_row_once(drawn):
    """probly cuts bins of N // B rows: unless B divides N, the last is another size."""
    counts = np.asarray(
        m.reliability_bins(*drawn, num_bins=5, binning="equal_mass").num_examples
    )
    assert counts.sum() == ROWS
    assert counts.max() - counts.min() <= 1


def test_probly_the_area_uses_every_row():
    """Its AURC has bins of N // B rows, and may drop the least confident."""
    confidence = np.linspace(0.9, 0.1, ROWS)
    correct = np.arange(ROWS) < ROWS - 1
    area = m.area_under_risk_coverage(*columns(confidence, correct))
    assert float(area) == pytest.approx(1 / ROWS**2, rel=1e-5)


# --- What a confidence is


def test_openood_logits_are_not_confidences():
    """OpenOOD bins the largest logit on [0, 1), without a softmax."""
    confidence, correct = columns(np.linspace(-3, 7, ROWS), [True] * ROWS)
    with pytest.raises(ValueError, match="confidence"):
        m.expected_calibration_error(confidence, correct)
    jitted = jax.jit(m.expected_calibration_error)(confidence, correct)
    assert np.isnan(jitted)


def test_torchmetrics_logits_within_the_unit_interval_are_still_logits():
    """torchmetrics takes a batch in [0, 1] for probabilities, batch by batch."""
    rng = np.random.default_rng(3)
    logits = rng.random((ROWS, 4), np.float32)
    labels = rng.integers(0, 4, ROWS)
    shifted = m.score_examples(logits + 5.0, labels)  # softmax does not see a shift
    np.testing.assert_allclose(
        m.score_examples(logits, labels).confidence, shifted.confidence, rtol=1e-5
    )


def test_torch_uncertainty_the_log_of_an_underflown_probability():
    """It takes log(softmax) in float32: infinite from a gap of about 104."""
    logits = np.asarray([[0.0, 200.0], [0.0, 30.0]], np.float32)
    nll = m.negative_log_likelihood(logits, np.asarray([0, 0]))
    assert float(nll) == pytest.approx(115.0, rel=1e-6)


def test_fd_shifts_the_log_likelihood_is_not_a_mean_over_classes():
    """Its mean runs over N x C entries, of which all but N are 0."""
    nll = m.negative_log_likelihood(
        np.zeros((ROWS, 4), np.float32), np.arange(ROWS) % 4
    )
    assert float(nll) == pytest.approx(np.log(4), rel=1e-6)


def test_fd_shifts_a_perfect_model_is_underconfident_not_wrong():
    """It binarises the only label there is to 0: the ECE becomes the confidence."""
    confidence, correct = columns([0.9] * ROWS, [True] * ROWS)
    assert float(m.expected_calibration_error(confidence, correct)) == pytest.approx(
        0.1
    )


def test_relplot_the_end_points_weigh_as_much_as_others():
    """Its reflection leaves the end point out, so confidences of 1.0 weigh half."""
    confidence, correct = columns([1.0] * 12 + [0.9] * 12, [True] * 12 + [False] * 12)
    for bandwidth in (0.05, 0.2):
        error = m.smooth_calibration_error(confidence, correct, bandwidth=bandwidth)
        # No gap at 1.0, 0.9 at 0.9: half of the rows.
        assert float(error) == pytest.approx(0.45, rel=2e-3)


def test_scikit_learn_equal_logits_go_to_the_first_class():
    """Its top-k sort is reversed, and the last of equal classes wins."""
    logits = np.tile(np.float32([2, 2, 2, 1]), (ROWS, 1))
    scores = m.score_examples(logits, np.arange(ROWS) % 4)
    np.testing.assert_array_equal(scores.label_rank, np.arange(ROWS) % 4)
    assert float(m.top_k_accuracy(scores.label_rank, k=2)) == 0.5


# --- Order


OF_ORDER = {
    "aurc": m.area_under_risk_coverage,
    "aurc trapezoid": partial(m.area_under_risk_coverage, scale="trapezoid"),
    "excess aurc": m.excess_area_under_risk_coverage,
    "augrc": m.area_under_generalized_risk_coverage,
    "excess augrc": m.excess_area_under_generalized_risk_coverage,
    "auroc": m.area_under_roc,
    "average precision": m.average_precision,
    "fpr": m.fpr_at_tpr,
    "coverage": partial(m.coverage_at_accuracy, accuracy=0.5),
    "risk": partial(m.risk_at_coverage, coverage=0.4),
    "equal mass": partial(
        m.expected_calibration_error, num_bins=5, binning="equal_mass"
    ),
    "kolmogorov smirnov": m.kolmogorov_smirnov_calibration_error,
}


@pytest.mark.parametrize("name", OF_ORDER)
def test_torch_uncertainty_shuffled_ties_change_nothing(name, tied):
    """Its AURC sorts plainly, as arXiv 2302.11874's code does: row order decides."""
    confidence, correct = tied
    best_first = np.lexsort([~correct, -confidence])
    worst_first = np.lexsort([correct, -confidence])
    values = {
        float(OF_ORDER[name](confidence[order], correct[order]))
        for order in (best_first, worst_first)
    }
    assert len(values) == 1
    assert np.isfinite(values.pop())


def test_torch_uncertainty_a_threshold_cannot_part_equal_confidences():
    """Its coverage counts rows of a block one by one, right ones first by luck."""
    confidence, correct = columns([0.9] * 12 + [0.5] * 12, [True] * 18 + [False] * 6)
    coverage = m.coverage_at_accuracy(confidence, correct, accuracy=0.9)
    assert float(coverage) == 0.5


def test_fd_shifts_the_curve_has_its_points_at_the_ends_of_blocks(tied):
    """metrics.py puts the point one row into each block; rc_stats.py does not."""
    confidence, correct = tied
    wrong = np.add.reduceat(~correct, np.arange(0, ROWS, 6))
    # Inside a block the errors are met at a steady rate: i of m rows meet i b / m.
    met = np.concatenate([np.full(6, b / 6) for b in wrong]).cumsum()
    expected = met / np.arange(1, ROWS + 1)
    curve = m.risk_coverage_curve(confidence, correct)
    np.testing.assert_allclose(curve.risk, expected, rtol=1e-6)
    area = m.area_under_risk_coverage(confidence, correct)
    assert float(area) == pytest.approx(expected.mean(), rel=1e-6)


def test_torchmetrics_no_pair_to_order_is_not_a_zero():
    """Torchmetrics says AUROC 0.0, scikit-learn average precision 0.0."""
    confidence, correct = columns(np.linspace(0.1, 0.9, ROWS), [True] * ROWS)
    for metric in (m.area_under_roc, m.fpr_at_tpr):
        assert np.isnan(metric(confidence, correct))
    assert np.isnan(m.average_precision(-confidence, ~correct))


def test_fd_shifts_ninety_five_percent_is_not_ninety_four_point_nine_five():
    """It keeps 94.95 % of the positives: one in 2,000 may be missing."""
    confidence, correct = columns(np.linspace(0.9, 0.1, 2000), [True] * 2000)
    correct[1000], confidence[correct] = False, np.linspace(0.9, 0.1, 1999)
    confidence[1000] = confidence[correct][1899:1901].mean()  # below 1,900 positives
    keeps = m.fpr_at_tpr(confidence, correct)
    assert float(keeps) == 0.0
    confidence[1000] = confidence[correct][1898:1900].mean()  # below 1,899 of them
    assert float(m.fpr_at_tpr(confidence, correct)) == 1.0


def test_scales_of_the_area_under_the_risk_coverage_curve(drawn):
    """Mean (arXiv 2302.11874), x1000 (fd-shifts), trapezoid (torch-uncertainty)."""
    confidence, correct = drawn
    wrong = ~correct[np.argsort(-confidence)]
    risk = np.cumsum(wrong) / np.arange(1, ROWS + 1)
    trapezoid = (risk[1:] + risk[:-1]).sum() / 2 / ROWS / (1 - 1 / ROWS)
    area = partial(m.area_under_risk_coverage, confidence, correct)
    assert float(area()) == pytest.approx(risk.mean(), rel=1e-6)
    assert float(area(scale="mean")) == float(area())
    assert float(area(scale="per_mille")) == pytest.approx(1000 * risk.mean(), rel=1e-6)
    assert float(area(scale="trapezoid")) == pytest.approx(trapezoid, rel=1e-6)
