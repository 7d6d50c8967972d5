"""The functions that take columns: against scikit-learn, by brute force, at edges."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxbench.metrics import (
    accuracy,
    area_under_risk_coverage,
    area_under_roc,
    brier_score,
    coverage_at_accuracy,
    expected_calibration_error,
    fpr_at_tpr,
    mean_confidence,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage_curve,
)
from tests.reference import metrics as reference

ROWS, MANY = 8, 2330
LEVELS = np.array([0.0, 0.2, 0.5, 0.75, 1.0], np.float32)


def test_scikit_learn_agrees(cases):
    for name in ("random", "tied", "two classes"):
        case = cases[name]
        p = reference.softmax(case.logits)
        correct = p.argmax(1) == case.labels
        confidence = np.round(p.max(1), 2).astype(np.float32)
        classes = np.arange(p.shape[1])
        expected = [
            (
                accuracy(correct),
                sklearn.metrics.accuracy_score(case.labels, p.argmax(1)),
            ),
            (
                area_under_roc(confidence, correct),
                sklearn.metrics.roc_auc_score(correct, confidence),
            ),
            (
                negative_log_likelihood(*case),
                sklearn.metrics.log_loss(case.labels, p, labels=classes),
            ),
            (
                brier_score(*case),
                sklearn.metrics.brier_score_loss(
                    case.labels, p, labels=classes, scale_by_half=False
                ),
            ),
        ]
        for value, twin in expected:
            assert float(value) == pytest.approx(twin, rel=2e-6), name


def test_fpr_at_tpr_reads_off_scikit_learns_curve(cases):
    case = cases["tied"]
    confidence = np.round(reference.confidence(case.logits), 2).astype(np.float32)
    correct = reference.correct(case.logits, case.labels)
    fpr, tpr, _ = sklearn.metrics.roc_curve(
        correct, confidence, drop_intermediate=False
    )
    for rate in (0.5, 0.95, 1.0):
        value = float(fpr_at_tpr(confidence, correct, true_positive_rate=rate))
        assert value == pytest.approx(fpr[np.argmax(tpr >= rate)], rel=1e-6)


def test_accuracy_metrics_skip_masked_rows():
    mask = np.array([True, True, False])
    assert float(accuracy(np.array([True, False, True]), mask=mask)) == 0.5
    column = np.array([0.5, 1.0, np.nan], np.float32)
    assert float(mean_confidence(column, mask=mask)) == 0.75
    with pytest.raises(ValueError, match="confidence is NaN in 1 of 3 rows"):
        mean_confidence(column)
    assert np.isnan(jax.jit(mean_confidence)(column))


def test_confidence_of_one_and_of_zero_belong_to_the_outer_bins():
    # torchmetrics counted 1.0 in a bin past the last; Galil et al. drop 0.0.
    confidence = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
    correct = np.array([True, False, True, True])
    assert float(expected_calibration_error(confidence, correct)) == 0.75
    bins = reliability_bins(confidence, correct)
    np.testing.assert_array_equal(bins.num_examples, [2] + [0] * 13 + [2])
    assert float(bins.accuracy[0]) == 1.0
    assert float(bins.accuracy[14]) == 0.5
    assert float(bins.confidence[14]) == 1.0
    assert np.isnan(bins.accuracy[7])


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15, 20, 100])
def test_confidence_on_an_edge_belongs_to_the_bin_below_it(num_bins):
    edges = (np.arange(1, num_bins + 1) / num_bins).astype(np.float32)
    above = np.nextafter(edges, np.float32(2))[:-1]
    for confidence, first in ((edges, 0), (above, 1)):
        right = np.ones(len(confidence), bool)
        if len(confidence):
            bins = reliability_bins(confidence, right, num_bins=num_bins)
            held = np.zeros(num_bins)
            held[first:] = 1
            np.testing.assert_array_equal(bins.num_examples, held)


def test_order_metrics_need_a_confidence_that_does_not_saturate(cases):
    case = cases["saturated"]
    correct = reference.correct(case.logits, case.labels)
    exact = reference.auroc(-reference.log_one_minus_confidence(case.logits), correct)
    p = reference.softmax(case.logits).max(1).astype(np.float32)
    kept = -reference.log_one_minus_confidence(case.logits).astype(np.float32)
    assert float(area_under_roc(kept, correct)) == pytest.approx(exact, rel=1e-6)
    assert abs(float(area_under_roc(p, correct)) - exact) > 0.01


def test_minus_zero_ties_with_zero_and_infinities_rank_at_the_ends():
    confidence = np.array([np.inf, 0.0, -0.0, -np.inf], np.float32)
    correct = np.array([True, True, False, False])
    assert float(area_under_roc(confidence, correct)) == pytest.approx(3.5 / 4)


def test_coverage_compares_in_integers():
    # 19 of 20 is 0.95 and not less; in floats 0.05 * 20 may come out either way.
    index = np.arange(MANY)
    tied = np.zeros(MANY, np.float32)
    for count in (20, 40, 60, 140, 1000):
        mask = index < count
        correct = index >= count // 20
        value = coverage_at_accuracy(tied, correct, accuracy=0.95, mask=mask)
        assert float(value) == 1.0
        correct[count - 1] = False
        value = coverage_at_accuracy(tied, correct, accuracy=0.95, mask=mask)
        assert float(value) == 0.0


def test_perfect_model_covers_everything_and_a_dip_does_not_end_coverage():
    confidence = -np.arange(MANY, dtype=np.float32)
    correct = np.ones(MANY, bool)
    plain = {"accuracy": 0.95, "mask": np.ones(MANY, bool)}
    galil = {**plain, "compat": "galil"}
    assert float(coverage_at_accuracy(confidence, correct, **plain)) == 1.0
    # Their code finds no violation of a perfect model, and answers 0.
    assert float(coverage_at_accuracy(confidence, correct, **galil)) == 0.0
    correct[300:330] = False
    assert float(coverage_at_accuracy(confidence, correct, **plain)) == 1.0
    value = float(coverage_at_accuracy(confidence, correct, **galil))
    assert value == pytest.approx(reference.galil_coverage(correct, 0.95))
    assert value == pytest.approx(0.135, abs=1e-3)


@pytest.mark.parametrize("first_wrong", [0, 150, 200, 260])
def test_galil_coverage_is_the_published_procedure(first_wrong):
    index = np.arange(MANY)
    confidence = -index.astype(np.float32)
    correct = index % 23 != 22
    correct[first_wrong : first_wrong + 20] = False
    options = {"accuracy": 0.95, "compat": "galil"}
    value = float(
        coverage_at_accuracy(confidence, correct, mask=index < 400, **options)
    )
    twin = reference.galil_coverage(correct[:400], 0.95)
    assert value == pytest.approx(twin, rel=1e-6)
    few = index < 200  # where their code fails
    with pytest.raises(ValueError, match="has 200 rows that count"):
        coverage_at_accuracy(confidence, correct, mask=few, **options)


def test_risk_coverage_curve_ends_at_the_error_rate_and_averages_to_aurc(cases):
    case = cases["tied"]
    confidence = reference.confidence(case.logits).astype(np.float32)
    correct = reference.correct(case.logits, case.labels)
    mask = np.arange(len(correct)) < 150
    coverage, risk = risk_coverage_curve(confidence, correct, mask=mask)
    np.testing.assert_allclose(coverage[:150], np.arange(1, 151) / 150, rtol=1e-6)
    assert np.isnan(risk[150:]).all()
    assert np.isnan(coverage[150:]).all()
    assert float(risk[149]) == pytest.approx(1 - correct[:150].mean(), rel=1e-6)
    area = float(area_under_risk_coverage(confidence, correct, mask=mask))
    assert np.mean(np.asarray(risk)[:150]) == pytest.approx(area, rel=1e-6)


def test_aurc_of_many_rows_keeps_float32_precision():
    rng = np.random.default_rng(0)
    confidence = rng.permutation(50_000).astype(np.float32)
    correct = rng.random(50_000) < 0.9 + confidence / 500_000
    order = np.argsort(-confidence)
    risk = np.cumsum(~correct[order]) / np.arange(1, 50_001)
    value = float(area_under_risk_coverage(confidence, correct))
    assert value == pytest.approx(risk.mean(), rel=2e-6)


@pytest.mark.parametrize(
    "kernel",
    [area_under_risk_coverage, area_under_roc, expected_calibration_error, fpr_at_tpr],
)
def test_no_rows_are_an_error_and_never_zero(kernel):
    with pytest.raises(ValueError, match="0 rows"):
        kernel(np.zeros(0, np.float32), np.zeros(0, bool))
    nothing = np.zeros(ROWS, bool)
    with pytest.raises(ValueError, match="excludes all 8 rows"):
        kernel(LEVELS[np.zeros(ROWS, int)], nothing, mask=nothing)
    inside = jax.jit(lambda m: kernel(jnp.zeros(ROWS), jnp.zeros(ROWS, bool), mask=m))
    assert np.isnan(inside(nothing))


def test_settings_out_of_range_are_refused():
    column, flags = np.zeros(3, np.float32), np.ones(3, bool)
    with pytest.raises(ValueError, match="num_bins is 0"):
        expected_calibration_error(column, flags, num_bins=0)
    with pytest.raises(ValueError, match=r"accuracy is 95"):
        coverage_at_accuracy(column, flags, accuracy=95.0)
    with pytest.raises(ValueError, match="true_positive_rate is 0"):
        fpr_at_tpr(column, flags, true_positive_rate=0.0)


def test_proper_scores_have_gradients(cases):
    case = cases["two classes"]
    step = np.zeros_like(case.logits)
    step[0, 0] = 1e-3

    @jax.jit
    def gradients(*arguments):
        losses = {"nll": negative_log_likelihood, "brier": brier_score}
        return {name: jax.grad(loss)(*arguments) for name, loss in losses.items()}

    for name, gradient in jax.device_get(gradients(*case)).items():
        twin = reference.REFERENCES[name]
        z = case.logits.astype(np.float64)
        slope = (twin(z + step, case.labels) - twin(z - step, case.labels)) / 2e-3
        assert float(gradient[0, 0]) == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_importing_the_metrics_brings_jax_and_numpy_only():
    program = (
        "import sys, jaxbench.metrics\n"
        "heavy = {'flax', 'optax', 'orbax', 'grain', 'tensorflow', 'PIL', 'pyarrow',\n"
        "  'tensorflow_datasets', 'duckdb', 'altair', 'jinja2', 'typer', 'rich',\n"
        "  'model_zoo', 'sklearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)),\n"
        "  sorted(m for m in sys.modules if m.startswith('jaxbench.')\n"
        "  and not m.startswith('jaxbench.metrics')))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # The two are of the standard library alone: own parts and their messages.
    assert found.stdout.strip() == "[] ['jaxbench.errors', 'jaxbench.own']"
