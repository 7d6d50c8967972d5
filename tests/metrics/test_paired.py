import inspect

import numpy as np
import pytest
import scipy.stats

from jaxbench.metrics import mcnemar, paired_bootstrap
from tests.reference import metrics as reference


def test_paired_bootstrap_measures_the_difference(key):
    rng = np.random.default_rng(0)
    common = rng.normal(size=300) * 10
    a = (common + rng.normal(size=300) * 0.1 + 0.05).astype(np.float32)
    b = common.astype(np.float32)
    found = paired_bootstrap(a, b, key=key)
    assert float(found.difference) == pytest.approx((a - b).mean(), rel=1e-5)
    error = (a - b).std() / np.sqrt(300)
    assert float(found.low) == pytest.approx(
        (a - b).mean() - 1.96 * error, abs=error / 4
    )
    assert float(found.high) == pytest.approx(
        (a - b).mean() + 1.96 * error, abs=error / 4
    )
    assert float(found.p_value) == pytest.approx(2 / 1001)
    swapped = paired_bootstrap(b, a, key=key)
    assert float(swapped.difference) == -float(found.difference)


def test_paired_p_value_is_that_of_the_z_test(key):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 300)).astype(np.float32)
    a += np.float32(b.mean() - a.mean() + 0.1)
    found = paired_bootstrap(a, b, key=key)
    expected = 2 * scipy.stats.norm.sf(0.1 / ((a - b).std() / np.sqrt(300)))
    # Twice a share near 0.1 of 1000 resamples has a standard error of 0.02.
    assert float(found.p_value) == pytest.approx(expected, abs=0.06)


def test_paired_bootstrap_of_equal_models_finds_nothing(key):
    values = np.random.default_rng(0).random(300).astype(np.float32)
    found = paired_bootstrap(values, values, key=key)
    assert tuple(map(float, found)) == (0, 0, 0, 1)


def test_paired_bootstrap_skips_masked_rows_and_flags_nan(key):
    values = np.random.default_rng(0).random((2, 300)).astype(np.float32)
    mask = np.arange(300) % 7 > 0
    junk = np.where(mask, values, np.float32(np.nan))
    found = paired_bootstrap(*junk, key=key, mask=mask)
    expected = (values[0] - values[1])[mask].mean()
    assert float(found.difference) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(found, paired_bootstrap(*values, key=key, mask=mask))
    assert np.isnan(paired_bootstrap(*junk, key=key)).all()


# One shape: every pair of counts is a mask on this many rows.
INDEX = np.arange(1_000_000)


def outcomes(only_a, only_b):
    first = only_a > INDEX
    return first, ~first & (only_a + only_b > INDEX)


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        *[(0, 0), (1, 0), (0, 1), (3, 3), (0, 5), (2, 9), (40, 61), (500, 499)],
        *[(12, 90), (1000, 1100), (1900, 2100), (0, 60), (1, 100), (300, 500)],
    ],
)
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    a, b = outcomes(only_a, only_b)
    twin = reference.mcnemar(a, b)
    assert float(mcnemar(a, b)) == pytest.approx(twin, rel=1e-4)
    assert float(mcnemar(b, a)) == pytest.approx(twin, rel=1e-4)


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        *[(200_500, 199_500), (499_999, 500_001), (20_000, 21_000)],
        *[(480_000, 484_000), (495_000, 505_000), (0, 100)],
        *[(490_000, 502_600), (0, 125), (400, 1400)],
    ],
)
def test_mcnemar_holds_for_a_million_images(only_a, only_b):
    # From p = 1 down to p = 1e-37.
    exact = scipy.stats.binomtest(min(only_a, only_b), only_a + only_b).pvalue
    assert float(mcnemar(*outcomes(only_a, only_b))) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 1_000_000), (20_000, 40_000), (300, 500), (7, 7)]
)
def test_logarithm_of_the_p_value_goes_on_where_float32_ends(only_a, only_b):
    found = float(mcnemar(*outcomes(only_a, only_b), log=True))
    trials, fewer = only_a + only_b, min(only_a, only_b)
    # SciPy's own logcdf is the logarithm of a tail that underflows.
    terms = scipy.stats.binom.logpmf(np.arange(fewer + 1), trials, 0.5)
    exact = np.log(2) + np.logaddexp.reduce(terms)
    assert found == pytest.approx(min(exact, 0.0), rel=1e-6, abs=5e-5)


def test_mcnemar_skips_masked_rows():
    a, b = outcomes(1000, 1100)
    twin = reference.mcnemar(*outcomes(0, 1100))
    assert float(mcnemar(a, b, mask=INDEX >= 1000)) == pytest.approx(twin, rel=1e-4)
    assert float(mcnemar(a, b, mask=INDEX >= 2100)) == 1.0


def test_columns_that_do_not_fit_are_refused(key):
    values = np.ones(300, np.float32)
    compare, test = inspect.unwrap(paired_bootstrap), inspect.unwrap(mcnemar)
    with pytest.raises(ValueError, match=r"(?s)a of shape \(300,\).*b of shape \(9,\)"):
        compare(values, values[:9], key=key)
    with pytest.raises(ValueError, match="b of dtype int32; wanted floating"):
        compare(values, values.astype(np.int32), key=key)
    with pytest.raises(ValueError, match="correct_a of dtype float32; wanted booleans"):
        test(values, values > 0)
    with pytest.raises(ValueError, match="excludes all 300 rows"):
        mcnemar(values > 0, values > 0, mask=np.zeros(300, bool))
