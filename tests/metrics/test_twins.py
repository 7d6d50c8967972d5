"""Every function of two columns against its float64 twin, under ties and at random."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    area_under_roc,
    average_precision,
    brier_decomposition,
    coverage_at_accuracy,
    debiased_calibration_error,
    excess_area_under_generalized_risk_coverage,
    excess_area_under_risk_coverage,
    expected_calibration_error,
    fpr_at_tpr,
    kolmogorov_smirnov_calibration_error,
    maximum_calibration_error,
    risk_at_coverage,
    root_mean_square_calibration_error,
    signed_calibration_gap,
    smooth_calibration_error,
)
from tests.reference import calibration, selective
from tests.reference import metrics as reference

# Two shapes for most tests, filled up with rows that do not count: a shape costs a
# compilation of each kernel.
ROWS, MANY = 8, 2330
LEVELS = np.array([0.0, 0.2, 0.5, 0.75, 1.0], np.float32)


def tied_examples():
    rows = st.tuples(st.sampled_from(range(5)), st.booleans())
    return st.lists(rows, min_size=1, max_size=ROWS)


def columns(examples):
    """The examples, and as many rows that do not count as `ROWS` leaves."""
    padding = ROWS - len(examples)
    level, correct = zip(*examples, *[(4, True)] * padding, strict=True)
    mask = np.arange(ROWS) < len(examples)
    return LEVELS[list(level)], np.array(correct), mask


@jax.jit
def all_kernels(confidence, correct, mask):
    """Every function of the two columns, in one program."""
    pair, equal_mass = (confidence, correct), {"binning": "equal_mass", "num_bins": 4}
    return {
        "aurc": area_under_risk_coverage(*pair, mask=mask),
        "aurc, trapezoid": area_under_risk_coverage(
            *pair, mask=mask, scale="trapezoid"
        ),
        "aurc, per mille": area_under_risk_coverage(
            *pair, mask=mask, scale="per_mille"
        ),
        "excess aurc": excess_area_under_risk_coverage(*pair, mask=mask),
        "augrc": area_under_generalized_risk_coverage(*pair, mask=mask),
        "excess augrc": excess_area_under_generalized_risk_coverage(*pair, mask=mask),
        "auroc": area_under_roc(*pair, mask=mask),
        "aupr": average_precision(*pair, mask=mask),
        "fpr95": fpr_at_tpr(*pair, mask=mask),
        "coverage": coverage_at_accuracy(*pair, accuracy=0.75, mask=mask),
        "risk": risk_at_coverage(*pair, coverage=0.6, mask=mask),
        "ece": expected_calibration_error(*pair, mask=mask),
        "ece, equal mass": expected_calibration_error(*pair, mask=mask, **equal_mass),
        "mce": maximum_calibration_error(*pair, mask=mask),
        "mce, equal mass": maximum_calibration_error(*pair, mask=mask, **equal_mass),
        "rms": root_mean_square_calibration_error(*pair, mask=mask),
        "rms, debiased": root_mean_square_calibration_error(
            *pair, mask=mask, debias=True
        ),
        "ece, debiased": debiased_calibration_error(*pair, mask=mask),
        "ks": kolmogorov_smirnov_calibration_error(*pair, mask=mask),
        "gap": signed_calibration_gap(*pair, mask=mask),
        "smooth at 0.1": smooth_calibration_error(*pair, mask=mask, bandwidth=0.1),
        "brier": tuple(brier_decomposition(*pair, mask=mask)),
    }


def all_twins(c, y):
    """The same numbers, one by one, in float64."""
    table = calibration.bin_table(c, y)
    equal = calibration.equal_mass_table(c, c, y, 4)
    parts = calibration.brier_parts(table)
    score = ((c.astype(np.float64) - y) ** 2).mean()
    mixed = y.any() and not y.all()
    return {
        "aurc": selective.aurc(c, y),
        "aurc, trapezoid": selective.trapezoid_aurc(c, y),
        "aurc, per mille": 1000 * selective.aurc(c, y),
        "excess aurc": selective.excess_aurc(c, y),
        "augrc": selective.augrc(c, y),
        "excess augrc": selective.excess_augrc(c, y),
        "auroc": reference.auroc(c, y),
        "aupr": selective.average_precision(c, y) if mixed else np.nan,
        "fpr95": reference.fpr95(c, y) if mixed else np.nan,
        "coverage": reference.coverage_at_accuracy(c, y, 0.75),
        "risk": selective.risk_at_coverage(c, y, 0.6),
        "ece": calibration.ece_of(table),
        "ece, equal mass": calibration.ece_of(equal),
        "mce": calibration.mce_of(table),
        "mce, equal mass": calibration.mce_of(equal),
        "rms": calibration.rms_of(table),
        "rms, debiased": calibration.debiased_rms_of(table),
        "ece, debiased": calibration.debiased_ece_of(table),
        "ks": calibration.ks(c, c, y),
        "gap": c.mean(dtype=np.float64) - y.mean(),
        "smooth at 0.1": calibration.smooth_ece_at(c, y, 0.1, points=500),
        "brier": (score, *parts, score - (parts[0] - parts[1] + parts[2])),
    }


def same_numbers(found, twins):
    # Squares of debiased errors cancel, and their root magnifies what is left.
    loose = {"rms, debiased": 1e-3, "smooth at 0.1": 3e-5, "aurc, per mille": 1e-3}
    for name, twin in twins.items():
        absolute = loose.get(name, 2e-6)
        np.testing.assert_allclose(
            found[name], twin, rtol=1e-5, atol=absolute, err_msg=name
        )


@settings(max_examples=500, deadline=None)
@given(tied_examples())
def test_kernels_agree_with_their_twins_under_ties(examples):
    confidence, correct, mask = columns(examples)
    found = jax.device_get(all_kernels(confidence, correct, mask))
    same_numbers(found, all_twins(confidence[mask], correct[mask]))


@pytest.mark.parametrize("seed", range(6))
def test_kernels_agree_with_their_twins_on_random_rows(seed):
    rng = np.random.default_rng(seed)
    rows = 400
    spread = (0.05, 0.5, 1.0, 3.0, 20.0, 1.0)[seed]
    confidence = rng.beta(4 * spread, spread, rows).astype(np.float32)
    if seed == 5:
        confidence = np.round(confidence * 15) / np.float32(15)  # bin edges and ties
    correct = rng.random(rows) < confidence**2
    mask = rng.random(rows) < 0.9
    found = jax.device_get(all_kernels(confidence, correct, mask))
    same_numbers(found, all_twins(confidence[mask], correct[mask]))
    order = rng.permutation(rows)
    shuffled = all_kernels(confidence[order], correct[order], mask[order])
    for name, value in jax.device_get(shuffled).items():
        np.testing.assert_allclose(value, found[name], rtol=1e-5, atol=1e-6)


def test_smooth_error_finds_its_fixed_point():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.3, 1.0, 400).astype(np.float32)
    correct = rng.random(400) < confidence - 0.15
    value = float(smooth_calibration_error(confidence, correct))
    assert value == pytest.approx(calibration.smooth_ece(confidence, correct), abs=1e-4)
    again = smooth_calibration_error(confidence, correct, bandwidth=value)
    assert value == pytest.approx(float(again), abs=2e-6)
    # Moving a confidence a little moves the error a little, unlike ECE's.
    nudged = confidence + np.float32(1e-4)
    moved = float(smooth_calibration_error(np.minimum(nudged, 1), correct))
    assert abs(moved - value) < 3e-4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
def test_aurc_is_the_mean_over_every_order_of_tied_rows(examples):
    confidence, correct, mask = columns(examples)
    areas = []
    for order in itertools.permutations(range(len(examples))):
        if all(confidence[i] >= confidence[j] for i, j in itertools.pairwise(order)):
            wrong = np.cumsum(~correct[list(order)])
            areas.append(np.mean(wrong / np.arange(1, len(order) + 1)))
    value = float(all_kernels(confidence, correct, mask)["aurc"])
    assert value == pytest.approx(np.mean(areas), rel=1e-5, abs=1e-7)
